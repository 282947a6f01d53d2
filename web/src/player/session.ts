import { LiveEvents } from "../api/live_events";
import type { LiveState, Track } from "../api/types";
import type { IceChoice } from "../ice";
import { collectFacts, type Facts, type PlayerError } from "./facts";
import { canDecode, hlsAvailable, LlHlsTransport, preloadHls } from "./llhls";
import { type Effect, Recovery, type RecoveryEvent, type Transport, type TransportChoice, type View } from "./recovery";
import type { PlayerTransport, TransportHandlers, TransportSample } from "./transport";
import { PreparedOffer, WhepTransport } from "./whep";

/** Decisions fall due on this grid; the shortest limit in recovery.ts is 1 s. */
const TICK_MS = 250;
/** Frame counters are read every second tick: getStats() costs about a millisecond. */
const SAMPLE_EVERY_TICKS = 2;
/** Errors kept for the debug info. */
const ERRORS_KEPT = 20;

export interface SessionOptions {
  stream: string;
  /** Server origin, without a trailing slash. */
  base: string;
  choice: TransportChoice;
  /** Playback token of a private stream; "" for a public one. */
  token: string;
  ice: IceChoice;
  muted: boolean;
  volume: number;
  /** Videos are put into this element. */
  stage: HTMLElement;
  onChange(): void;
  onVideo(video: HTMLVideoElement): void;
}

