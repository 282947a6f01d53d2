import type { ReactiveController, ReactiveControllerHost } from "lit";
import type { LiveState } from "../api/types";
import { SPARKLINE_SAMPLES } from "../components/sparkline";
import { videoTrack } from "../format";
import { iceChoice } from "../ice";
import type { Content } from "../publisher/capture";
import { type OutboundRates, type OutboundSample, ratesBetween } from "../publisher/statistics";
import { type PublisherState, type Trouble, WhipPublisher } from "../publisher/whip";

/** Charts get one point a second: a minute of them fits. */
const SAMPLE_MS = 1000;
/** Go live and End broadcast stand in the same place: the second click of a double click (500 ms at most) is for neither. */
const SETTLE_MS = 700;

/** The last minute, one value a second; null where nothing measures it. */
export interface Series {
  bitrateBps: number[];
  framesPerSecond: number[];
  keyframeIntervalS: (number | null)[];
  lossShare: (number | null)[];
  roundTripMs: (number | null)[];
}

const emptySeries = (): Series => ({
  bitrateBps: [],
  framesPerSecond: [],
  keyframeIntervalS: [],
  lossShare: [],
  roundTripMs: [],
});

export interface Start {
  media: MediaStream;
  content: Content;
  key: string;
  maxBitrateBps: number;
  takeOver: boolean;
}

export interface SendingListeners {
  /** What the server says about the stream now; null while unknown. */
  server(): LiveState | null;
  /** The stream that the key turned out to belong to. */
  onStreamName(name: string): void;
  onState(state: PublisherState): void;
}

/** The broadcast from this page, and the measurements of it, or else of another encoder's. The page draws it. */
export class SendingController implements ReactiveController {
  state: PublisherState = "idle";
  trouble: Trouble | null = null;
  sample: OutboundSample | null = null;
  rates: OutboundRates | null = null;
  series: Series = emptySeries();
  /** The key of the newest attempt. */
  key = "";
  /** Not the moment to ask for anything: the broadcast is ending, or began or ended just now. */
  changing = false;
  #publisher: WhipPublisher | null = null;
  #limitedSinceMs: number | null = null;
  #settled: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  readonly #onUnload = (event: BeforeUnloadEvent): void => {
    if (this.active) event.preventDefault();
  };
  readonly #onLeave = (): void => void this.#publisher?.stop();

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly listeners: SendingListeners,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    this.#timer = setInterval(() => void this.#measure(), SAMPLE_MS);
    window.addEventListener("beforeunload", this.#onUnload);
    window.addEventListener("pagehide", this.#onLeave);
  }

  hostDisconnected(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#settled);
    window.removeEventListener("beforeunload", this.#onUnload);
    window.removeEventListener("pagehide", this.#onLeave);
    void this.#publisher?.stop();
  }

  get active(): boolean {
    return this.state === "connecting" || this.state === "live" || this.state === "reconnecting";
  }

  get sessionId(): string | null {
    return this.#publisher?.sessionId ?? null;
  }

  /** Seconds for which the browser has been reducing the picture; null while it does not. */
  get limitedS(): number | null {
    return this.#limitedSinceMs === null ? null : (performance.now() - this.#limitedSinceMs) / 1000;
  }

  start({ media, content, key, maxBitrateBps, takeOver }: Start): void {
    this.resetMeasurements();
    this.key = key;
    const publisher = new WhipPublisher(media, {
      url: `${location.origin}/whip`,
      key,
      takeOver,
      ice: iceChoice(location.search),
      maxBitrateBps,
      content,
      onState: (state, trouble) => this.#onState(publisher, state, trouble),
      onStreamName: (name) => this.listeners.onStreamName(name),
    });
    this.#publisher = publisher;
    publisher.start();
  }

  async stop(): Promise<void> {
    if (!this.active) return;
    this.#change();
    await this.#publisher?.stop();
    this.resetMeasurements();
  }

  /** Says why it does not even start. */
  refuse(trouble: Trouble): void {
    this.state = "failed";
    this.trouble = trouble;
    this.host.requestUpdate();
  }

  clearTrouble(): void {
    if (this.active) return;
    this.trouble = null;
    this.host.requestUpdate();
  }

  async replaceMedia(media: MediaStream, content: Content): Promise<void> {
    await this.#publisher?.replaceMedia(media, content);
  }

  setMaxBitrate(bps: number): void {
    void this.#publisher?.setMaxBitrate(bps);
  }

  onServer(live: LiveState): void {
    this.#publisher?.onServer(live);
  }

  resetMeasurements(): void {
    this.series = emptySeries();
    this.sample = null;
    this.rates = null;
    this.#limitedSinceMs = null;
  }

  #onState(publisher: WhipPublisher, state: PublisherState, trouble: Trouble | null): void {
    if (publisher !== this.#publisher) return;
    const wasActive = this.active;
    this.state = state;
    this.trouble = trouble;
    if (!this.active) this.#publisher = null;
    if (this.active !== wasActive) this.#settle();
    this.listeners.onState(state);
    this.host.requestUpdate();
  }

  #change(): void {
    clearTimeout(this.#settled);
    this.changing = true;
    this.host.requestUpdate();
  }

  #settle(): void {
    this.#change();
    this.#settled = setTimeout(() => {
      this.changing = false;
      this.host.requestUpdate();
    }, SETTLE_MS);
  }

  /** Once a second: what this page sends, or else what the server says of another encoder. */
  async #measure(): Promise<void> {
    const server = this.listeners.server();
    const publisher = this.#publisher;
    if (publisher) await this.#measureOwn(publisher, server);
    else if (server?.state === "on_air") {
      const video = videoTrack(server.tracks);
      const bitrateBps = server.tracks.reduce((sum, track) => sum + track.bitrate_bps, 0);
      this.#add(bitrateBps, video?.frame_rate ?? 0, video?.keyframe_interval_s || null, null, null);
    }
    this.host.requestUpdate();
  }

  async #measureOwn(publisher: WhipPublisher, server: LiveState | null): Promise<void> {
    const now = await publisher.sample().catch(() => null);
    const before = this.sample;
    this.sample = now;
    const limited = now !== null && now.limitation !== "none";
    this.#limitedSinceMs = limited ? (this.#limitedSinceMs ?? performance.now()) : null;
    this.rates = now && before ? ratesBetween(before, now) : null;
    if (!this.rates) return;
    const { bitrateBps, framesPerSecond, lossShare, roundTripMs } = this.rates;
    const interval = videoTrack(server?.tracks ?? [])?.keyframe_interval_s || null;
    this.#add(bitrateBps, framesPerSecond, interval, lossShare, roundTripMs);
  }

  #add(bps: number, frames: number, interval: number | null, loss: number | null, trip: number | null): void {
    const last = <Value>(values: Value[], value: Value): Value[] => [...values, value].slice(-SPARKLINE_SAMPLES);
    this.series = {
      bitrateBps: last(this.series.bitrateBps, bps),
      framesPerSecond: last(this.series.framesPerSecond, frames),
      keyframeIntervalS: last(this.series.keyframeIntervalS, interval),
      lossShare: last(this.series.lossShare, loss),
      roundTripMs: last(this.series.roundTripMs, trip),
    };
  }
}
