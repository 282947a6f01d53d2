import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import {
  Activity,
  Maximize,
  Minimize,
  Pause,
  PictureInPicture2,
  Play,
  RectangleHorizontal,
  Volume2,
  VolumeX,
} from "lucide";
import { Announcement } from "../components/announcement";
import { element } from "../components/element";
import { icon } from "../components/icon";
import "../components/lamp";
import type { LampState } from "../components/lamp";
import { screenReaderOnly, videoTokens } from "../components/tokens";
import { audioTrack, behind } from "../format";
import { iceChoice } from "../ice";
import { debugInfo, type Facts } from "./facts";
import { loadVolume, saveVolume } from "./preferences";
import type { Phase, TransportChoice, View } from "./recovery";
import { card, fallbackSentence } from "./sentences";
import { PlayerSession } from "./session";
import { type Action, actionOf, isButton, takesKeys } from "./shortcuts";
import { statsOverlay } from "./stats_overlay";
import { playerStyles } from "./styles";

/** Controls hide after this long without a movement, as on other players. */
const CONTROLS_IDLE_MS = 3000;
/** Phases with a picture, still or moving, that can be controlled. */
const CONTROLLED: readonly Phase[] = ["playing", "paused", "stalled", "reconnecting"];
const SEEK_STEP_S = 5;
const VOLUME_STEP = 0.1;

/** Server the player talks to unless `base` says otherwise: where its script came from. */
const SCRIPT_ORIGIN = scriptOrigin();

function scriptOrigin(): string {
  const script = document.currentScript;
  const source = script instanceof HTMLScriptElement ? script.src : "";
  return source === "" ? location.origin : new URL(source).origin;
}

/**
 * A live stream: `<tallylight-player stream="main">`.
 *
 * Attributes: `stream`; `base`, the server's origin; `transport`, "auto" (WebRTC first), "webrtc" or "hls"; `token`, the
 * playback token of a private stream (a new one does not interrupt the picture); `muted`; `compact`, a picture without
 * controls; `ice`, "relay" to go through TURN only. Reflects `data-state` and `data-transport`, and sends `tallylight-state`
 * (bubbling, detail: the facts) when either changes, `tallylight-facts` about four times a second and
 * `tallylight-theatre` when the viewer asks for the wide layout.
 */
@element("tallylight-player")
export class TallylightPlayer extends LitElement {
  @property() stream = "";
  @property() base = "";
  @property() transport: TransportChoice = "auto";
  @property() token = "";
  @property() ice = iceChoice(location.search);
  @property({ type: Boolean }) muted = false;
  @property({ type: Boolean, reflect: true }) compact = false;
  @property({ type: Boolean, reflect: true }) theatre = false;

  @state() private stats = false;
  @state() private copied = false;
  @state() private quiet = false;
  @state() private tapToPlay = false;
  @state() private soundAsked = false;
  @state() private fullscreen = false;

  static override styles = [videoTokens, screenReaderOnly, playerStyles];

  readonly #stage = document.createElement("div");
  #session: PlayerSession | null = null;
  #volume = loadVolume();
  #silent = true;
  #quietTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #announcement = new Announcement();

