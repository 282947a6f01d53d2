import { html, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import type { LinkLamp, LinkState } from "../api/dashboard";
import { element } from "./element";
import "./lamp";
import type { LampState } from "./lamp";
import { LightElement } from "./light_element";

const WORDS: Record<LinkState, { lamp: LampState; word: string; meaning: string }> = {
  ok: { lamp: "ok", word: "ok", meaning: "It works." },
  warn: { lamp: "warn", word: "warning", meaning: "It works, with something not right." },
  fail: { lamp: "fail", word: "failed", meaning: "It does not work." },
  unknown: { lamp: "unknown", word: "unknown", meaning: "Nothing is known about it." },
  waiting: { lamp: "blocked", word: "waiting", meaning: "It waits for a link before it." },
};

/** How a link's state is drawn and said; a state from a newer server counts as unknown. Pure. */
export function wordsOf(state: LinkState): { lamp: LampState; word: string; meaning: string } {
  return WORDS[state] ?? WORDS.unknown;
}

/** The chain from host to viewers, a lamp for each link; hovering, focusing or tapping one says its sentence below. */
@element("tl-chain")
export class Chain extends LightElement {
  @property({ attribute: false }) links: LinkLamp[] = [];
  /** The link whose sentence is shown. */
  @state() private asked: string | null = null;
  /** The finger that is down is on the link whose sentence is shown: its tap puts it away. */
  #tappedAgain = false;

  readonly #onPointerAnywhere = (event: PointerEvent): void => {
    if (!event.composedPath().includes(this)) this.asked = null;
  };

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("pointerdown", this.#onPointerAnywhere);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("pointerdown", this.#onPointerAnywhere);
  }

  override render(): TemplateResult {
    const shown = this.links.find((lamp) => lamp.link === this.asked);
    return html`<div class="chain-frame"><ol class="chain" @pointerleave=${this.#onLeave} @focusout=${this.#onFocusOut}>
        ${this.links.map((lamp) => html`<li>${this.#lamp(lamp)}</li>`)}
      </ol>
      ${shown ? html`<p class="chain-sentence"><strong>${shown.link}:</strong> ${sentenceOf(shown)}</p>` : nothing}</div>`;
  }

  #lamp(lamp: LinkLamp): TemplateResult {
    const { lamp: state, word } = wordsOf(lamp.state);
    const ask = (): void => {
      this.asked = lamp.link;
    };
    return html`<button
      type="button"
      class="link ${lamp.state}"
      @pointerenter=${(event: PointerEvent) => event.pointerType === "mouse" && ask()}
      @pointerdown=${(event: PointerEvent) => {
        this.#tappedAgain = event.pointerType !== "mouse" && this.asked === lamp.link;
      }}
      @focus=${ask}
      @click=${() => {
        this.asked = this.#tappedAgain ? null : lamp.link;
        this.#tappedAgain = false;
      }}
    >
      <span class="disc"><tally-lamp .state=${state}></tally-lamp></span>
      <span class="name">${lamp.link}</span>
      <span class="word">${word}</span>
      <span class="sr">${sentenceOf(lamp)}</span>
    </button>`;
  }

  readonly #onFocusOut = (): void => {
    this.asked = null;
  };

  readonly #onLeave = (event: PointerEvent): void => {
    // A finger leaves as soon as it is lifted: what was tapped stays.
    if (event.pointerType === "mouse" && !this.contains(document.activeElement)) this.asked = null;
  };
}

/** What is known about a link, in words. Pure. */
export function sentenceOf(lamp: LinkLamp): string {
  return lamp.sentence || wordsOf(lamp.state).meaning;
}
