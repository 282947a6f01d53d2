import type Hls from "hls.js";
import type { ErrorData, HlsConfig, LoadPolicy, RetryConfig } from "hls.js";
import { atLiveEdge, catchUpRate, hlsLatency } from "./latency";
import {
  createVideo,
  type PlayerTransport,
  type TransportHandlers,
  type TransportSample,
  whenFirstFrame,
} from "./transport";

/** A 404 this early only means that the first segment is not written yet. */
const START_RETRIES = 24;
const START_RETRY_MS = 250;
const START_RETRY_CAP_MS = 1000;
/** A second decoder recovery within this time would loop; a fresh start is better. */
const RECOVER_EVERY_MS = 5000;
/** More than this above the target: seek instead of catching up. At the join nobody sees a jump, after a stall they do. */
const SEEK_AT_JOIN_S = 0.4;
const SEEK_AFTER_STALL_S = 1;
/** A publisher that was cut off sends its backlog at once: the edge jumps away, and catching up would take minutes. */
const SEEK_WHILE_PLAYING_S = 3;

export interface LlHlsOptions {
  url: string;
  muted: boolean;
  volume: number;
}

/** Whether this browser can play HLS at all, by Media Source Extensions or (iOS before 17.1) by itself. */
export function hlsAvailable(): boolean {
  return mediaSourceAvailable() || nativeHls(document.createElement("video"));
}

function mediaSourceAvailable(): boolean {
  return "MediaSource" in window || "ManagedMediaSource" in window;
}

function nativeHls(video: HTMLVideoElement): boolean {
  return video.canPlayType("application/vnd.apple.mpegurl") !== "";
}

/** Whether fMP4 with these codecs can be decoded, HEVC being the usual exception. */
export function canDecode(codecStrings: readonly string[]): boolean {
  if (codecStrings.length === 0 || !mediaSourceAvailable()) return true;
  const source =
    window.MediaSource ?? (window as unknown as { ManagedMediaSource: typeof MediaSource }).ManagedMediaSource;
  return codecStrings.every((codec) => source.isTypeSupported(`video/mp4; codecs="${codec}"`));
}

/** Fetches hls.js ahead of need: half a megabyte that viewers on WebRTC never load. */
export function preloadHls(): Promise<typeof import("hls.js")> {
  return import("hls.js");
}

/** Playback of low-latency HLS by hls.js, or by the browser itself where there are no Media Source Extensions. */
export class LlHlsTransport implements PlayerTransport {
  readonly name = "hls";
  readonly video: HTMLVideoElement;
  requestedAtMs: number | null = null;
  #hls: Hls | null = null;
  #stopped = false;
  #recoveredAtMs = Number.NEGATIVE_INFINITY;
  #rewound = false;
  #lastFrames: { atMs: number; frames: number } | null = null;
  #bitrateBps: number | null = null;

  constructor(
    private readonly options: LlHlsOptions,
    private readonly handlers: TransportHandlers,
  ) {
    this.video = createVideo(options.muted, options.volume);
  }

