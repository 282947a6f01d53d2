import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Camera, MonitorUp, Radio } from "lucide";
import { LiveList } from "../api/live_list";
import type { StreamStatus } from "../api/types";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { visibilityMark } from "../components/visibility";
import { age, duration, pictureLine, secondsSince, viewerCount, watching } from "../format";
import { listTally, onAirSentence } from "./index_tally";

/** Who is on air now. */
@element("tl-index-page")
export class IndexPage extends LightElement {
  @state() private streams: StreamStatus[] | null = null;
  @state() private failedSinceMs: number | null = null;
  #list: LiveList | null = null;
  #clock: ReturnType<typeof setInterval> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#list = new LiveList({
      onStreams: (streams) => {
        this.streams = streams;
        this.failedSinceMs = null;
      },
      onAway: () => {
        this.failedSinceMs ??= Date.now();
      },
    });
    this.#clock = setInterval(() => this.requestUpdate(), 1000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#list?.close();
    clearInterval(this.#clock);
  }

  override render(): TemplateResult {
    return html`${siteHeader("index")}
      <main id="main">${this.#notice()}${this.#content()}</main>`;
  }

  #notice(): TemplateResult | typeof nothing {
    if (this.failedSinceMs === null) return nothing;
    const since = age((Date.now() - this.failedSinceMs) / 1000);
    const text = this.streams
      ? `What you see below is from before; this page keeps asking.`
      : `This page keeps asking. If it stays so, the operator of this server can help.`;
    return html`<div class="notice">
      <tally-lamp state="warn"></tally-lamp>
      <p><strong>The server has not answered for ${since}.</strong> <span class="muted">${text}</span></p>
    </div>`;
  }

  #content(): TemplateResult {
    const streams = this.streams;
    if (!streams)
      return html`<p class="muted" role="status">${this.failedSinceMs === null ? "Asking who is on air." : ""}</p>`;
    const onAir = streams.filter((stream) => stream.status === "ON_AIR");
    const offAir = streams.filter((stream) => stream.status !== "ON_AIR");
    return html`<p class="sr" aria-live="polite">${onAirSentence(onAir.length)}</p>
      ${onAir.length > 0 ? this.#onAir(onAir) : this.#empty()}${this.#offAir(offAir)}`;
  }

  #onAir(streams: StreamStatus[]): TemplateResult {
    const card = (stream: StreamStatus): TemplateResult => html`<li>${this.#card(stream)}</li>`;
    return html`<div class="index-head"><h1>On air now</h1></div>
      <ul class="cards">
        ${repeat(streams, (stream) => stream.name, card)}
      </ul>`;
  }

  #card(stream: StreamStatus): TemplateResult {
    const uptime = secondsSince(stream.started_at, Date.now()) ?? stream.uptime_s ?? 0;
    const count = viewerCount(stream.viewers);
    const tally = listTally(stream);
    return html`<a class="panel stream-card" href="/watch/${encodeURIComponent(stream.name)}">
      <div class="poster">
        ${icon(Radio, 40)}${this.#poster(stream)}
        <tally-lamp pill state=${tally.state}>${tally.word}</tally-lamp>
        <span class="pill uptime">${duration(uptime)}</span>
      </div>
      <div class="text">
        <h2>${stream.title || stream.name}</h2>
        <p class="muted">
          ${visibilityMark(stream.visibility)}
          <span>${watching(count)}</span> <span>${pictureLine(stream.tracks ?? [])}</span>
        </p>
      </div>
    </a>`;
  }

  /** Decoration beside the title. The server names a new path for each picture; the old one stays until it is here. */
  #poster(stream: StreamStatus): TemplateResult | typeof nothing {
    if (!stream.poster) return nothing;
    const shown = (event: Event, visible: boolean): void => {
      (event.target as HTMLElement).hidden = !visible;
    };
    return html`<img
      alt=""
      width="640"
      height="360"
      loading="lazy"
      decoding="async"
      src=${stream.poster}
      @load=${(event: Event) => shown(event, true)}
      @error=${(event: Event) => shown(event, false)}
    />`;
  }

  #empty(): TemplateResult {
    return html`<section class="panel empty">
      <tally-lamp pill state="off_air">Off air</tally-lamp>
      <h1>Nothing on air yet</h1>
      <p class="muted">As soon as somebody goes live, the broadcast appears here by itself. To be that somebody:</p>
      <ol>
        <li>${icon(Camera)}<span><strong>From this browser:</strong> open the studio, allow the camera and press Go live.</span></li>
        <li>${icon(MonitorUp)}<span><strong>From OBS or another encoder:</strong> copy server and stream key from the studio.</span></li>
      </ol>
      <a class="button live" href="/studio">Open the studio</a>
    </section>`;
  }

  #offAir(streams: StreamStatus[]): TemplateResult | typeof nothing {
    if (streams.length === 0) return nothing;
    const item = (stream: StreamStatus): TemplateResult =>
      html`<li>
        <a class="pill" href="/watch/${encodeURIComponent(stream.name)}">
          <tally-lamp state="off_air"></tally-lamp><span class="name">${stream.title || stream.name}</span>${visibilityMark(stream.visibility)}
        </a>
      </li>`;
    return html`<section class="off-air">
      <h2>Off air</h2>
      <ul>
        ${repeat(streams, (stream) => stream.name, item)}
      </ul>
    </section>`;
  }
}