/** One stream being watched: keeps the server's state, the transports and the recovery ladder together. No looks. */
export class PlayerSession {
  readonly #options: SessionOptions;
  #token: string;
  readonly #openedAtMs = performance.now();
  readonly #recovery: Recovery;
  readonly #events: LiveEvents;
  readonly #ticker: ReturnType<typeof setInterval>;
  readonly #errors: PlayerError[] = [];
  readonly #transports = new Map<Transport, PlayerTransport>();
  #server: LiveState | null = null;
  #prepared: PreparedOffer | null = null;
  #shown: PlayerTransport | null = null;
  #leftover: HTMLVideoElement | null = null;
  #sample: TransportSample | null = null;
  #framesSeen = 0;
  #ticks = 0;
  #starts = 0;
  #postToFirstFrameMs: number | null = null;
  #openToFirstFrameMs: number | null = null;
  #closed = false;
  readonly #onVisibility = (): void => this.#dispatch({ type: "visible", visible: !document.hidden });

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#token = options.token;
    const webrtcAvailable = typeof RTCPeerConnection !== "undefined";
    this.#recovery = new Recovery(
      {
        choice: options.choice,
        webrtcAvailable,
        hlsAvailable: hlsAvailable(),
        canDecode: (tracks: readonly Track[]) => canDecode(tracks.map((track) => track.codec_string).filter(Boolean)),
        random: Math.random,
      },
      this.#openedAtMs,
    );
    if (webrtcAvailable && options.choice !== "hls") this.#prepared = this.#prepare();
    else void preloadHls();
    this.#events = new LiveEvents(this.#url("live", "/events"), {
      onState: (state) => this.#onServer(state),
      onLost: () => this.#dispatch({ type: "server_lost" }),
      onRefused: (problem) => {
        this.#noteError(`live.${problem.code}`, problem.detail);
        this.#dispatch({ type: "denied", code: problem.code });
      },
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    document.addEventListener("visibilitychange", this.#onVisibility);
    if (document.hidden) this.#onVisibility();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.#events.close();
    for (const transport of this.#transports.values()) this.#discard(transport);
    this.#transports.clear();
    this.#prepared?.connection.close();
    this.#leftover?.remove();
  }

  get view(): View {
    return this.#recovery.view(performance.now());
  }

  get server(): LiveState | null {
    return this.#server;
  }

  /** The video on the screen, or the one that will be. */
  get video(): HTMLVideoElement | null {
    return this.#shown?.video ?? this.#transports.values().next().value?.video ?? this.#leftover;
  }

  /** The HLS transport while it is on the screen: it can rewind. */
  get hls(): LlHlsTransport | null {
    return this.#shown instanceof LlHlsTransport ? this.#shown : null;
  }

  get facts(): Facts {
    return collectFacts({
      stream: this.#options.stream,
      view: this.view,
      server: this.#server,
      sample: this.#sample,
      video: this.#shown?.video ?? null,
      postToFirstFrameMs: this.#postToFirstFrameMs,
      openToFirstFrameMs: this.#openToFirstFrameMs,
      starts: this.#starts,
      errors: this.#errors,
    });
  }

  setPaused(paused: boolean): void {
    this.#dispatch({ type: "paused", paused });
  }

  /** A token admits a join: who is watching stays, and only what is opened from now on uses the new one. */
  setToken(token: string): void {
    this.#token = token;
    this.#events.readdress(this.#url("live", "/events"));
    this.#dispatch({ type: "new_token" });
  }

  #prepare(): PreparedOffer {
    return new PreparedOffer(this.#address("whep"), this.#options.ice);
  }

  #address(area: string, tail = ""): string {
    return `${this.#options.base}/${area}/${encodeURIComponent(this.#options.stream)}${tail}`;
  }

  /** With the token: neither EventSource nor the browsers' own HLS can send a header. */
  #url(area: string, tail: string): string {
    const query = this.#token === "" ? "" : `?token=${encodeURIComponent(this.#token)}`;
    return `${this.#address(area, tail)}${query}`;
  }

  #onServer(state: LiveState): void {
    this.#server = state;
    if (!state.webrtc.playable && state.state === "on_air") void preloadHls();
    this.#dispatch({ type: "server", state });
  }

  #tick(): void {
    this.#ticks += 1;
    const hls = this.hls;
    if (hls) this.#dispatch({ type: "rewound", rewound: !hls.atEdge });
    else this.#dispatch({ type: "tick" });
    if (this.#ticks % SAMPLE_EVERY_TICKS === 0 && this.#shown) void this.#read(this.#shown);
  }

  async #read(transport: PlayerTransport): Promise<void> {
    const sample = await transport.sample().catch(() => null);
    if (!sample || transport !== this.#shown) return;
    this.#sample = sample;
    if (sample.framesDecoded > this.#framesSeen) {
      this.#framesSeen = sample.framesDecoded;
      const latencyMs = sample.latency?.ms ?? null;
      this.#dispatch({ type: "frames", transport: transport.name, latencyMs });
    }
  }

  #dispatch(event: RecoveryEvent): void {
    if (this.#closed) return;
    for (const effect of this.#recovery.handle(event, performance.now())) this.#perform(effect);
    this.#options.onChange();
  }

  #perform(effect: Effect): void {
    if (effect.type === "stop") this.#stop(effect.transport, effect.ended);
    else this.#start(effect.transport);
  }

  #start(name: Transport): void {
    this.#stop(name);
    this.#starts += 1;
    const transport = name === "webrtc" ? this.#createWebrtc() : this.#createHls();
    this.#transports.set(name, transport);
    this.#options.onVideo(transport.video);
    this.#options.stage.append(transport.video);
    transport.start();
  }

  #createWebrtc(): WhepTransport {
    const prepared = this.#prepared ?? this.#prepare();
    this.#prepared = null;
    const { muted, volume } = this.#sound();
    const options = { url: this.#address("whep"), token: this.#token || null, muted, volume, prepared };
    return new WhepTransport(options, this.#handlers("webrtc"));
  }

  #createHls(): LlHlsTransport {
    const { muted, volume } = this.#sound();
    return new LlHlsTransport({ url: this.#url("hls", "/index.m3u8"), muted, volume }, this.#handlers("hls"));
  }

  /** A replacement sounds as its predecessor did, or the viewer would lose the sound they turned on. */
  #sound(): { muted: boolean; volume: number } {
    const before = this.video;
    return before
      ? { muted: before.muted, volume: before.volume }
      : { muted: this.#options.muted, volume: this.#options.volume };
  }

  #handlers(name: Transport): TransportHandlers {
    return {
      onConnected: () => {
        if (name === "webrtc") this.#dispatch({ type: "ice_connected" });
      },
      onFirstFrame: () => this.#onFirstFrame(name),
      onFailed: (failure) => {
        this.#noteError(`${name}.${failure.code}`, failure.detail);
        this.#stop(name);
        this.#dispatch({ type: "failed", transport: name, failure });
      },
    };
  }

  #onFirstFrame(name: Transport): void {
    const transport = this.#transports.get(name);
    if (!transport) return;
    const nowMs = performance.now();
    this.#shown = transport;
    this.#sample = null;
    this.#framesSeen = 0;
    this.#postToFirstFrameMs = transport.requestedAtMs === null ? null : nowMs - transport.requestedAtMs;
    this.#openToFirstFrameMs ??= nowMs - this.#openedAtMs;
    this.#leftover?.remove();
    this.#leftover = null;
    this.#dispatch({ type: "first_frame", transport: name });
    void this.#read(transport);
  }

  #stop(name: Transport, ended = false): void {
    const transport = this.#transports.get(name);
    if (!transport) return;
    this.#transports.delete(name);
    this.#discard(transport, ended);
  }

  /** The last picture of what was on the screen stays under the card until another one replaces it. */
  #discard(transport: PlayerTransport, ended = false): void {
    transport.stop(ended);
    if (transport !== this.#shown) {
      transport.video.remove();
      return;
    }
    this.#shown = null;
    this.#sample = null;
    this.#leftover?.remove();
    this.#leftover = transport.video;
  }

  #noteError(code: string, detail: string): void {
    this.#errors.push({ at: new Date().toISOString(), code, detail: detail.slice(0, 300) });
    if (this.#errors.length > ERRORS_KEPT) this.#errors.shift();
  }
}
