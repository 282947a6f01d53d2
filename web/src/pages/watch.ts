import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { Lock, SlidersHorizontal } from "lucide";
import { signInAddress } from "../api/session";
import { fetchStream } from "../api/stream_list";
import type { StreamStatus } from "../api/types";
import { type Access, findAccess, type Refused, refusalWords, renewAfterMs, takeToken } from "../api/watch_access";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { visibilityMark } from "../components/visibility";
import { behind, duration, secondsSince, tracksLine, transportName, watching } from "../format";
import type { Facts } from "../player/facts";
import "../player/player";
import type { TransportChoice } from "../player/recovery";
import { card, fallbackSentence } from "../player/sentences";
import "./watch_share";

/** Anything but playing that lasts longer than this is explained beside the picture too. */
const EXPLAIN_AFTER_MS = 3000;
/** A way in that was refused later (revoked, expired) is looked for again, no more often than this. */
const ASK_AGAIN_MS = 10_000;

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

/**
 * The playback token in this page's address. It is taken out of the address bar, which gets photographed and shared, and
 * kept with the history entry, so that reloading the page works.
 */
function tokenFromAddress(): string | null {
  const { token, search } = takeToken(location.search);
  if (token === null) return (history.state as { token?: string } | null)?.token ?? null;
  history.replaceState({ token }, "", location.pathname + search + location.hash);
  return token;
}

/** One stream, watched. */
@element("tl-watch-page")
export class WatchPage extends LightElement {
  @state() private facts: Facts | null = null;
  @state() private access: Access | null = null;
  @state() private about: StreamStatus | null = null;
  @state() private theatre = false;
  readonly #stream = streamFromLocation(location.pathname, location.search);
  readonly #transport = transportFromSearch(location.search);
  readonly #givenToken = tokenFromAddress();
  #epoch: number | null = null;
  #askedAtMs = 0;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#nameTab();
    void this.#enter();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#renewal);
  }

  /** Finds the way in; what is playing goes on meanwhile. */
  async #enter(): Promise<void> {
    this.#askedAtMs = Date.now();
    const present = this.access?.kind === "admitted" ? this.access : null;
    const access = await findAccess(this.#stream, this.#givenToken, present);
    this.access = access;
    if (access.kind === "refused") this.facts = null;
    else {
      this.about = access.about ?? this.about;
      clearTimeout(this.#renewal);
      const waitMs = renewAfterMs(access, Date.now());
      if (waitMs !== null) this.#renewal = setTimeout(() => void this.#enter(), waitMs);
    }
    this.#nameTab();
  }

  /** Title and description; asked again for each broadcast, they may have been changed in between. */
  async #learn(): Promise<void> {
    const about = await fetchStream(this.#stream);
    if (about && about !== "unknown") this.about = about;
    this.#nameTab();
  }

  #nameTab(): void {
    const title = this.about?.title || this.#stream;
    document.title = `${this.facts?.state === "playing" ? "On air: " : ""}${title} · Tallylight`;
  }

  readonly #onFacts = (event: CustomEvent<Facts>): void => {
    const before = this.facts?.state;
    this.facts = event.detail;
    if (before !== event.detail.state) this.#nameTab();
    if (event.detail.state === "denied" && Date.now() - this.#askedAtMs > ASK_AGAIN_MS) void this.#enter();
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
        ${this.access?.kind === "refused" ? this.#refused(this.access) : this.#watching(this.access?.token ?? "")}
      </main>`;
  }

  #watching(token: string): TemplateResult {
    return html`<div class="watch ${this.theatre ? "theatre" : ""}">
      <div>
        ${
          this.access
            ? html`<tallylight-player
              stream=${this.#stream}
              transport=${this.#transport}
              .token=${token}
              @tallylight-facts=${this.#onFacts}
              @tallylight-theatre=${this.#onTheatre}
            ></tallylight-player>`
            : html`<div class="player-place"></div>`
        }
        ${this.#head()}
      </div>
      <aside class="aside" aria-label="About this broadcast">${this.#why()}${this.#note()}${this.#description()}${this.#how()}${this.#share()}</aside>
    </div>`;
  }

  #refused(access: Refused): TemplateResult {
    const words = refusalWords(access.code, access.user);
    return html`<section class="panel refused" id="refused" role="status">
      ${icon(Lock, 28)}
      <h1>${words.title}</h1>
      <p class="muted">${words.text}</p>
      <p class="actions">
        ${words.signIn ? html`<a class="button primary" href=${signInAddress()}>Sign in</a>` : nothing}
        <a class="button" href="/">See who is on air</a>
      </p>
    </section>`;
  }

  get #unknown(): boolean {
    return this.access?.kind === "admitted" && this.access.unknown && this.about === null;
  }

  #head(): TemplateResult {
    const server = this.facts?.server ?? null;
    const live = server !== null && server.state !== "off_air";
    const uptime = live ? secondsSince(server.started_at, Date.now()) : null;
    const tracks = tracksLine(server?.tracks ?? [], this.facts?.transport ?? null);
    return html`<div class="watch-head">
        <h1>${this.about?.title || this.#stream}</h1>
        <div class="pills">
          ${this.#tally()}${visibilityMark(this.about?.visibility)}
          ${live && server.viewers > 0 ? html`<span class="pill" id="viewers">${watching(server.viewers)}</span>` : nothing}
          ${uptime === null ? nothing : html`<span class="pill" id="uptime">on air ${duration(uptime)}</span>`}
        </div>
      </div>
      <p class="tracks-line muted" id="tracks">${this.#unknown && !live ? `No stream on this server is called "${this.#stream}". Check the address.` : [this.about?.title ? this.#stream : "", live ? tracks : ""].filter(Boolean).join(" · ")}</p>`;
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
    const { about } = this;
    const editable = about?.may?.edit === true;
    if (!about || !(about.description || editable)) return nothing;
    return html`<section class="panel" id="about">
      <h2>About</h2>
      <p class="description">${about.description || "No description yet."}</p>
      ${editable ? html`<a class="button small" id="to-studio" href="/studio?stream=${encodeURIComponent(about.name)}">${icon(SlidersHorizontal, 16)} Open in the studio</a>` : nothing}
    </section>`;
  }

  #share(): TemplateResult | typeof nothing {
    const { about } = this;
    if (!about) return nothing;
    return html`<tl-share
      stream=${about.name}
      ?private=${about.visibility === "private"}
      ?owner=${about.may?.edit === true}
    ></tl-share>`;
  }
}
