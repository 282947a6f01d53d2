import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Pause, Play } from "lucide";
import { EVENTS_KEPT, EventsTail, type ServerEvent } from "../../api/events_tail";
import "../../components/copy_button";
import { element } from "../../components/element";
import { icon } from "../../components/icon";
import "../../components/lamp";
import { LightElement } from "../../components/light_element";
import { type EventFilter, fieldsText, isTrouble, matches } from "./model";

/** More rows than this nobody reads; the filter finds what is older. */
const ROWS_SHOWN = 200;

/** What happens on the server, newest first. */
@element("tl-events")
export class Events extends LightElement {
  /** Newest first. */
  @state() private events: readonly ServerEvent[] = [];
  /** What stood here when the list was held; null while it follows. */
  @state() private held: readonly ServerEvent[] | null = null;
  @state() private filter: EventFilter = { text: "", stream: "", name: "" };
  @state() private lost = false;
  #tail: EventsTail | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#tail = new EventsTail({
      onEvents: (events) => {
        this.events = [...[...events].reverse(), ...this.events].slice(0, EVENTS_KEPT);
      },
      onOpen: () => {
        this.lost = false;
      },
      onLost: () => {
        this.lost = true;
      },
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#tail?.close();
  }

  get #found(): ServerEvent[] {
    return (this.held ?? this.events).filter((event) => matches(event, this.filter));
  }

  override render(): TemplateResult {
    const found = this.#found;
    return html`<section class="panel events" id="events">
      <div class="events-head">
        <h2>Events</h2>
        ${this.lost ? html`<tally-lamp state="warn">Not connected; these are from before</tally-lamp>` : nothing}
        ${this.#tools()}
      </div>
      <ol class="event-list" tabindex="0" aria-label="Events, newest first">
        ${repeat(
          found.slice(0, ROWS_SHOWN),
          (event) => `${event.at} ${event.seq}`,
          (event) => this.#row(event),
        )}
      </ol>
      ${found.length === 0 ? html`<p class="muted">${this.events.length === 0 ? "Nothing has happened since the server started." : "No event matches the filter."}</p>` : nothing}
      ${found.length > ROWS_SHOWN ? html`<p class="muted">${found.length - ROWS_SHOWN} older ones are not shown; filter to find them.</p>` : nothing}
    </section>`;
  }

  #tools(): TemplateResult {
    const distinct = (values: (string | null)[]): string[] =>
      [...new Set(values.filter((value) => value !== null))].sort();
    const heldFrom = this.held?.[0] ?? null;
    const newer = heldFrom === null ? 0 : Math.max(0, this.events.indexOf(heldFrom));
    return html`<div class="events-tools">
      <input type="search" id="event-text" placeholder="Filter" aria-label="Filter events by text" .value=${this.filter.text} @input=${(event: InputEvent) => this.#narrow({ text: (event.target as HTMLInputElement).value })} />
      ${this.#select("stream", "All streams", distinct(this.events.map((event) => event.stream)))}
      ${this.#select("name", "All events", distinct(this.events.map((event) => event.event)))}
      <button class="button small" type="button" id="pause-events" aria-pressed=${this.held !== null} @click=${this.#toggle}>
        ${icon(this.held ? Play : Pause, 16)} ${this.held ? `Go on${newer > 0 ? ` (${newer} new)` : ""}` : "Pause"}
      </button>
      <tl-copy-button .text=${() => this.#found.map((event) => JSON.stringify(event)).join("\n")}></tl-copy-button>
    </div>`;
  }

  #select(field: "stream" | "name", all: string, values: string[]): TemplateResult {
    return html`<select aria-label=${all} @change=${(event: Event) => this.#narrow({ [field]: (event.target as HTMLSelectElement).value })}>
      <option value="">${all}</option>
      ${values.map((value) => html`<option value=${value} ?selected=${value === this.filter[field]}>${value}</option>`)}
    </select>`;
  }

  #row(event: ServerEvent): TemplateResult {
    const time = new Date(event.at);
    const shown = Number.isNaN(time.getTime()) ? "" : time.toLocaleTimeString("en-GB");
    return html`<li class=${isTrouble(event.event) ? "trouble" : ""}>
      <time datetime=${event.at}>${shown}</time>
      <code>${event.event}</code>
      <span class="about">${event.stream ? html`<span class="of">${event.stream}</span> ` : nothing}${fieldsText(event.fields)}</span>
    </li>`;
  }

  #narrow(changes: Partial<EventFilter>): void {
    this.filter = { ...this.filter, ...changes };
  }

  readonly #toggle = (): void => {
    this.held = this.held === null ? this.events : null;
  };
}
