import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { broadcastText } from "../api/broadcast_words";
import { type Broadcast, type BroadcastPage, fetchBroadcasts, MOST_BROADCASTS } from "../api/broadcasts";
import { Poller } from "../api/poller";
import { ProblemError } from "../api/session";
import { ago } from "../format";
import { element } from "./element";
import "./lamp";
import type { LampState } from "./lamp";
import { LightElement } from "./light_element";

const ASK_EVERY_MS = 10_000;
/** Not the tally's red: nobody knows here whether the picture is seen. */
const LAMPS: Record<Broadcast["status"], LampState> = { ON_AIR: "ok", RECONNECTING: "degraded", ENDED: "off_air" };
const WORDS: Record<Broadcast["status"], string> = { ON_AIR: "On air", RECONNECTING: "Reconnecting", ENDED: "Ended" };

/** The broadcasts of one stream or of all, newest first, with how long they were and who watched. */
@element("tl-broadcast-list")
export class BroadcastList extends LightElement {
  /** Of this stream; of all that one may see when it is empty. */
  @property() stream = "";
  /** So many at once. */
  @property({ type: Number }) page = 10;
  @state() private known: readonly Broadcast[] | null = null;
  @state() private hasOlder = false;
  @state() private trouble = "";
  /** How many are asked for; all of them each time, because old ones change as well: they end. */
  #wanted = 0;
  #poller: Poller<BroadcastPage> | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.#ask();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#poller?.close();
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("stream") && !changed.has("page")) return;
    this.known = null;
    this.hasOlder = false;
    this.trouble = "";
    this.#wanted = this.page;
    this.#ask();
  }

  /** Asks now, and from then on. */
  #ask(): void {
    const wanted = Math.min(this.#wanted, MOST_BROADCASTS);
    this.#poller?.close();
    this.#poller = new Poller({
      fetch: (signal) => fetchBroadcasts(this.stream, wanted, signal),
      everyMs: ASK_EVERY_MS,
      onValue: ({ broadcasts, next }) => {
        this.known = broadcasts;
        this.hasOlder = next !== null && wanted < MOST_BROADCASTS;
        this.trouble = "";
      },
      onError: (error) => {
        const refused = error instanceof ProblemError && error.code !== "server_away";
        const away = `The server does not answer${this.known === null ? "" : "; this list is from before"}.`;
        this.trouble = refused ? error.message : away;
      },
    });
  }

  #older(): void {
    this.#wanted += this.page;
    this.#ask();
  }

  override render(): TemplateResult {
    const { known, trouble } = this;
    return html`${trouble ? html`<p class="muted" role="status">${trouble}</p>` : nothing}
      ${known === null ? (trouble ? nothing : html`<p class="muted">Asking for the broadcasts.</p>`) : this.#list(known)}`;
  }

  #list(known: readonly Broadcast[]): TemplateResult {
    if (known.length === 0) return html`<p class="muted">Nothing has been on air yet.</p>`;
    const nowMs = Date.now();
    return html`<ol class="broadcasts">
        ${repeat(
          known,
          ({ id }) => id,
          (broadcast) => html`<li data-broadcast=${broadcast.id}>${this.#row(broadcast, nowMs)}</li>`,
        )}
      </ol>
      ${this.hasOlder ? html`<p><button class="button small" type="button" @click=${() => this.#older()}>Older broadcasts</button></p>` : nothing}`;
  }

  #row(broadcast: Broadcast, nowMs: number): TemplateResult {
    const { stream, title, status, started_at: startedAt } = broadcast;
    const name = this.stream === "" ? stream : "";
    const words = [name, title !== stream ? title : ""].filter(Boolean);
    return html`<p class="broadcast-title">
        <tally-lamp state=${LAMPS[status]}>${WORDS[status]}</tally-lamp>
        ${words.length > 0 ? html`<strong>${words.join(": ")}</strong>` : nothing}
        <time class="muted" datetime=${startedAt} title=${new Date(startedAt).toLocaleString()}>began ${ago(startedAt, nowMs)}</time>
      </p>
      <p class="muted">${broadcastText(broadcast, nowMs)}</p>`;
  }
}
