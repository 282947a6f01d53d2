import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { Camera, Mic, MicOff, MonitorUp, Radio, Square } from "lucide";
import { fetchServerConfig } from "../api/server_config";
import { endPublisher, type OwnStream, rotateKey } from "../api/streams";
import { Announcement } from "../components/announcement";
import "../components/broadcast_list";
import { element } from "../components/element";
import { askForm } from "../components/form_dialog";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { viewerCount, watching } from "../format";
import type { Facts } from "../player/facts";
import { type Advice, adviceState, adviceWords, advise } from "../publisher/advice";
import type { PublisherState } from "../publisher/whip";
import { CaptureController } from "../studio/capture_controller";
import { charts } from "../studio/charts";
import { healthPanel, historyPanel } from "../studio/health_panel";
import { liveLine } from "../studio/live_line";
import { obsPanel } from "../studio/obs_panel";
import { preview } from "../studio/preview";
import { SendingController } from "../studio/sending_controller";
import { sourcePanel } from "../studio/source_panel";
import { StreamController } from "../studio/stream_controller";
import { askChanges, askNewStream } from "../studio/stream_form";
import { streamPanel } from "../studio/stream_panel";
import { type Tally, tallyOf } from "./studio_tally";

/** Going live from the browser, and what an encoder such as OBS needs to do it instead. */
@element("tl-studio-page")
export class StudioPage extends LightElement {
  @state() private loopback: Facts | null = null;
  @state() private keyShown = false;
  @state() private rtmpPort = 1935;

