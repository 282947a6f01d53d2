import { html, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { Check, Copy } from "lucide";
import { element } from "./element";
import { icon } from "./icon";
import { LightElement } from "./light_element";

/** How long the outcome stands. */
const SHOWN_MS = 2000;
const OUTCOMES = { "": "", copied: "Copied", refused: "Not allowed by the browser" };

/** Copies a text that is made when it is asked for. */
@element("tl-copy-button")
export class CopyButton extends LightElement {
  @property() label = "Copy";
  @property({ attribute: false }) text: () => string = () => "";
  @state() private outcome: keyof typeof OUTCOMES = "";

  override render(): TemplateResult {
    return html`<button class="button small" type="button" @click=${this.#copy}>
      ${icon(this.outcome === "copied" ? Check : Copy, 16)}<span aria-live="polite">${OUTCOMES[this.outcome] || this.label}</span>
    </button>`;
  }

  readonly #copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(this.text());
      this.outcome = "copied";
    } catch {
      this.outcome = "refused"; // no clipboard on plain http pages
    }
    setTimeout(() => {
      this.outcome = "";
    }, SHOWN_MS);
  };
}
