import { html, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { Check, Copy, Eye, EyeOff } from "lucide";
import { element } from "./element";
import { icon } from "./icon";
import { LightElement } from "./light_element";

/** How long "Copied" stands. */
const COPIED_MS = 2000;

/** A value to be copied into another program; a `secret` one is hidden until asked for. */
@element("tl-copy-field")
export class CopyField extends LightElement {
  @property() label = "";
  @property() value = "";
  @property({ type: Boolean }) secret = false;
  @state() private shown = false;
  @state() private outcome: "" | "copied" | "refused" = "";

  override render(): TemplateResult {
    const hidden = this.secret && !this.shown;
    const text = hidden ? "•".repeat(16) : this.value;
    return html`<div class="copy-field">
      <span class="copy-label">${this.label}</span>
      ${
        this.secret
          ? html`<button class="button small" type="button" aria-pressed=${this.shown} @click=${this.#toggle}>
            ${icon(this.shown ? EyeOff : Eye, 16)} ${this.shown ? "Hide" : "Show"}
          </button>`
          : nothing
      }
      <button class="button small" type="button" aria-label="Copy ${this.label}" @click=${this.#copy}>
        ${icon(this.outcome === "copied" ? Check : Copy, 16)} <span aria-live="polite">${this.outcome === "copied" ? "Copied" : "Copy"}</span>
      </button>
      <code class="copy-value" aria-label=${hidden ? `${this.label}, hidden` : nothing}>${text}</code>
      ${this.outcome === "refused" ? html`<span class="copy-note" role="status">The browser did not allow copying. Select the text instead.</span>` : nothing}
    </div>`;
  }

  readonly #toggle = (): void => {
    this.shown = !this.shown;
  };

  readonly #copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(this.value);
      this.outcome = "copied";
      setTimeout(() => {
        this.outcome = "";
      }, COPIED_MS);
    } catch {
      // No clipboard on plain http pages: show the value so that it can be selected.
      this.shown = true;
      this.outcome = "refused";
    }
  };
}