  readonly #announcement = new Announcement();
  readonly #sending = new SendingController(this, {
    // What was known before the server was lost is no new measurement.
    server: () => (this.#stream.serverLost ? null : this.#stream.server),
    onStreamName: (name) => this.#stream.nameOfKey(name),
    onState: (state) => this.#onSending(state),
  });
  readonly #capture = new CaptureController(this, (media, content) => this.#sending.replaceMedia(media, content));
  readonly #stream: StreamController = new StreamController(this, {
    onServer: (live) => {
      if (live.state === "off_air") this.loopback = null;
      this.#sending.onServer(live);
    },
    onChosen: () => {
      this.loopback = null;
      this.keyShown = false;
      this.#sending.clearTrouble();
      if (!this.#sending.active) this.#sending.resetMeasurements();
    },
  });

  override connectedCallback(): void {
    super.connectedCallback();
    void fetchServerConfig().then((config) => {
      this.rtmpPort = config.rtmp.port;
    });
  }

  override render(): TemplateResult {
    const tally = this.#tally();
    const lamp = html`<tally-lamp pill id="tally" data-tally=${tally.state} state=${tally.state}>${tally.word}</tally-lamp>`;
    const own = this.#stream.own;
    return html`${siteHeader("studio", lamp)}
      <main id="main" data-publisher=${this.#sending.state}>
        <h1 class="sr">Studio</h1>
        <div class="studio">
          <div class="studio-main">${this.#preview()}${this.#actions()}${this.#message()}${this.#charts()}</div>
          <aside class="studio-side ${this.#onAir ? "on-air" : ""}" aria-label="Stream, health and settings">
            ${this.#streamPanel()}${this.#health()}
            ${historyPanel(own?.last_publisher ?? null, own?.refusals ?? [], Date.now())}
            ${sourcePanel(this.#capture, (bps) => this.#sending.setMaxBitrate(bps))}
          </aside>
          ${obsPanel(this.#stream.key, this.rtmpPort)} ${own ? broadcastsOf(own.name) : nothing}
        </div>
      </main>`;
  }

  #tally(): Tally {
    return tallyOf({
      server: this.#stream.server,
      serverLost: this.#stream.serverLost,
      watchRefused: this.#stream.watchRefused,
      publisher: this.#sending.state,
      loopback: this.loopback?.state ?? null,
      latencyMs: this.loopback?.latencyMs ?? null,
    });
  }

  /** On air by an encoder or another page, not by this one. */
  get #elsewhere(): boolean {
    const { server } = this.#stream;
    return !this.#sending.active && server !== null && server.state !== "off_air";
  }

  get #onAir(): boolean {
    return this.#sending.active || this.#elsewhere;
  }

  #preview(): TemplateResult {
    return preview({
      capture: this.#capture,
      stream: this.#stream.name,
      token: this.#stream.token,
      server: this.#stream.server,
      elsewhere: this.#elsewhere,
      onLoopback: (facts) => {
        this.loopback = facts;
      },
    });
  }

  #actions(): TemplateResult {
    const capture = this.#capture;
    const { server, own, broadcast } = this.#stream;
    return html`<div class="actions">
      ${this.#mainButton()}
      ${this.#elsewhere && own ? html`<button class="button" id="end-other" @click=${() => void this.#endOther(own)}>${icon(Square, 18)} End broadcast</button>` : nothing}
      <button class="button" ?disabled=${!capture.microphone} aria-pressed=${!capture.microphoneOn} @click=${() => capture.toggleMicrophone()}>
        ${icon(capture.microphoneOn ? Mic : MicOff, 18)} ${capture.microphoneOn ? "Mute" : "Unmute"}
      </button>
      ${this.#screenButton()}
      <span class="live-line muted" id="live-line">${liveLine(server, own?.viewers ?? null, broadcast, Date.now())}</span>
    </div>`;
  }

  #mainButton(): TemplateResult {
    const { changing } = this.#sending;
    if (this.#sending.active) {
      return html`<button class="button live big" id="end-broadcast" ?disabled=${changing} @click=${() => void this.#sending.stop()}>${icon(Square, 18)} End broadcast</button>`;
    }
    const disabled = changing || this.#capture.opening || !this.#capture.secure;
    return html`<button class="button live big" id="go-live" ?disabled=${disabled} @click=${() => void this.#goLive()}>
      ${icon(Radio, 18)} ${this.#elsewhere ? "Take over" : "Go live"}
    </button>`;
  }

  #screenButton(): TemplateResult | typeof nothing {
    const capture = this.#capture;
    if (capture.content === "screen") {
      return html`<button class="button" @click=${() => void capture.openCamera()}>${icon(Camera, 18)} Back to camera</button>`;
    }
    // Phones have no getDisplayMedia.
    if (!navigator.mediaDevices || !("getDisplayMedia" in navigator.mediaDevices)) return nothing;
    return html`<button class="button" @click=${() => void capture.openScreen()}>${icon(MonitorUp, 18)} Share screen</button>`;
  }

  /** Why it is not simply live: the server's own sentence, and what to press. */
  #message(): TemplateResult | typeof nothing {
    const { trouble, state } = this.#sending;
    const captureError = this.#capture.media ? this.#capture.error : null;
    if (!trouble && !captureError) return nothing;
    const failed = state === "failed";
    return html`<div class="notice" role=${failed ? "alert" : "status"} id="publisher-message" data-code=${trouble?.code ?? ""}>
      <tally-lamp state=${failed ? "fail" : "warn"}></tally-lamp>
      <div>
        <p>${trouble?.message ?? captureError}</p>
        ${trouble?.code === "publisher_busy" && failed ? html`<p class="hint"><button class="button small" id="take-over" @click=${() => void this.#takeOver()}>Take over</button></p>` : nothing}
        ${this.#hasNewerKey ? html`<p class="hint muted">This page has the new key: press Go live to continue with it.</p>` : nothing}
      </div>
    </div>`;
  }

  get #hasNewerKey(): boolean {
    const rotated = this.#sending.trouble?.code === "key_rotated";
    return rotated && this.#stream.key !== "" && this.#stream.key !== this.#sending.key;
  }

  #charts(): TemplateResult | typeof nothing {
    const { content, settings } = this.#capture;
    const framesPerSecond = content === "screen" ? null : settings.frameRate;
    const wanted = { bitrateBps: settings.bitrateBps, framesPerSecond };
    return charts(this.#sending.series, this.#sending.active ? wanted : null);
  }

  #health(): TemplateResult {
    const advice = this.#advice();
    return healthPanel(advice, this.#announcement.words(adviceState(advice), adviceWords(advice)));
  }

  #advice(): Advice[] {
    const { server, serverLost, watchRefused } = this.#stream;
    if (serverLost) return [SERVER_AWAY];
    const sending = this.#sending;
    const advice = advise({
      server,
      sample: sending.active ? sending.sample : null,
      rates: sending.active ? sending.rates : null,
      content: this.#capture.content,
      wantedFrameRate: this.#capture.settings.frameRate,
      silentS: this.#capture.silentS,
      limitedS: sending.limitedS,
      viewersSee: this.loopback?.state === "playing",
    });
    return watchRefused && !server ? [...advice, NOT_YOURS_TO_WATCH] : advice;
  }

  #streamPanel(): TemplateResult {
    return streamPanel({
      stream: this.#stream,
      sending: this.#sending.active,
      keyShown: this.keyShown,
      onKey: (key) => {
        this.#stream.useKey(key);
        this.#sending.clearTrouble();
      },
      onToggleKey: () => {
        this.keyShown = !this.keyShown;
      },
      onCreate: () => void this.#create(),
      onEdit: (own) => void this.#edit(own),
      onRotate: (own) => void this.#rotate(own),
    });
  }

  // --- what happens ---

  async #goLive(): Promise<void> {
    this.#capture.resumeMeter();
    if (this.#stream.key === "") {
      this.#sending.refuse(KEY_MISSING);
      this.querySelector<HTMLInputElement>("#stream-key")?.focus();
      return;
    }
    if (this.#elsewhere) await this.#takeOver();
    else await this.#send(false);
  }

  async #takeOver(): Promise<void> {
    await askForm({
      title: "Take over this broadcast?",
      text: `Another device is sending to ${this.#stream.name}. It is cut and told why; viewers see your picture instead, at the same address.`,
      submit: "Take over",
      danger: true,
      action: () => this.#send(true),
    });
  }

  async #send(takeOver: boolean): Promise<void> {
    const capture = this.#capture;
    if (!capture.media) await capture.openCamera();
    if (!capture.media || this.#sending.active) return;
    capture.resetSilence();
    this.#sending.start({
      media: capture.media,
      content: capture.content,
      key: this.#stream.key,
      maxBitrateBps: capture.settings.bitrateBps,
      takeOver,
    });
  }

  #onSending(next: PublisherState): void {
    // The refusal that ended it stands in the stream's list now.
    if (next === "failed") void this.#stream.refresh().catch(() => undefined);
  }

  async #endOther(own: OwnStream): Promise<void> {
    await askForm({
      title: "End this broadcast?",
      text: `${watching(viewerCount(own.viewers))}. Stop the encoder as well, because OBS connects again by itself; to keep it out, rotate the key.`,
      submit: "End broadcast",
      danger: true,
      action: () => endPublisher(own.name),
    });
  }

  async #create(): Promise<void> {
    const made = await askNewStream();
    if (made) await this.#stream.adopt(made.name, made.key);
  }

  async #edit(own: OwnStream): Promise<void> {
    if (await askChanges(own)) await this.#stream.refresh();
  }

  async #rotate(own: OwnStream): Promise<void> {
    await askForm({
      title: `Rotate the key of ${own.name}?`,
      text: `The old key stops working at once${this.#onAir ? ", and the broadcast that is on air is cut" : ""}. Encoders such as OBS need the new one.`,
      submit: "Rotate key",
      danger: true,
      action: async () => {
        const { key } = await rotateKey(own.name);
        await this.#stream.adopt(own.name, key);
      },
    });
  }
}

const SERVER_AWAY: Advice = {
  code: "server_away",
  level: "fail",
  title: "The server does not answer.",
  text: "This page keeps trying. If other sites work, the operator of the server can help.",
};

const NOT_YOURS_TO_WATCH: Advice = {
  code: "not_yours_to_watch",
  level: "warn",
  title: "This stream is private.",
  text: "You can send to it with its key. To see here what viewers see, sign in with an account that may watch it.",
};

const KEY_MISSING = {
  code: "key_missing",
  message:
    "Paste the stream key first: it was shown when the stream was made, and the first one stands in the server's first banner.",
};

/** What was on air before, for its owner: when, how long, and who watched. */
function broadcastsOf(stream: string): TemplateResult {
  return html`<section class="panel" id="broadcasts">
    <h2>BROADCASTS</h2>
    <tl-broadcast-list stream=${stream} page="5"></tl-broadcast-list>
  </section>`;
}
