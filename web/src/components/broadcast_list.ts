import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { broadcastText, merged } from "../api/broadcast_words";
import { type Broadcast, fetchBroadcasts } from "../api/broadcasts";
import { Poller } from "../api/poller";
import { ProblemError } from "../api/session";
import { ago } from "../format";
import { element } from "./element";
import "./lamp";
import type { LampState } from "./lamp";
import { LightElement } from "./light_element";

const ASK_EVERY_MS = 10_000;
const LAMPS: Record<Broadcast["status"], LampState> = { ON_AIR: "on_air", RECONNECTING: "degraded", ENDED: "off_air" };
const WORDS: Record<Broadcast["status"], string> = { ON_AIR: "On air", RECONNECTING: "Reconnecting", ENDED: "Ended" };

/** The broadcasts of one stream or of all, newest first, with how long they were and who watched. */
@element("tl-broadcast-list")
export class BroadcastList extends LightElement {
  /** Of this stream; of all that one may see when it is empty. */
  @property() stream = "";
  /** So many at once. */
  @property({ type: Number }) page = 10;
  @state() private known: readonly Broadcast[] | null = null;
  @state() private next: string | null = null;
  @state() private trouble = "";
  #poller: Poller<void> | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.#begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#poller?.close();
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has("stream") || changed.has("page")) this.#begin();
  }

  #begin(): void {
    this.#poller?.close();
    this.known = null;
    this.next = null;
    this.#poller = new Poller({
      fetch: (signal) => this.#ask(null, signal),
      everyMs: ASK_EVERY_MS,
      onValue: () => undefined,
      onError: (error) => this.#failed(error),
    });
  }

  /** Adds a page to what is known: the newest, or the one before what is shown. */
  async #ask(before: string | null, signal?: AbortSignal): Promise<void> {
    const { stream } = this;
    const first = this.known === null;
    const page = await fetchBroadcasts(stream, this.page, before, signal);
    if (stream !== this.stream) return;
    if (first || before !== null) this.next = page.next;
    this.known = merged(this.known ?? [], page.broadcasts);
    this.trouble = "";
  }

  #failed(error: unknown): void {
    const refused = error instanceof ProblemError && error.code !== "server_away";
    this.trouble = refused ? error.message : "The server does not answer; this list is from before.";
  }

  async #older(): Promise<void> {
    await this.#ask(this.next).catch((error: unknown) => this.#failed(error));
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
      ${this.next === null ? nothing : html`<p><button class="button small" type="button" @click=${() => void this.#older()}>Older broadcasts</button></p>`}`;
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