  readonly #onKey = (event: KeyboardEvent): void => this.#handleKey(event);
  readonly #onFullscreen = (): void => {
    this.fullscreen = this.shadowRoot?.fullscreenElement != null || document.fullscreenElement === this;
  };
  readonly #onLeave = (event: PageTransitionEvent): void => {
    // A page kept for "back" keeps its player; its timers stop and the watchdog takes over on return.
    if (!event.persisted) this.#close();
  };

  constructor() {
    super();
    this.#stage.className = "stage";
  }

  /** What the player measured; plain data. Null before it has a stream. */
  get facts(): Facts | null {
    return this.#session?.facts ?? null;
  }

  /** The video on the screen; null before the first. */
  get video(): HTMLVideoElement | null {
    return this.#session?.video ?? null;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("keydown", this.#onKey);
    document.addEventListener("fullscreenchange", this.#onFullscreen);
    window.addEventListener("pagehide", this.#onLeave);
    if (this.hasUpdated) this.#open();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.#onKey);
    document.removeEventListener("fullscreenchange", this.#onFullscreen);
    window.removeEventListener("pagehide", this.#onLeave);
    clearTimeout(this.#quietTimer);
    this.#close();
  }

  override updated(changed: PropertyValues<this>): void {
    const other = ["stream", "base", "transport", "ice"] as const;
    if (other.some((name) => changed.has(name))) this.#open();
    else if (changed.has("token")) this.#session?.setToken(this.token);
  }

  #open(): void {
    this.#close();
    if (this.stream === "" || !this.isConnected) return;
    this.#session = new PlayerSession({
      stream: this.stream,
      base: (this.base || SCRIPT_ORIGIN).replace(/\/+$/, ""),
      choice: this.transport,
      token: this.token,
      ice: this.ice,
      muted: true,
      volume: this.#volume,
      stage: this.#stage,
      onChange: () => this.#onChange(),
      onVideo: (video) => this.#onVideo(video),
    });
    this.#onChange();
  }

  #close(): void {
    this.#session?.close();
    this.#session = null;
    this.#stage.replaceChildren();
  }

  #onChange(): void {
    const session = this.#session;
    if (!session) return;
    const { phase, transport } = session.view;
    const changed = this.dataset.state !== phase || (this.dataset.transport ?? "") !== (transport ?? "");
    this.dataset.state = phase;
    if (transport) this.dataset.transport = transport;
    else delete this.dataset.transport;
    const detail = session.facts;
    if (changed) this.dispatchEvent(new CustomEvent("tallylight-state", { detail, bubbles: true, composed: true }));
    this.dispatchEvent(new CustomEvent("tallylight-facts", { detail, bubbles: true, composed: true }));
    this.requestUpdate();
  }

  #onVideo(video: HTMLVideoElement): void {
    const shown = (): boolean => video === this.#session?.video && video.isConnected;
    video.addEventListener("pause", () => shown() && !video.ended && this.#session?.setPaused(true));
    video.addEventListener("play", () => shown() && this.#session?.setPaused(false));
    video.addEventListener("loadedmetadata", () => void this.#play(video));
  }

  /** Starts playing; a browser that refuses even silent pictures (low power mode) gets a button. */
  async #play(video: HTMLVideoElement): Promise<void> {
    try {
      await video.play();
      this.tapToPlay = false;
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") this.tapToPlay = true;
    }
  }

  override render(): TemplateResult {
    const view = this.#session?.view ?? null;
    const quiet = this.quiet && view?.phase === "playing" && !this.stats;
    return html`<div
      class="player ${quiet ? "quiet" : ""}"
      part="player"
      tabindex="0"
      role="region"
      aria-label="Live picture of ${this.stream}"
      @pointermove=${this.#stir}
      @pointerdown=${this.#stir}
      @focusin=${this.#stir}
      @contextmenu=${this.#onContextMenu}
    >
      ${this.#stage}
      ${view ? this.#body(view) : nothing}
    </div>`;
  }

  #body(view: View): TemplateResult {
    const facts = this.stats ? this.facts : null;
    return html`
      <div class="top">${this.#badges(view)}</div>
      <div class="middle">${this.#middle(view)}</div>
      ${CONTROLLED.includes(view.phase) ? html`<div class="bottom">${this.#seekBar()}${this.#controls(view)}</div>` : nothing}
      ${
        facts
          ? statsOverlay(
              facts,
              this.copied,
              () => void this.#copyDebugInfo(),
              () => {
                this.stats = false;
              },
            )
          : nothing
      }
      <div class="sr" aria-live="polite">${this.#announced(view)}</div>
    `;
  }

  #badges(view: View): TemplateResult {
    const { lamp, word } = lampOf(view, this.#session?.hls?.atEdge ?? true);
    const facts = this.facts;
    const latency = view.phase === "playing" ? facts?.latencyMs : null;
    return html`<tally-lamp pill .state=${lamp}>${word}</tally-lamp>
      ${latency != null ? html`<span class="badge" title=${facts?.latencyMethod ?? ""}>${behind(latency)}</span>` : nothing}`;
  }

  #middle(view: View): TemplateResult | typeof nothing {
    const message = card(view);
    if (message) {
      const busy = message.tone !== "fail" && !["waiting", "ended"].includes(view.phase);
      return html`<div class="card ${message.tone}">
        <h2>${busy ? html`<span class="spinner"></span>` : nothing}${message.title}</h2>
        <p>${message.text}</p>
      </div>`;
    }
    if (this.tapToPlay || view.phase === "paused") {
      return html`<button class="tap" id="tap-to-play" @click=${this.#resume}>${icon(Play, 24)} Play</button>`;
    }
    if (this.#offersSound(view)) {
      return html`<button class="tap" id="tap-for-sound" @click=${this.#unmute}>${icon(VolumeX, 24)} Tap for sound</button>`;
    }
    return nothing;
  }

  #offersSound(view: View): boolean {
    if (this.muted || this.soundAsked || this.stats || view.phase !== "playing" || !this.#silent) return false;
    const tracks = this.#session?.server?.tracks ?? [];
    return tracks.length === 0 || audioTrack(tracks) !== null;
  }

  #seekBar(): TemplateResult | typeof nothing {
    const hls = this.#session?.hls;
    const window = hls?.window;
    if (!hls || !window || window.end - window.start < 2) return nothing;
    const position = Math.min(hls.video.currentTime, window.end);
    const part = (100 * (position - window.start)) / (window.end - window.start);
    return html`<input
      class="seek"
      type="range"
      aria-label="Position"
      aria-valuetext=${`${Math.round(window.end - position)} seconds behind live`}
      min=${window.start}
      max=${window.end}
      step="0.1"
      .value=${String(position)}
      style="--part: ${part.toFixed(1)}%"
      @change=${(event: Event) => hls.seek(Number((event.target as HTMLInputElement).value))}
    />`;
  }

  #controls(view: View): TemplateResult {
    const paused = view.phase === "paused";
    const edge = (this.#session?.hls?.atEdge ?? true) && !paused;
    const live = view.phase === "playing" && edge;
    return html`<div class="row">
      ${this.#button(paused ? "Play (Space)" : "Pause (Space)", paused ? icon(Play) : icon(Pause), () => this.#perform("toggle_play"))}
      ${this.#button(this.#silent ? "Sound on (M)" : "Mute (M)", this.#silent ? icon(VolumeX) : icon(Volume2), () => this.#perform("toggle_mute"))}
      <input
        class="volume"
        type="range"
        aria-label="Volume"
        min="0"
        max="1"
        step="0.05"
        .value=${String(this.#silent ? 0 : this.#volume)}
        style="--part: ${this.#silent ? 0 : Math.round(this.#volume * 100)}%"
        @input=${(event: Event) => this.#setVolume(Number((event.target as HTMLInputElement).value))}
      />
      <button class="live ${live ? "edge" : ""}" ?disabled=${edge} title=${edge ? "You see the newest picture" : "Go to the newest picture"} @click=${this.#goLive}>LIVE</button>
      <span class="gap"></span>
      <span class="quality">${this.#quality(view)}</span>
      ${this.#button("Statistics (Shift+D)", icon(Activity), () => this.#perform("toggle_stats"), "wide")}
      ${"requestPictureInPicture" in HTMLVideoElement.prototype ? this.#button("Picture in picture (I)", icon(PictureInPicture2), () => this.#perform("toggle_picture_in_picture"), "wide") : nothing}
      ${this.#button("Theatre (T)", icon(RectangleHorizontal), () => this.#perform("toggle_theatre"), "wide")}
      ${this.#button("Full screen (F)", this.fullscreen ? icon(Minimize) : icon(Maximize), () => this.#perform("toggle_fullscreen"))}
    </div>`;
  }

  #button(label: string, content: TemplateResult, action: () => void, extra = ""): TemplateResult {
    return html`<button class=${extra} title=${label} aria-label=${label} @click=${action}>${content}</button>`;
  }

  #quality(view: View): string {
    const height = this.video?.videoHeight ?? 0;
    if (!view.transport || height <= 2) return "";
    return `${view.transport === "webrtc" ? "WebRTC" : "LL-HLS"} · ${height}p`;
  }

  /** Said to screen readers: the state's words once per change, not its running seconds. */
  #announced(view: View): string {
    const fallback = fallbackSentence(view.fallback) ?? "";
    const words = view.phase === "playing" ? `Playing. ${fallback}` : (card(view)?.text ?? "");
    return this.#announcement.words(`${view.phase}/${view.code}/${fallback}`, words);
  }

  #perform(action: Action): void {
    const video = this.video;
    switch (action) {
      case "toggle_play":
        if (video?.paused) this.#resume();
        else video?.pause();
        break;
      case "toggle_mute":
        this.#setSilent(!this.#silent);
        break;
      case "toggle_fullscreen":
        void this.#toggleFullscreen();
        break;
      case "toggle_theatre":
        this.theatre = !this.theatre;
        this.dispatchEvent(
          new CustomEvent("tallylight-theatre", { detail: this.theatre, bubbles: true, composed: true }),
        );
        break;
      case "toggle_picture_in_picture":
        void this.#togglePictureInPicture();
        break;
      case "toggle_stats":
        this.stats = !this.stats;
        break;
      case "seek_back":
      case "seek_forward":
        this.#seekBy(action === "seek_back" ? -SEEK_STEP_S : SEEK_STEP_S);
        break;
      case "volume_up":
      case "volume_down":
        this.#setVolume(this.#volume + (action === "volume_up" ? VOLUME_STEP : -VOLUME_STEP));
        break;
    }
    this.#stir();
  }

  #handleKey(event: KeyboardEvent): void {
    const path = event.composedPath();
    const inside = path.includes(this);
    const alone = document.querySelectorAll("tallylight-player:not([compact])").length === 1;
    if (this.compact || !(inside || alone) || takesKeys(path)) return;
    const action = actionOf(event);
    if (!action || (event.key === " " && isButton(path))) return;
    // Arrows and Space scroll the page, unless the player has the focus.
    if (!inside && event.key.startsWith("Arrow")) return;
    event.preventDefault();
    this.#perform(action);
  }

  readonly #resume = (): void => {
    const session = this.#session;
    const video = session?.video;
    if (!session || !video) return;
    void this.#play(video);
  };

  readonly #unmute = (): void => this.#setSilent(false);

  readonly #goLive = (): void => {
    this.#session?.hls?.seekToEdge();
    this.#resume();
  };

  #seekBy(seconds: number): void {
    const hls = this.#session?.hls;
    if (hls) hls.seek(hls.video.currentTime + seconds);
  }

  /** Only ever called from a gesture: Chromium pauses a video that a script unmutes without one. */
  #setSilent(silent: boolean): void {
    this.#silent = silent;
    this.soundAsked = true;
    if (!silent && this.#volume === 0) this.#volume = 1;
    this.#applySound();
  }

  #setVolume(volume: number): void {
    this.#volume = Math.min(1, Math.max(0, volume));
    this.#silent = this.#volume === 0;
    this.soundAsked = true;
    saveVolume(this.#volume);
    this.#applySound();
  }

  #applySound(): void {
    for (const video of this.#stage.querySelectorAll("video")) {
      video.volume = this.#volume;
      video.muted = this.#silent;
    }
    this.requestUpdate();
  }

  async #toggleFullscreen(): Promise<void> {
    const container = this.shadowRoot?.querySelector<HTMLElement>(".player");
    const video = this.video as (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null;
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (container?.requestFullscreen) await container.requestFullscreen();
      else video?.webkitEnterFullscreen?.(); // iPhone: only the video itself can fill the screen
    } catch {
      // Refused by the embedding page's policy: the picture simply stays where it is.
    }
  }

  async #togglePictureInPicture(): Promise<void> {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.video?.requestPictureInPicture();
    } catch {
      // Refused by policy, or there is no picture yet.
    }
  }

  async #copyDebugInfo(): Promise<void> {
    const facts = this.facts;
    if (!facts) return;
    try {
      await navigator.clipboard.writeText(debugInfo(facts));
      this.copied = true;
      setTimeout(() => {
        this.copied = false;
      }, 2000);
    } catch {
      this.copied = false; // clipboard denied: the numbers can still be selected
    }
  }

  readonly #stir = (): void => {
    this.quiet = false;
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => {
      this.quiet = true;
    }, CONTROLS_IDLE_MS);
  };

  readonly #onContextMenu = (event: MouseEvent): void => {
    if (this.compact || event.shiftKey) return;
    event.preventDefault();
    this.stats = !this.stats;
  };
}

/** The player's tally: red only while frames are decoded. */
export function lampOf(view: View, atEdge: boolean): { lamp: LampState; word: string } {
  switch (view.phase) {
    case "playing":
      return atEdge ? { lamp: "on_air", word: "LIVE" } : { lamp: "off_air", word: "Rewound" };
    case "paused":
      return { lamp: "off_air", word: "Paused" };
    case "stalled":
      return { lamp: "degraded", word: "Picture stopped" };
    case "reconnecting":
      return { lamp: "degraded", word: "Reconnecting" };
    case "denied":
      return { lamp: "off_air", word: "Private" };
    case "unplayable":
      return { lamp: "fail", word: "Not playable here" };
    case "starting":
      return { lamp: "unknown", word: "Starting" };
    case "ended":
      return { lamp: "off_air", word: "Ended" };
    case "waiting":
      return { lamp: "off_air", word: "Off air" };
    case "connecting":
      return { lamp: "unknown", word: "Connecting" };
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "tallylight-player": TallylightPlayer;
  }
}
