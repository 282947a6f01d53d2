import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { fetchStream } from "../api/stream_list";
import type { StreamStatus } from "../api/types";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { behind, duration, secondsSince, tracksLine, transportName, watching } from "../format";
import type { Facts } from "../player/facts";
import "../player/player";
import type { TransportChoice } from "../player/recovery";
import { card, fallbackSentence } from "../player/sentences";

/** Anything but playing that lasts longer than this is explained beside the picture too. */
const EXPLAIN_AFTER_MS = 3000;

/** Stream name of `/watch/NAME`; in development `?stream=NAME` does as well. */
export function streamFromLocation(path: string, search: string): string {
  const name = /^\/watch\/([^/]+)\/?$/.exec(path)?.[1];
  try {
    if (name) return decodeURIComponent(name);
  } catch {
    return name ?? "";
  }
  return new URLSearchParams(search).get("stream") ?? "main";
}

/** The transport asked for in the address, for trying out: `?transport=hls`. */
export function transportFromSearch(search: string): TransportChoice {
  const value = new URLSearchParams(search).get("transport");
  return value === "hls" || value === "webrtc" ? value : "auto";
}

/** One stream, watched. */
@element("tl-watch-page")
export class WatchPage extends LightElement {
  @state() private facts: Facts | null = null;
  @state() private about: StreamStatus | null = null;
  @state() private unknown = false;
  @state() private theatre = false;
  readonly #stream = streamFromLocation(location.pathname, location.search);
  readonly #transport = transportFromSearch(location.search);
  #epoch: number | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    document.title = `${this.#stream} · Tallylight`;
    void this.#learn();
  }

  /** Title and description; asked again for each broadcast, they may have been changed in between. */
  async #learn(): Promise<void> {
    const about = await fetchStream(this.#stream);
    this.unknown = about === "unknown";
    if (!about || about === "unknown") return;
    this.about = about;
    document.title = `${about.title || about.name} · Tallylight`;
  }

  readonly #onFacts = (event: CustomEvent<Facts>): void => {
    this.facts = event.detail;
    const epoch = event.detail.server?.epoch ?? null;
    if (epoch !== this.#epoch && this.#epoch !== null) void this.#learn();
    this.#epoch = epoch;
  };

  readonly #onTheatre = (event: CustomEvent<boolean>): void => {
    this.theatre = event.detail;
  };

  override render(): TemplateResult {
    return html`${siteHeader("watch")}
      <main id="main">
        <div class="watch ${this.theatre ? "theatre" : ""}">
          <div>
            <tallylight-player
              stream=${this.#stream}
              transport=${this.#transport}
              @tallylight-facts=${this.#onFacts}
              @tallylight-theatre=${this.#onTheatre}
            ></tallylight-player>
            ${this.#head()}
          </div>
          <aside class="aside" aria-label="About this broadcast">${this.#why()}${this.#note()}${this.#how()}${this.#description()}</aside>
        </div>
      </main>`;
  }

  #head(): TemplateResult {
    const server = this.facts?.server ?? null;
    const live = server !== null && server.state !== "off_air";
    const uptime = live ? secondsSince(server.started_at, Date.now()) : null;
    const tracks = tracksLine(server?.tracks ?? [], this.facts?.transport ?? null);
    return html`<div class="watch-head">
        <h1>${this.about?.title || this.#stream}</h1>
        <div class="pills">
          ${this.#tally()}
          ${live && server.viewers > 0 ? html`<span class="pill" id="viewers">${watching(server.viewers)}</span>` : nothing}
          ${uptime === null ? nothing : html`<span class="pill" id="uptime">on air ${duration(uptime)}</span>`}
        </div>
      </div>
      <p class="tracks-line muted" id="tracks">${this.unknown && !live ? `No stream on this server is called "${this.#stream}". Check the address.` : [this.#stream, live ? tracks : ""].filter(Boolean).join(" · ")}</p>`;
  }

  #tally(): TemplateResult {
    const facts = this.facts;
    if (facts?.state === "playing") {
      return facts.fallback && facts.fallback.code !== "asked"
        ? html`<tally-lamp pill id="tally" state="degraded">On air, slower path</tally-lamp>`
        : html`<tally-lamp pill id="tally" state="on_air">On air</tally-lamp>`;
    }
    if (facts?.server?.state === "off_air")
      return html`<tally-lamp pill id="tally" state="off_air">Off air</tally-lamp>`;
    if (facts?.server?.state === "no_media")
      return html`<tally-lamp pill id="tally" state="degraded">Picture stopped</tally-lamp>`;
    return html`<tally-lamp pill id="tally" state="unknown">No picture here yet</tally-lamp>`;
  }

  #why(): TemplateResult | typeof nothing {
    const facts = this.facts;
    if (!facts || facts.stateSinceMs < EXPLAIN_AFTER_MS) return nothing;
    const message = card({
      phase: facts.state,
      code: facts.code,
      transport: facts.transport,
      fallback: facts.fallback,
      sinceMs: facts.stateSinceMs,
      mediaAgeMs: facts.mediaAgeMs,
    });
    if (!message) return nothing;
    return html`<section class="panel why ${message.tone}" id="why">
      <h2>Why is there no picture?</h2>
      <strong>${message.title}.</strong>
      <p class="muted">${message.text}</p>
    </section>`;
  }

  #note(): TemplateResult | typeof nothing {
    const sentence = this.facts?.server?.state === "off_air" ? null : fallbackSentence(this.facts?.fallback ?? null);
    if (!sentence) return nothing;
    return html`<section class="panel" id="fallback">
      <h2>Playing the slower way</h2>
      <p>${sentence}</p>
    </section>`;
  }

  #how(): TemplateResult | typeof nothing {
    const facts = this.facts;
    if (facts?.state !== "playing") return nothing;
    return html`<section class="panel" id="how-live">
      <h2>How live is this?</h2>
      <dl>
        <dt>Behind</dt>
        <dd id="latency">${facts.latencyMs === null ? "measuring" : behind(facts.latencyMs).replace(" behind", "")}</dd>
        <dt>Over</dt>
        <dd>${transportName(facts.transport)}</dd>
        <dt>Lost packets</dt>
        <dd>${facts.packetsLost ?? "does not apply"}</dd>
      </dl>
      <p class="method muted">${facts.latencyMethod ?? ""}</p>
    </section>`;
  }

  #description(): TemplateResult | typeof nothing {
    if (!this.about?.description) return nothing;
    return html`<section class="panel"><h2>About</h2><p>${this.about.description}</p></section>`;
  }
}
