/**
 * When to open, keep, replace and give up a transport: the player's decisions, without I/O and without a clock.
 *
 * In come what the server says (server-sent events), what the transports report (first frame, more frames, failure)
 * and the time; out come `start` and `stop` of transports, and a `View` for people. Decisions rest on decoded frames,
 * never on error names: a frozen WebRTC picture looks healthy to every other signal.
 */
import type { LiveState, Playability, Track } from "../api/types";
import { fullJitterMs } from "../backoff";

export type Transport = "webrtc" | "hls";
export type TransportChoice = "auto" | Transport;

/** No server-sent state after this: try to play anyway, a proxy may be holding the events back. */
export const EVENTS_GRACE_MS = 1000;
/** WebRTC without a frame for this long: HLS starts beside it. Below it, a slow but healthy join would lose. */
export const PARALLEL_HLS_MS = 4000;
/** ICE gives up by itself at 15.2 s in Chromium; nothing good comes later. Also bounds an HLS start. */
export const NO_FRAME_LIMIT_MS = 15_000;
/** No decoded frame for this long is a stopped picture; one long GOP gap or a key frame wait stays below it. */
export const FRAMES_STOPPED_MS = 2000;
/** After the end of a broadcast nothing but the buffer is left: an empty one shows sooner. */
export const DRAINED_MS = 1000;
/** A second after people were told, the WebRTC session is replaced (the publisher being known to send). */
export const REBUILD_WEBRTC_MS = 3000;
/** hls.js heals gaps and stalls by itself; only a longer silence is worth a fresh start. */
export const REBUILD_HLS_MS = 8000;
/** A new broadcast under an old session: WebRTC continues at once or never, HLS after its first parts or never. */
export const REBUILD_NEW_EPOCH_MS = { webrtc: 1000, hls: 3000 } as const;
/**
 * A publisher that was cut off sends its backlog in one burst, from which Chromium learns a wrong clock: the picture
 * then runs slow and jumps, up to 0.7 s late, for minutes. This long after the return the burst is over; if the
 * picture is late then, a fresh session (0.1 s) cures it.
 */
export const RESYNC_AFTER_MS = 3000;
export const RESYNC_LATENCY_MS = 200;
/** Playing this long counts as healthy: the back-off starts from the beginning again. */
export const STABLE_MS = 30_000;
/** A token that was refused is refused again: asking for media waits this long, or for another token. */
export const DENIED_RETRY_MS = 30_000;
/** A publisher that broke off is announced as returning for this long, then the broadcast counts as over. */
export const PUBLISHER_RETURN_MS = 60_000;

export type Phase =
  | "connecting" // nothing known yet
  | "waiting" // not on air, and nothing was seen since the page opened
  | "starting" // on air, first picture on its way
  | "playing"
  | "paused" // by the viewer
  | "stalled" // the publisher is connected but its picture stopped
  | "reconnecting" // the picture was there and something between publisher and screen broke
  | "ended"
  | "denied" // private, and the playback token is missing, wrong or expired
  | "unplayable"; // on air, but this browser can play neither transport

export interface View {
  phase: Phase;
  /** Why it is not simply playing; `none` while it is. */
  code: string;
  /** Transport on the screen, else null. */
  transport: Transport | null;
  /** Why WebRTC is not used although it comes first; null while it is or may be. */
  fallback: Fallback | null;
  /** Milliseconds in this phase. */
  sinceMs: number;
  /** Milliseconds since the publisher's last media, where the server told us. */
  mediaAgeMs: number | null;
}

/** `reason` and `fix` are the server's sentences, where it gave some. */
export interface Fallback {
  code: string;
  reason: string | null;
  fix: string | null;
}

export interface Failure {
  code: string;
  detail: string;
  /** From Retry-After; obeyed instead of the back-off. */
  retryAfterMs?: number | null;
  /** This offer cannot play this broadcast: asking again is useless until the next one. */
  permanent?: boolean;
  /** The playback token was refused; `code` says how. */
  denied?: boolean;
}

