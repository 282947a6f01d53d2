import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { keyed } from "lit/directives/keyed.js";
import { Poller } from "../../api/poller";
import { ProblemError } from "../../api/session";
import "../../components/copy_field";
import "../../components/lamp";
import { LightElement } from "../../components/light_element";

/** Others change the same things: a list is as old as this at most. */
const ASK_EVERY_MS = 5000;

/** A value that the server tells once. */
export interface Secret {
  title: string;
  text: string;
  fields: { label: string; value: string; secret: boolean }[];
}

/** A list of things to administer: asked for again and again, changed by buttons, errors said in words. */
export abstract class Section<Item> extends LightElement {
  @state() protected items: readonly Item[] | null = null;
  @state() private problem = "";
  @state() private stale = "";
  @state() protected secret: Secret | null = null;
  #poller: Poller<readonly Item[]> | null = null;

  protected abstract load(signal: AbortSignal): Promise<readonly Item[]>;

  override connectedCallback(): void {
    super.connectedCallback();
    this.refresh();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#poller?.close();
  }

  /** Asks for the list now, and from then on. */
  protected refresh(): void {
    this.#poller?.close();
    this.#poller = new Poller({
      fetch: (signal) => this.load(signal),
      everyMs: ASK_EVERY_MS,
      onValue: (items) => {
        this.items = items;
        this.stale = "";
      },
      onError: (error) => {
        const refused = error instanceof ProblemError && error.code !== "server_away";
        this.stale = refused ? error.message : "The server does not answer; this list is from before.";
      },
    });
  }

  /** Does something and shows its outcome; a refusal is said in the server's words. */
  protected async run(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
      this.problem = "";
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.problem = error.message;
    }
    this.refresh();
  }

  protected notices(): TemplateResult {
    return html`${this.stale ? html`<p class="notice"><tally-lamp state="warn"></tally-lamp><span>${this.stale}</span></p>` : nothing}
      <div role="status">
        ${this.problem ? html`<p class="notice"><tally-lamp state="fail"></tally-lamp><span>${this.problem}</span></p>` : nothing}
        ${this.secret ? keyed(this.secret, this.#secret(this.secret)) : nothing}
      </div>`;
  }

  #secret(secret: Secret): TemplateResult {
    return html`<section class="panel once">
      <h3>${secret.title}</h3>
      <p class="muted">${secret.text}</p>
      ${secret.fields.map((field) => html`<tl-copy-field label=${field.label} value=${field.value} ?secret=${field.secret}></tl-copy-field>`)}
      <button
        class="button small"
        type="button"
        @click=${() => {
          this.secret = null;
        }}
      >
        Done
      </button>
    </section>`;
  }
}

/** A small button in a row of them; `about` completes its name for those who do not see the row. */
export function action(label: string, about: string, run: () => void, danger = false): TemplateResult {
  return html`<button class="button small ${danger ? "danger" : ""}" type="button" aria-label="${label} ${about}" @click=${run}>${label}</button>`;
}
