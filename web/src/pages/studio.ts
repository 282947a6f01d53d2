import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { ref } from "lit/directives/ref.js";
import { Camera, ExternalLink, Eye, EyeOff, Mic, MicOff, MonitorUp, Radio, Square, VideoOff } from "lucide";
import { LiveEvents } from "../api/live_events";
import { fetchServerConfig, rtmpServer } from "../api/server_config";
import { fetchStreams } from "../api/stream_list";
import type { LiveState } from "../api/types";
import "../components/copy_field";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { SPARKLINE_SAMPLES, sparkline } from "../components/sparkline";
import { bitrate, duration, secondsSince, videoTrack, watching } from "../format";
import type { Facts } from "../player/facts";
import "../player/player";
import { type Advice, advise } from "../publisher/advice";
import {
  cameraAlreadyAllowed,
  captureContext,
  type Devices,
  listDevices,
  openCamera,
  openScreen,
  stopTracks,
} from "../publisher/capture";
import { captureSentence, INSECURE_SENTENCE } from "../publisher/capture_errors";
import { LevelMeter } from "../publisher/meter";
import {
  BITRATES_BPS,
  FRAME_RATES,
  HEIGHTS,
  loadSettings,
  type StudioSettings,
  saveKey,
  saveSettings,
  takeKey,
} from "../publisher/settings";
import { type OutboundRates, type OutboundSample, ratesBetween } from "../publisher/statistics";
import { type PublisherState, WhipPublisher } from "../publisher/whip";
import { type Tally, tallyOf } from "./studio_tally";

/** Charts get one point a second: a minute of them fits. */
const SAMPLE_MS = 1000;
/** The level meter moves ten times a second: smooth to the eye, cheap to draw. */
const METER_MS = 100;
const METER_BARS = 12;
/** Below this a microphone counts as silent; about -57 dBFS. */
const SILENT_BELOW = 0.05;

interface Charts {
  bitrate: number[];
  frames: number[];
  third: number[];
}

/** Going live from the browser, and what an encoder such as OBS needs to do it instead. */
@element("tl-studio-page")
export class StudioPage extends LightElement {
  @state() private key = takeKey();
  @state() private keyShown = false;
  @state() private stream = new URLSearchParams(location.search).get("stream") || "main";
  @state() private settings: StudioSettings = loadSettings();
  @state() private devices: Devices = { cameras: [], microphones: [] };
  @state() private media: MediaStream | null = null;
  @state() private content: "camera" | "screen" = "camera";
  @state() private captureError: string | null = null;
  @state() private opening = false;
  @state() private microphoneOn = true;
  @state() private publisherState: PublisherState = "idle";
  @state() private publisherMessage: string | null = null;
  @state() private server: LiveState | null = null;
  @state() private serverLost = false;
  @state() private loopback: Facts | null = null;
  @state() private level = 0;
  @state() private rtmpPort = 1935;

  #publisher: WhipPublisher | null = null;
  #events: LiveEvents | null = null;
  #meter: LevelMeter | null = null;
  #timers: ReturnType<typeof setInterval>[] = [];
  #charts: Charts = { bitrate: [], frames: [], third: [] };
  #sample: OutboundSample | null = null;
  #rates: OutboundRates | null = null;
  #silentSinceMs: number | null = null;
  #limitedSinceMs: number | null = null;

  readonly #onUnload = (event: BeforeUnloadEvent): void => {
    if (this.#sending) event.preventDefault();
  };
  readonly #onLeave = (): void => void this.#publisher?.stop();
  readonly #onDevices = (): void => void this.#refreshDevices();