export type RecoveryEvent =
  | { type: "server"; state: LiveState }
  | { type: "server_lost" }
  /** The server refused even to tell the stream's state. */
  | { type: "denied"; code: string }
  | { type: "new_token" }
  | { type: "ice_connected" }
  | { type: "first_frame"; transport: Transport }
  | { type: "frames"; transport: Transport; latencyMs: number | null }
  | { type: "failed"; transport: Transport; failure: Failure }
  | { type: "visible"; visible: boolean }
  | { type: "paused"; paused: boolean }
  | { type: "rewound"; rewound: boolean }
  | { type: "tick" };

export type Effect =
  | { type: "start"; transport: Transport }
  /** `ended`: the broadcast is over, so the server has closed its side already. */
  | { type: "stop"; transport: Transport; ended: boolean };

export interface RecoveryOptions {
  choice: TransportChoice;
  webrtcAvailable: boolean;
  hlsAvailable: boolean;
  /** Whether this browser decodes these tracks from fMP4 (HEVC often not). */
  canDecode(tracks: readonly Track[]): boolean;
  random(): number;
}

interface Attempt {
  status: "idle" | "opening" | "shown" | "waiting";
  sinceMs: number;
  retryAtMs: number;
  failures: number;
}

/** Codes of `playback.*.code` that only mean "ask again in a moment". */
const NOT_YET = "starting";
/** Ends after which nobody should be told to wait for a return. */
const FINAL_ENDS = ["finished", "removed"];

