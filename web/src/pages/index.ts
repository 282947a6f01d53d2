import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { Camera, MonitorUp, Radio } from "lucide";
import { Poller } from "../api/poller";
import { fetchStreams } from "../api/stream_list";
import type { StreamStatus } from "../api/types";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { age, duration, pictureLine, secondsSince, viewerCount, watching } from "../format";

/** New broadcasts appear within this long; the answer is small and cached by nobody. */
const POLL_MS = 3000;

/** Who is on air now. */
@element("tl-index-page")
export class IndexPage extends LightElement {
  @state() private streams: StreamStatus[] | null = null;
  @state() private failedSinceMs: number | null = null;
  #poller: Poller<StreamStatus[]> | null = null;
  #clock: ReturnType<typeof setInterval> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#poller = new Poller({
      fetch: fetchStreams,
      everyMs: POLL_MS,
      onValue: (streams) => {
        this.streams = streams;
        this.failedSinceMs = null;
      },
      onError: () => {
        this.failedSinceMs ??= Date.now();
      },
    });
    this.#clock = setInterval(() => this.requestUpdate(), 1000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#poller?.close();
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
    return html`<div class="notice" role="status">
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
    return html`${onAir.length > 0 ? this.#onAir(onAir) : this.#empty()}${this.#offAir(offAir)}`;
  }

  #onAir(streams: StreamStatus[]): TemplateResult {
    return html`<div class="index-head"><h1>On air now</h1></div>
      <ul class="cards">
        ${streams.map((stream) => html`<li>${this.#card(stream)}</li>`)}
      </ul>`;
  }

  #card(stream: StreamStatus): TemplateResult {
    const uptime = secondsSince(stream.started_at, Date.now()) ?? stream.uptime_s ?? 0;
    const count = viewerCount(stream.viewers);
    return html`<a class="panel stream-card" href="/watch/${encodeURIComponent(stream.name)}">
      <div class="poster">
        ${icon(Radio, 40)}
        <tally-lamp pill state="on_air">ON AIR</tally-lamp>
        <span class="pill uptime">${duration(uptime)}</span>
      </div>
      <div class="text">
        <h3>${stream.title || stream.name}</h3>
        <p class="muted">${[watching(count), pictureLine(stream.tracks ?? [])].filter(Boolean).join(" · ")}</p>
      </div>
    </a>`;
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
      <a class="button primary" href="/studio">Open the studio</a>
    </section>`;
  }

  #offAir(streams: StreamStatus[]): TemplateResult | typeof nothing {
    if (streams.length === 0) return nothing;
    return html`<section class="off-air">
      <h2>Off air</h2>
      <ul>
        ${streams.map(
          (stream) =>
            html`<li><a class="pill" href="/watch/${encodeURIComponent(stream.name)}"><tally-lamp state="off_air"></tally-lamp>${stream.title || stream.name}</a></li>`,
        )}
      </ul>
    </section>`;
  }
}