  get #sending(): boolean {
    return (
      this.publisherState === "connecting" || this.publisherState === "live" || this.publisherState === "reconnecting"
    );
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#listen();
    this.#timers = [setInterval(() => void this.#measure(), SAMPLE_MS), setInterval(() => this.#readMeter(), METER_MS)];
    window.addEventListener("beforeunload", this.#onUnload);
    window.addEventListener("pagehide", this.#onLeave);
    navigator.mediaDevices?.addEventListener("devicechange", this.#onDevices);
    void fetchServerConfig().then((config) => {
      this.rtmpPort = config.rtmp.port;
    });
    if (!captureContext("camera").secure) this.captureError = INSECURE_SENTENCE;
    else void this.#openIfAllowed();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    for (const timer of this.#timers) clearInterval(timer);
    window.removeEventListener("beforeunload", this.#onUnload);
    window.removeEventListener("pagehide", this.#onLeave);
    navigator.mediaDevices?.removeEventListener("devicechange", this.#onDevices);
    this.#events?.close();
    this.#meter?.close();
    void this.#publisher?.stop();
    stopTracks(this.media);
  }

  override render(): TemplateResult {
    const tally = this.#tally();
    return html`${siteHeader("studio", html`<tally-lamp pill id="tally" data-tally=${tally.state} state=${tally.state}>${tally.word}</tally-lamp>`)}
      <main id="main">
        <h1 class="sr-only">Studio</h1>
        <div class="studio">
          <div class="studio-main">${this.#previewArea()}${this.#actions()}${this.#message()}${this.#chartsRow()}</div>
          <aside class="studio-side" aria-label="Settings">
            ${this.#health()}${this.#streamPanel()}${this.#sourcePanel()}${this.#obsPanel()}
          </aside>
        </div>
      </main>`;
  }

  #tally(): Tally {
    return tallyOf({
      server: this.server,
      serverLost: this.serverLost,
      publisher: this.publisherState,
      loopback: this.loopback?.state ?? null,
      latencyMs: this.loopback?.latencyMs ?? null,
    });
  }

  // --- what is seen ---

  #previewArea(): TemplateResult {
    const mirrored = this.content === "camera";
    return html`<div class="preview ${this.media ? "" : "empty"}">
      <video
        id="preview"
        class=${mirrored ? "mirrored" : ""}
        autoplay
        playsinline
        .muted=${true}
        ?hidden=${!this.media}
        aria-label="Preview of what you send"
        ${ref((video) => {
          if (video instanceof HTMLVideoElement && video.srcObject !== this.media) video.srcObject = this.media;
        })}
      ></video>
      ${this.media ? html`<span class="pill label">${mirrored ? "your camera, mirrored" : "your screen"}</span>` : this.#previewEmpty()}
      ${this.#loopbackBox()}
    </div>`;
  }

  #previewEmpty(): TemplateResult {
    if (this.captureError) {
      const retry = captureContext("camera").secure;
      return html`<div class="preview-text" role="alert" id="capture-error">
        ${icon(VideoOff, 32)}
        <p>${this.captureError}</p>
        ${retry ? html`<button class="button" @click=${() => void this.#openCamera()}>Try again</button>` : nothing}
      </div>`;
    }
    if (this.#seenFromElsewhere) {
      return html`<div class="preview-text">${icon(Radio, 32)}<p>Your encoder is sending. What viewers see is in the corner.</p></div>`;
    }
    return html`<div class="preview-text">
      ${icon(Camera, 32)}
      <p>Only you see the picture until you press Go live.</p>
      <button class="button" id="turn-on-camera" ?disabled=${this.opening} @click=${() => void this.#openCamera()}>
        ${this.opening ? "Waiting for the browser" : "Turn on camera"}
      </button>
    </div>`;
  }

  /** On air by an encoder, not by this page. */
  get #seenFromElsewhere(): boolean {
    return !this.#sending && this.server !== null && this.server.state !== "off_air";
  }

  #loopbackBox(): TemplateResult | typeof nothing {
    if (!this.server || this.server.state === "off_air") return nothing;
    return html`<figure class="loopback">
      <figcaption>what viewers see</figcaption>
      <tallylight-player
        compact
        muted
        id="loopback"
        stream=${this.stream}
        @tallylight-facts=${(event: CustomEvent<Facts>) => {
          this.loopback = event.detail;
        }}
      ></tallylight-player>
    </figure>`;
  }

  #actions(): TemplateResult {
    const sending = this.#sending;
    return html`<div class="actions">
      ${
        sending
          ? html`<button class="button primary big" id="end-broadcast" @click=${() => void this.#end()}>${icon(Square, 18)} End broadcast</button>`
          : html`<button class="button primary big" id="go-live" ?disabled=${this.opening || !captureContext("camera").secure} @click=${() => void this.#goLive()}>${icon(Radio, 18)} Go live</button>`
      }
      <button class="button" ?disabled=${!this.#microphone} aria-pressed=${!this.microphoneOn} @click=${this.#toggleMicrophone}>
        ${icon(this.microphoneOn ? Mic : MicOff, 18)} ${this.microphoneOn ? "Mute" : "Unmute"}
      </button>
      ${this.#screenButton()}
      <span class="live-line muted">${this.#liveLine()}</span>
    </div>`;
  }

  #screenButton(): TemplateResult | typeof nothing {
    if (this.content === "screen") {
      return html`<button class="button" @click=${() => void this.#openCamera()}>${icon(Camera, 18)} Back to camera</button>`;
    }
    // Phones have no getDisplayMedia.
    if (!navigator.mediaDevices || !("getDisplayMedia" in navigator.mediaDevices)) return nothing;
    return html`<button class="button" @click=${() => void this.#openScreen()}>${icon(MonitorUp, 18)} Share screen</button>`;
  }

  #liveLine(): string {
    const server = this.server;
    if (!server || server.state === "off_air") return "";
    const uptime = secondsSince(server.started_at, Date.now());
    return [uptime === null ? null : duration(uptime), `${watching(server.viewers)}, with you`]
      .filter(Boolean)
      .join(" · ");
  }

  #message(): TemplateResult | typeof nothing {
    if (!this.publisherMessage && !(this.captureError && this.media)) return nothing;
    const failed = this.publisherState === "failed";
    return html`<div class="notice" role=${failed ? "alert" : "status"} id="publisher-message">
      <tally-lamp state=${failed ? "fail" : "warn"}></tally-lamp>
      <p>${this.publisherMessage ?? this.captureError}</p>
    </div>`;
  }

  #chartsRow(): TemplateResult | typeof nothing {
    const charts = this.#charts;
    const last = (values: number[]): number => values.at(-1) ?? 0;
    if (charts.bitrate.length === 0) return nothing;
    const rate = this.#rates;
    const interval = this.server ? (videoTrack(this.server.tracks)?.keyframe_interval_s ?? 0) : 0;
    const loss = rate?.lossShare ?? 0;
    const network = rate
      ? `${(loss * 100).toFixed(1)} % · ${rate.roundTripMs === null ? "-" : `${rate.roundTripMs.toFixed(0)} ms`}`
      : interval > 0
        ? `${interval.toFixed(1)} s`
        : "-";
    const wanted = this.#sending ? this.settings.frameRate : null;
    return html`<div class="charts" id="charts">
      ${sparkline("BITRATE", bitrate(last(charts.bitrate)), charts.bitrate, "ok", this.#sending ? this.settings.bitrateBps : null)}
      ${sparkline("FRAMES", `${last(charts.frames).toFixed(1)} fps`, charts.frames, wanted !== null && last(charts.frames) < 0.8 * wanted ? "warn" : "ok", wanted)}
      ${sparkline(this.#sending ? "LOSS · ROUND TRIP" : "KEYFRAME EVERY", network, charts.third, loss > 0.02 || interval > 4 ? "warn" : "info", null)}
    </div>`;
  }

  #health(): TemplateResult {
    const advice = this.#advice();
    return html`<section class="panel" id="health">
      <h2>HEALTH</h2>
      <div aria-live="polite">
        ${
          advice.length === 0
            ? html`<div class="advice"><tally-lamp state="off_air"></tally-lamp><p><strong>Off air.</strong> <span class="muted">Measured values and advice appear here once you are live.</span></p></div>`
            : advice.map(
                (one) => html`<div class="advice" data-level=${one.level}>
                  <tally-lamp state=${one.level}></tally-lamp>
                  <p><strong>${one.title}</strong> <span class="muted">${one.text}</span></p>
                </div>`,
              )
        }
      </div>
    </section>`;
  }

  #advice(): Advice[] {
    if (this.serverLost) {
      return [
        {
          level: "fail",
          title: "The server does not answer.",
          text: "This page keeps trying. If other sites work, the operator of the server can help.",
        },
      ];
    }
    return advise({
      server: this.server,
      sample: this.#sending ? this.#sample : null,
      rates: this.#sending ? this.#rates : null,
      wantedFrameRate: this.settings.frameRate,
      silentS: this.#silentSinceMs === null ? null : (performance.now() - this.#silentSinceMs) / 1000,
      limitedS: this.#limitedSinceMs === null ? null : (performance.now() - this.#limitedSinceMs) / 1000,
      viewersSee: this.loopback?.state === "playing",
    });
  }

  #streamPanel(): TemplateResult {
    return html`<section class="panel">
      <h2>STREAM</h2>
      <form class="fields" @submit=${(event: Event) => event.preventDefault()}>
        <label for="stream-name">Name</label>
        <input
          id="stream-name"
          autocomplete="off"
          spellcheck="false"
          .value=${this.stream}
          ?disabled=${this.#sending}
          @change=${(event: Event) => this.#renameStream((event.target as HTMLInputElement).value)}
        />
        <label for="stream-key">Stream key</label>
        <span class="with-button">
          <input
            id="stream-key"
            type=${this.keyShown ? "text" : "password"}
            autocomplete="off"
            spellcheck="false"
            placeholder="paste it here"
            .value=${this.key}
            ?disabled=${this.#sending}
            @input=${(event: Event) => this.#setKey((event.target as HTMLInputElement).value)}
          />
          <button
            class="button small"
            type="button"
            aria-label=${this.keyShown ? "Hide the stream key" : "Show the stream key"}
            @click=${() => {
              this.keyShown = !this.keyShown;
            }}
          >${icon(this.keyShown ? EyeOff : Eye, 16)}</button>
        </span>
      </form>
      <p class="hint"><a href="/watch/${encodeURIComponent(this.stream)}" target="_blank" rel="noopener">Open the watch page ${icon(ExternalLink, 14)}</a></p>
    </section>`;
  }

  #sourcePanel(): TemplateResult {
    const { settings } = this;
    const unknown = this.devices.cameras.length === 0 && this.devices.microphones.length === 0;
    return html`<section class="panel">
      <h2>SOURCE</h2>
      <div class="fields">
        ${this.#select("camera", "Camera", this.#deviceInUse("video"), deviceOptions(this.devices.cameras, "Camera"), (value) => this.#change({ cameraId: value }, true))}
        ${this.#select("microphone", "Microphone", this.#deviceInUse("audio"), deviceOptions(this.devices.microphones, "Microphone"), (value) => this.#change({ microphoneId: value }, true))}
        <span class="field-name" aria-hidden="true">Level</span>${this.#levelMeter()}
        ${this.#select(
          "picture",
          "Picture",
          String(settings.height),
          HEIGHTS.map(({ value, label }) => [String(value), label]),
          (value) => this.#change({ height: Number(value) }, true),
        )}
        ${this.#select(
          "frame-rate",
          "Frame rate",
          String(settings.frameRate),
          FRAME_RATES.map((rate) => [String(rate), `${rate} fps`]),
          (value) => this.#change({ frameRate: Number(value) }, true),
        )}
        ${this.#select(
          "bitrate",
          "Bitrate",
          String(settings.bitrateBps),
          BITRATES_BPS.map((bps) => [String(bps), bitrate(bps)]),
          (value) => this.#change({ bitrateBps: Number(value) }, false),
        )}
      </div>
      ${unknown ? html`<p class="hint muted">Names of devices appear once the browser may use them.</p>` : nothing}
    </section>`;
  }

  #select(
    id: string,
    label: string,
    value: string,
    options: [string, string][],
    change: (value: string) => void,
  ): TemplateResult {
    return html`<label for=${id}>${label}</label>
      <select id=${id} @change=${(event: Event) => change((event.target as HTMLSelectElement).value)}>
        ${options.map(([key, text]) => html`<option value=${key} ?selected=${key === value}>${text}</option>`)}
      </select>`;
  }