const idle = (): Attempt => ({ status: "idle", sinceMs: 0, retryAtMs: 0, failures: 0 });

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #openedAtMs: number;
  readonly #attempts: Record<Transport, Attempt> = { webrtc: idle(), hls: idle() };
  #server: LiveState | null = null;
  #serverAtMs = 0;
  #serverLost = false;
  #shown: Transport | null = null;
  #shownEpoch: number | null = null;
  #everShown = false;
  #iceConnected = false;
  #lastFrameMs = 0;
  /** Frames are only expected after this moment (on air again, visible again, resumed). */
  #expectFramesFromMs = 0;
  /** When to look whether the picture is late after a publisher's return; null when not due. */
  #resyncAtMs: number | null = null;
  #worstLatencyMs = 0;
  /** Since when we are on air without a picture; null while there is one or none is due. */
  #episodeAtMs: number | null = null;
  #refused: (Fallback & { epoch: number | null }) | null = null;
  #blocked: Fallback | null = null;
  /** Code of the server's refusal; null while nothing was refused. */
  #denied: string | null = null;
  #visible = true;
  #paused = false;
  #rewound = false;
  #phase: Phase = "connecting";
  #phaseAtMs: number;
  #offAirAtMs: number;

  constructor(options: RecoveryOptions, nowMs: number) {
    this.#options = options;
    this.#openedAtMs = nowMs;
    this.#phaseAtMs = nowMs;
    this.#offAirAtMs = nowMs;
  }

  /** Takes one event and returns what to do about it, stops before starts. */
  handle(event: RecoveryEvent, nowMs: number): Effect[] {
    this.#absorb(event, nowMs);
    const effects = this.#decide(nowMs);
    const phase = this.#derive(nowMs).phase;
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#phaseAtMs = nowMs;
    }
    return effects;
  }

  view(nowMs: number): View {
    const { phase, code } = this.#derive(nowMs);
    const age = this.#server?.media_age_ms;
    return {
      phase,
      code,
      transport: this.#shown,
      fallback: this.#fallback(),
      sinceMs: phase === this.#phase ? nowMs - this.#phaseAtMs : 0,
      mediaAgeMs: typeof age === "number" ? age + (nowMs - this.#serverAtMs) : null,
    };
  }

  #absorb(event: RecoveryEvent, nowMs: number): void {
    switch (event.type) {
      case "server":
        this.#absorbServer(event.state, nowMs);
        break;
      case "server_lost":
        this.#serverLost = true;
        break;
      case "denied":
        this.#denied = event.code;
        break;
      case "new_token":
        this.#denied = null;
        this.#retryAllAt(nowMs);
        break;
      case "ice_connected":
        this.#iceConnected = true;
        break;
      case "first_frame":
        this.#show(event.transport, nowMs);
        break;
      case "frames":
        if (event.transport !== this.#shown) break;
        this.#lastFrameMs = nowMs;
        this.#worstLatencyMs = Math.max(this.#worstLatencyMs, event.latencyMs ?? 0);
        break;
      case "failed":
        this.#fail(event.transport, event.failure, nowMs);
        break;
      case "visible":
        if (event.visible && !this.#visible) this.#startOver(nowMs);
        this.#visible = event.visible;
        this.#expectFramesFromMs = nowMs;
        break;
      case "paused":
        this.#paused = event.paused;
        this.#expectFramesFromMs = nowMs;
        break;
      case "rewound":
        this.#rewound = event.rewound;
        break;
      case "tick":
        break;
    }
  }

  #absorbServer(state: LiveState, nowMs: number): void {
    const before = this.#server?.state;
    if (state.state === "on_air" && (before !== "on_air" || this.#serverLost)) {
      this.#expectFramesFromMs = nowMs;
      this.#retryAllAt(nowMs);
    }
    if (state.state === "on_air" && before === "no_media" && this.#shown === "webrtc") {
      this.#resyncAtMs = nowMs + RESYNC_AFTER_MS;
    }
    if (state.state === "off_air" && before !== "off_air") this.#offAirAtMs = nowMs;
    if (this.#refused && this.#refused.epoch !== state.epoch) this.#refused = null;
    this.#server = state;
    this.#serverAtMs = nowMs;
    this.#serverLost = false;
  }

  #retryAllAt(nowMs: number): void {
    for (const attempt of Object.values(this.#attempts)) {
      attempt.retryAtMs = nowMs;
      attempt.failures = 0;
    }
  }

  /** Times what is opening from now on: while the page was hidden its frames could not be seen. */
  #startOver(nowMs: number): void {
    this.#retryAllAt(nowMs);
    this.#episodeAtMs = null;
    for (const attempt of Object.values(this.#attempts)) {
      if (attempt.status === "opening") attempt.sinceMs = nowMs;
    }
  }

  #show(transport: Transport, nowMs: number): void {
    const attempt = this.#attempts[transport];
    if (attempt.status !== "opening") return; // stopped meanwhile
    if (transport === "hls" && this.#attempts.webrtc.status !== "idle" && !this.#refused) {
      this.#blocked = { code: this.#iceConnected ? "webrtc_no_frames" : "udp_blocked", reason: null, fix: null };
    }
    if (transport === "webrtc") this.#blocked = null;
    this.#attempts[transport] = { ...attempt, status: "shown", sinceMs: nowMs };
    this.#shown = transport;
    this.#shownEpoch = this.#server?.epoch ?? null;
    this.#everShown = true;
    this.#denied = null;
    this.#lastFrameMs = nowMs;
    this.#episodeAtMs = null;
    this.#rewound = false;
  }

  #fail(transport: Transport, failure: Failure, nowMs: number): void {
    const attempt = this.#attempts[transport];
    if (attempt.status === "idle") return;
    if (transport === "webrtc" && failure.permanent) {
      this.#refused = { code: failure.code, reason: failure.detail, fix: null, epoch: this.#server?.epoch ?? null };
    }
    const stable = attempt.status === "shown" && nowMs - attempt.sinceMs > STABLE_MS;
    const failures = stable ? 0 : attempt.failures;
    // hls.js keeps the server's own code to itself: what WebRTC was told says more.
    if (failure.denied && (transport === "webrtc" || !this.#denied)) this.#denied = failure.code;
    const givenMs = failure.retryAfterMs ?? (failure.denied ? DENIED_RETRY_MS : null);
    const waitMs = givenMs ?? fullJitterMs(failures, this.#options.random());
    this.#attempts[transport] = {
      status: "waiting",
      sinceMs: nowMs,
      retryAtMs: nowMs + waitMs,
      failures: failures + 1,
    };
    if (this.#shown === transport) this.#shown = null;
  }

  #decide(nowMs: number): Effect[] {
    const effects: Effect[] = [];
    this.#dropHopeless(nowMs, effects);
    if (!this.#pictureDue(nowMs)) {
      this.#episodeAtMs = null;
      if (this.#server?.state === "off_air") this.#stopAfterEnd(nowMs, effects);
      return effects;
    }
    if (this.#shown) {
      this.#stop(this.#shown === "webrtc" ? "hls" : "webrtc", effects);
      return effects;
    }
    this.#episodeAtMs ??= nowMs;
    if (!this.#webrtcPossible()) this.#stop("webrtc", effects);
    else if (this.#mayOpenBeside("hls")) this.#start("webrtc", nowMs, effects);
    if (this.#hlsDue(nowMs) && this.#mayOpenBeside("webrtc")) this.#start("hls", nowMs, effects);
    return effects;
  }

  /** In a hidden tab the first frame may not be told, and two that open would both be heard for as long. */
  #mayOpenBeside(other: Transport): boolean {
    return this.#visible || this.#attempts[other].status !== "opening";
  }

  /** Whether viewers should be seeing something now. */
  #pictureDue(nowMs: number): boolean {
    if (!this.#server) return nowMs - this.#openedAtMs >= EVENTS_GRACE_MS;
    return this.#server.state === "on_air";
  }

  /** Ends attempts without a frame and pictures that stopped although the publisher sends. */
  #dropHopeless(nowMs: number, effects: Effect[]): void {
    for (const transport of ["webrtc", "hls"] as const) {
      const attempt = this.#attempts[transport];
      const opening = this.#visible && attempt.status === "opening";
      const tooLong = opening && nowMs - attempt.sinceMs >= NO_FRAME_LIMIT_MS;
      if (!tooLong && !(attempt.status === "shown" && this.#mustRebuild(transport, nowMs))) continue;
      effects.push({ type: "stop", transport, ended: false });
      this.#fail(transport, { code: "no_frames", detail: "No frame was decoded." }, nowMs);
    }
    if (this.#mustResync(nowMs)) {
      effects.push({ type: "stop", transport: "webrtc", ended: false });
      this.#fail("webrtc", { code: "resync", detail: "The picture was late.", retryAfterMs: 0 }, nowMs);
    }
  }

  #mustResync(nowMs: number): boolean {
    if (this.#resyncAtMs === null) return false;
    // Only what is measured at the end counts: while the burst comes in, everybody is late.
    if (nowMs < this.#resyncAtMs - RESYNC_AFTER_MS / 2) this.#worstLatencyMs = 0;
    if (nowMs < this.#resyncAtMs) return false;
    this.#resyncAtMs = null;
    return this.#shown === "webrtc" && this.#visible && this.#worstLatencyMs > RESYNC_LATENCY_MS;
  }

  #mustRebuild(transport: Transport, nowMs: number): boolean {
    if (!this.#visible || this.#paused || this.#server?.state !== "on_air") return false;
    const newEpoch = this.#server.epoch !== this.#shownEpoch;
    const usual = transport === "webrtc" ? REBUILD_WEBRTC_MS : REBUILD_HLS_MS;
    const limit = newEpoch ? REBUILD_NEW_EPOCH_MS[transport] : usual;
    return this.#framesStoppedForMs(nowMs) >= limit;
  }

  #framesStoppedForMs(nowMs: number): number {
    return nowMs - Math.max(this.#lastFrameMs, this.#expectFramesFromMs);
  }

  /** HLS plays what it has buffered after the end; WebRTC has nothing left. */
  #stopAfterEnd(nowMs: number, effects: Effect[]): void {
    this.#stop("webrtc", effects);
    const draining = this.#shown === "hls" && (this.#paused || this.#framesStoppedForMs(nowMs) < DRAINED_MS);
    if (!draining) this.#stop("hls", effects);
  }

  #start(transport: Transport, nowMs: number, effects: Effect[]): void {
    const attempt = this.#attempts[transport];
    const due = attempt.status === "idle" || (attempt.status === "waiting" && nowMs >= attempt.retryAtMs);
    if (!due) return;
    if (transport === "webrtc") this.#iceConnected = false;
    this.#attempts[transport] = { ...attempt, status: "opening", sinceMs: nowMs };
    effects.push({ type: "start", transport });
  }

  #stop(transport: Transport, effects: Effect[]): void {
    const attempt = this.#attempts[transport];
    if (attempt.status === "idle") return;
    const ended = this.#server?.state === "off_air";
    if (attempt.status !== "waiting") effects.push({ type: "stop", transport, ended });
    this.#attempts[transport] = idle();
    if (this.#shown === transport) this.#shown = null;
  }

  #webrtcPossible(): boolean {
    if (this.#options.choice === "hls" || !this.#options.webrtcAvailable || this.#refused) return false;
    return this.#server?.webrtc.playable ?? true;
  }

  /** WebRTC is not possible, and waiting will not change it. */
  #webrtcExcluded(): boolean {
    return !this.#webrtcPossible() && this.#server?.webrtc.code !== NOT_YET;
  }

  #hlsPossible(): boolean {
    if (this.#options.choice === "webrtc" || !this.#options.hlsAvailable) return false;
    return (this.#server?.hls.playable ?? true) && this.#options.canDecode(this.#server?.tracks ?? []);
  }

  #hlsDue(nowMs: number): boolean {
    if (!this.#hlsPossible()) return false;
    if (this.#webrtcExcluded() || this.#blocked) return true;
    return this.#episodeAtMs !== null && nowMs - this.#episodeAtMs >= PARALLEL_HLS_MS;
  }

  #hlsExcluded(): boolean {
    if (this.#options.choice === "webrtc" || !this.#options.hlsAvailable) return true;
    const hls: Playability | undefined = this.#server?.hls;
    if (hls && !hls.playable) return hls.code !== NOT_YET;
    return !this.#options.canDecode(this.#server?.tracks ?? []);
  }

  #fallback(): Fallback | null {
    if (this.#options.choice === "hls") return { code: "asked", reason: null, fix: null };
    if (!this.#options.webrtcAvailable) return { code: "webrtc_off", reason: null, fix: null };
    const webrtc = this.#server?.webrtc;
    if (this.#server && this.#server.state !== "off_air" && webrtc && !webrtc.playable && webrtc.code !== NOT_YET) {
      return { code: webrtc.code ?? "codec_not_webrtc", reason: webrtc.reason, fix: webrtc.fix };
    }
    if (this.#refused) return this.#refused;
    return this.#shown === "hls" ? this.#blocked : null;
  }

  #derive(nowMs: number): { phase: Phase; code: string } {
    const server = this.#server;
    if (this.#shown) return this.#deriveShown(nowMs);
    if (this.#denied && server?.state !== "off_air") return { phase: "denied", code: this.#denied };
    if (!server) return { phase: "connecting", code: this.#serverLost ? "server_away" : "connecting" };
    if (this.#serverLost) return { phase: this.#everShown ? "reconnecting" : "connecting", code: "server_away" };
    if (server.state === "off_air") return this.#deriveOffAir(server, nowMs);
    if (server.state === "no_media") {
      return this.#everShown
        ? { phase: "stalled", code: "publisher_stopped" }
        : { phase: "starting", code: "publisher_silent" };
    }
    if (this.#webrtcExcluded() && this.#hlsExcluded()) {
      const hls = server.hls.playable ? "browser_codec" : (server.hls.code ?? "codec_not_hls");
      return { phase: "unplayable", code: this.#options.choice === "webrtc" ? "webrtc_excluded" : hls };
    }
    return this.#everShown
      ? { phase: "reconnecting", code: "frames_stopped" }
      : { phase: "starting", code: "first_picture" };
  }

  #deriveShown(nowMs: number): { phase: Phase; code: string } {
    if (this.#paused) return { phase: "paused", code: "none" };
    const limitMs = this.#server?.state === "off_air" ? DRAINED_MS : FRAMES_STOPPED_MS;
    const stopped = this.#visible && this.#framesStoppedForMs(nowMs) >= limitMs;
    const silent = this.#server?.state === "no_media" && !this.#serverLost;
    if (silent && (stopped || !this.#rewound)) return { phase: "stalled", code: "publisher_stopped" };
    if (!stopped) return { phase: "playing", code: "none" };
    if (this.#serverLost) return { phase: "reconnecting", code: "server_away" };
    if (this.#server?.state === "off_air") return this.#deriveOffAir(this.#server, nowMs);
    return { phase: "reconnecting", code: "frames_stopped" };
  }

  #deriveOffAir(server: LiveState, nowMs: number): { phase: Phase; code: string } {
    if (!this.#everShown) return { phase: "waiting", code: "not_on_air" };
    if (FINAL_ENDS.includes(server.last_end ?? "")) return { phase: "ended", code: "finished" };
    if (nowMs - this.#offAirAtMs >= PUBLISHER_RETURN_MS) return { phase: "ended", code: "not_returned" };
    return { phase: "reconnecting", code: "publisher_lost" };
  }
}