  start(): void {
    whenFirstFrame(this.video, () => {
      if (this.#stopped) return;
      this.#closeGap(SEEK_AT_JOIN_S);
      this.handlers.onFirstFrame();
    });
    // Who pauses wants to go on from there, and not to be taken to the edge.
    this.video.addEventListener("pause", () => {
      this.#rewound = true;
    });
    this.video.addEventListener("playing", () => {
      if (!this.#rewound) this.#closeGap(SEEK_AFTER_STALL_S);
    });
    void this.#open();
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#hls?.destroy();
    this.#hls = null;
    this.video.removeAttribute("src");
    this.video.load();
  }

  async sample(): Promise<TransportSample> {
    this.#catchUp();
    const quality = this.video.getVideoPlaybackQuality?.();
    const frames = quality?.totalVideoFrames ?? 0;
    const nowMs = performance.now();
    const before = this.#lastFrames;
    this.#lastFrames = { atMs: nowMs, frames };
    const rate = before && nowMs > before.atMs ? ((frames - before.frames) * 1000) / (nowMs - before.atMs) : null;
    const ahead = this.video.buffered.length;
    return {
      framesDecoded: frames,
      framesDropped: quality?.droppedVideoFrames ?? 0,
      latency: hlsLatency(this.latencyS),
      bitrateBps: this.#bitrateBps,
      framesPerSecond: rate,
      bufferedS: ahead > 0 ? Math.max(0, this.video.buffered.end(ahead - 1) - this.video.currentTime) : 0,
      inbound: null,
      connection: this.#hls ? "hls.js" : "native HLS",
    };
  }

  /** Seconds behind the live edge; 0 when unknown. */
  get latencyS(): number {
    if (this.#hls) return this.#hls.latency;
    const range = this.video.seekable;
    return range.length > 0 ? range.end(range.length - 1) - this.video.currentTime : 0;
  }

  get atEdge(): boolean {
    return atLiveEdge(this.latencyS, this.#hls?.targetLatency ?? 0);
  }

  /** The part of the broadcast that can be rewound to, in the video's time; null while unknown. */
  get window(): { start: number; end: number } | null {
    const range = this.video.seekable;
    const edge = this.#edge();
    if (range.length === 0 || edge === null) return null;
    return { start: range.start(0), end: edge };
  }

  seek(time: number): void {
    const window = this.window;
    if (!window) return;
    this.#rewound = time < window.end - 1;
    this.video.currentTime = Math.min(Math.max(time, window.start), window.end);
  }

  seekToEdge(): void {
    const edge = this.#edge();
    this.#rewound = false;
    if (edge !== null) this.video.currentTime = edge;
  }

  #edge(): number | null {
    if (this.#hls) return this.#hls.liveSyncPosition;
    const range = this.video.seekable;
    return range.length > 0 ? range.end(range.length - 1) : null;
  }

  async #open(): Promise<void> {
    if (!mediaSourceAvailable()) return this.#openNative();
    try {
      const { default: HlsConstructor } = await preloadHls();
      if (this.#stopped) return;
      const hls = new HlsConstructor(settings());
      this.#hls = hls;
      hls.on(HlsConstructor.Events.ERROR, (_name, data) => this.#onError(data, HlsConstructor));
      hls.on(HlsConstructor.Events.FRAG_BUFFERED, (_name, data) => {
        const seconds = data.part?.duration ?? data.frag.duration;
        if (seconds > 0 && data.stats.total > 0) this.#bitrateBps = (8 * data.stats.total) / seconds;
      });
      hls.on(HlsConstructor.Events.MANIFEST_PARSED, () => this.handlers.onConnected());
      this.requestedAtMs = performance.now();
      hls.attachMedia(this.video);
      hls.loadSource(this.options.url);
    } catch (error) {
      if (!this.#stopped) this.handlers.onFailed({ code: "hls_script", detail: String(error) });
    }
  }

  #openNative(): void {
    this.requestedAtMs = performance.now();
    this.video.addEventListener("error", () => {
      const detail = this.video.error?.message ?? "The browser's own HLS player failed.";
      if (!this.#stopped) this.handlers.onFailed({ code: "hls_native", detail });
    });
    this.video.src = this.options.url;
  }

  #onError(data: ErrorData, HlsConstructor: typeof Hls): void {
    // hls.js would ask again and again for a playlist it may no longer have.
    const denied = data.response?.code === 401;
    if (!(data.fatal || denied) || this.#stopped) return;
    const nowMs = performance.now();
    const media = data.type === HlsConstructor.ErrorTypes.MEDIA_ERROR;
    if (media && nowMs - this.#recoveredAtMs > RECOVER_EVERY_MS) {
      this.#recoveredAtMs = nowMs;
      this.#hls?.recoverMediaError();
      return;
    }
    this.handlers.onFailed({
      code: data.details,
      denied,
      detail: `${data.details} (${data.response?.code ?? data.error.message})`,
    });
  }

  #catchUp(): void {
    const hls = this.#hls;
    if (hls?.targetLatency == null) return;
    if (this.#rewound && this.atEdge && !this.video.paused) this.#rewound = false;
    const excessS = hls.latency - hls.targetLatency;
    if (!this.#rewound && excessS >= SEEK_WHILE_PLAYING_S) this.seekToEdge();
    const rate = this.#rewound ? 1 : catchUpRate(this.video.playbackRate, excessS);
    if (rate !== this.video.playbackRate) this.video.playbackRate = rate;
  }

  /** After a join or a stall the position can lie behind its target; a short seek inside the buffer is unnoticed. */
  #closeGap(limitS: number): void {
    const hls = this.#hls;
    const edge = hls?.liveSyncPosition ?? null;
    if (!hls || edge === null || hls.targetLatency === null) return;
    if (hls.latency - hls.targetLatency < limitS || edge <= this.video.currentTime) return;
    if (!isBuffered(this.video.buffered, edge)) return;
    this.video.currentTime = edge;
  }
}

function isBuffered(ranges: TimeRanges, time: number): boolean {
  for (let index = 0; index < ranges.length; index += 1) {
    // A quarter second of reserve after the target: seeking to the very end would stall again.
    if (ranges.start(index) <= time && time + 0.25 <= ranges.end(index)) return true;
  }
  return false;
}

/** hls.js for a live stream: stay at the edge, rewind freely, and take a 404 as "not yet". */
function settings(): Partial<HlsConfig> {
  return {
    lowLatencyMode: true,
    backBufferLength: 30,
    // Catching up is done here, see catchUpRate().
    maxLiveSyncPlaybackRate: 1,
    // One part more distance after each stall. hls.js' default of a second would cost more than the stall did.
    liveSyncOnStallIncrease: 0.2,
    // A playlist that did not change 4 times is stale; the default would wait for ever in silence.
    liveMaxUnchangedPlaylistRefresh: 4,
    manifestLoadPolicy: policy(8000),
    playlistLoadPolicy: policy(10_000),
    fragLoadPolicy: policy(10_000),
  };
}

function policy(timeoutMs: number): LoadPolicy {
  return {
    default: {
      maxTimeToFirstByteMs: timeoutMs,
      maxLoadTimeMs: 2 * timeoutMs,
      timeoutRetry: { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: {
        maxNumRetry: START_RETRIES,
        retryDelayMs: START_RETRY_MS,
        maxRetryDelayMs: START_RETRY_CAP_MS,
        shouldRetry: retryNotFound,
      },
    },
  };
}

/** hls.js never retries a 4xx by itself; for a live stream 404 means "not ready yet". */
function retryNotFound(
  config: RetryConfig | null | undefined,
  count: number,
  _timeout: boolean,
  response: { code?: number } | undefined,
  retry: boolean,
): boolean {
  if (response?.code === 404) return count < (config?.maxNumRetry ?? 0);
  return retry;
}