  #levelMeter(): TemplateResult {
    const lit = Math.round(this.level * METER_BARS);
    const words = !this.#microphone
      ? "no microphone"
      : !this.microphoneOn
        ? "muted"
        : `${Math.round(this.level * 100)} %`;
    return html`<span class="meter" role="meter" aria-label="Microphone level" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(this.level * 100)} aria-valuetext=${words}>
      ${Array.from({ length: METER_BARS }, (_, index) => html`<i class=${index >= lit ? "" : index >= METER_BARS - 2 ? "loud" : "lit"}></i>`)}
      ${this.#microphone && this.microphoneOn ? nothing : html`<span class="muted">${words}</span>`}
    </span>`;
  }

  #obsPanel(): TemplateResult {
    return html`<section class="panel" id="obs">
      <h2>OR USE OBS</h2>
      <tl-copy-field label="Server" value=${rtmpServer(location.hostname, this.rtmpPort)}></tl-copy-field>
      ${
        this.key
          ? html`<tl-copy-field label="Stream key" secret value=${this.key}></tl-copy-field>`
          : html`<p class="hint muted">The stream key was shown when the stream was made. Paste it above to copy it from here.</p>`
      }
      <tl-copy-field label="WHIP server" value=${`${location.origin}/whip`}></tl-copy-field>
      <p class="hint muted">In OBS 30 or newer WHIP is the fastest way; the key is its bearer token. With RTMP set keyframe interval 2 s and B-frames 0.</p>
    </section>`;
  }

  // --- what happens ---

  get #microphone(): MediaStreamTrack | null {
    return this.media?.getAudioTracks()[0] ?? null;
  }

  /** The device that is open; the remembered one before. */
  #deviceInUse(kind: "video" | "audio"): string {
    const remembered = kind === "video" ? this.settings.cameraId : this.settings.microphoneId;
    const track = this.content === "camera" ? this.media?.getTracks().find((one) => one.kind === kind) : null;
    return track?.getSettings().deviceId ?? remembered;
  }

  #listen(): void {
    this.#events?.close();
    this.server = null;
    this.serverLost = false;
    this.loopback = null;
    if (this.stream === "") return;
    this.#events = new LiveEvents(`/live/${encodeURIComponent(this.stream)}/events`, {
      onState: (live) => {
        if (live.state === "off_air") this.loopback = null;
        this.server = live;
        this.serverLost = false;
      },
      onLost: () => {
        this.serverLost = true;
      },
    });
  }

  #renameStream(name: string): void {
    const trimmed = name.trim();
    if (trimmed === this.stream) return;
    this.stream = trimmed;
    this.#listen();
  }

  #setKey(key: string): void {
    this.key = key.trim();
    saveKey(this.key);
    if (this.publisherState === "failed") this.publisherMessage = null;
  }

  async #openIfAllowed(): Promise<void> {
    if (await cameraAlreadyAllowed()) await this.#openCamera();
    else await this.#refreshDevices();
  }

  async #openCamera(): Promise<void> {
    await this.#open("camera", () => openCamera(this.settings));
  }

  async #openScreen(): Promise<void> {
    await this.#open("screen", async () => {
      const screen = await openScreen(this.settings);
      // A screen without its own sound keeps the microphone.
      const microphone = this.#microphone;
      if (screen.getAudioTracks().length === 0 && microphone) screen.addTrack(microphone.clone());
      screen.getVideoTracks()[0]?.addEventListener("ended", () => void this.#openCamera());
      return screen;
    });
  }

  async #open(content: "camera" | "screen", get: () => Promise<MediaStream>): Promise<void> {
    this.opening = true;
    this.captureError = null;
    try {
      await this.#useMedia(await get(), content);
      await this.#refreshDevices();
    } catch (error) {
      this.captureError = captureSentence(error, captureContext(content));
    } finally {
      this.opening = false;
    }
  }

  async #useMedia(media: MediaStream, content: "camera" | "screen"): Promise<void> {
    const before = this.media;
    this.media = media;
    this.content = content;
    this.#meter?.close();
    const microphone = this.#microphone;
    this.#meter = microphone ? new LevelMeter(microphone) : null;
    if (microphone) microphone.enabled = this.microphoneOn;
    for (const track of content === "camera" ? media.getVideoTracks() : []) {
      track.addEventListener("ended", () => this.#onCameraEnded(media));
    }
    await this.#publisher?.replaceMedia(media, content);
    stopTracks(before);
  }

  /** Unplugged, or taken back in the browser's own controls. */
  #onCameraEnded(media: MediaStream): void {
    if (media !== this.media) return;
    this.captureError = "The camera stopped. Plug it in again or choose another one under Source.";
    void this.#refreshDevices();
  }

  async #refreshDevices(): Promise<void> {
    this.devices = await listDevices().catch(() => this.devices);
  }

  #change(part: Partial<StudioSettings>, reopen: boolean): void {
    this.settings = { ...this.settings, ...part };
    saveSettings(this.settings);
    void this.#publisher?.setMaxBitrate(this.settings.bitrateBps);
    if (reopen && this.media && this.content === "camera") void this.#openCamera();
  }

  readonly #toggleMicrophone = (): void => {
    this.microphoneOn = !this.microphoneOn;
    for (const track of this.media?.getAudioTracks() ?? []) track.enabled = this.microphoneOn;
  };

  async #goLive(): Promise<void> {
    this.#meter?.resume();
    this.publisherMessage = null;
    if (this.key === "") {
      this.publisherState = "failed";
      this.publisherMessage =
        "Paste the stream key first: it was shown when the stream was made, and it stands in the server's first banner.";
      this.querySelector<HTMLInputElement>("#stream-key")?.focus();
      return;
    }
    if (!this.media) await this.#openCamera();
    if (!this.media || this.#sending) return;
    this.#resetMeasurements();
    const publisher = new WhipPublisher(this.media, {
      url: `${location.origin}/whip`,
      key: this.key,
      maxBitrateBps: this.settings.bitrateBps,
      content: this.content,
      onState: (next, message) => {
        this.publisherState = next;
        this.publisherMessage = message;
        if (next === "failed") this.#publisher = null;
        if (next === "live") void this.#findStream();
      },
      onStreamName: (name) => this.#renameStream(name),
    });
    this.#publisher = publisher;
    publisher.start();
  }

  /** A server that did not say which stream the key belongs to is asked which one carries our session. */
  async #findStream(): Promise<void> {
    const session = this.#publisher?.sessionId;
    if (!session) return;
    const streams = await fetchStreams(AbortSignal.timeout(5000)).catch(() => []);
    const ours = streams.find((stream) => stream.session === session);
    if (ours) this.#renameStream(ours.name);
  }

  async #end(): Promise<void> {
    const publisher = this.#publisher;
    this.#publisher = null;
    await publisher?.stop();
    this.#resetMeasurements();
  }

  #resetMeasurements(): void {
    this.#charts = { bitrate: [], frames: [], third: [] };
    this.#sample = null;
    this.#rates = null;
    this.#silentSinceMs = null;
    this.#limitedSinceMs = null;
  }

  /** Once a second: what this page sends, or else what the server says of another encoder. */
  async #measure(): Promise<void> {
    const publisher = this.#publisher;
    if (publisher) {
      const now = await publisher.sample().catch(() => null);
      const before = this.#sample;
      this.#sample = now;
      const limited = now !== null && now.limitation !== "none";
      this.#limitedSinceMs = limited ? (this.#limitedSinceMs ?? performance.now()) : null;
      this.#rates = now && before ? ratesBetween(before, now) : null;
      if (this.#rates) this.#chart(this.#rates.bitrateBps, this.#rates.framesPerSecond, this.#rates.roundTripMs ?? 0);
    } else if (this.server?.state === "on_air") {
      const video = videoTrack(this.server.tracks);
      const total = this.server.tracks.reduce((sum, track) => sum + track.bitrate_bps, 0);
      this.#chart(total, video?.frame_rate ?? 0, video?.keyframe_interval_s ?? 0);
    }
    this.requestUpdate();
  }

  #chart(bps: number, framesPerSecond: number, third: number): void {
    const add = (values: number[], value: number): number[] => [...values, value].slice(-SPARKLINE_SAMPLES);
    this.#charts = {
      bitrate: add(this.#charts.bitrate, bps),
      frames: add(this.#charts.frames, framesPerSecond),
      third: add(this.#charts.third, third),
    };
  }

  #readMeter(): void {
    const level = this.microphoneOn ? (this.#meter?.read() ?? 0) : 0;
    // Falls slowly, so that speech can be read from it.
    const next = Math.max(level, this.level - 0.08);
    if (Math.abs(next - this.level) > 0.01) this.level = next;
    const silent = this.#meter?.running === true && this.microphoneOn && level < SILENT_BELOW;
    this.#silentSinceMs = silent ? (this.#silentSinceMs ?? performance.now()) : null;
  }
}

/** Choices of a device picker; "Default" only while the browser does not name the devices. */
function deviceOptions(devices: readonly MediaDeviceInfo[], kind: string): [string, string][] {
  if (devices.length === 0) return [["", "Default"]];
  return devices.map((device, index) => [device.deviceId, device.label || `${kind} ${index + 1}`]);
}
