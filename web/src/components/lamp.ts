import { css, html, LitElement, type SVGTemplateResult, svg, type TemplateResult } from "lit";
import { property } from "lit/decorators.js";
import { element } from "./element";

/**
 * `on_air`: viewers can decode a picture now. `degraded`: on air, with something in the chain not right. `off_air`.
 * The rest draw single links of the chain: `ok`, `warn`, `fail`, `unknown`, `blocked` (waits on a link before it).
 */
export type LampState = "on_air" | "degraded" | "off_air" | "ok" | "warn" | "fail" | "unknown" | "blocked";

const SHAPES: Record<LampState, SVGTemplateResult> = {
  on_air: svg`<circle cx="6" cy="6" r="6" fill="var(--tl-tally, #ff3b30)" />`,
  degraded: svg`<path d="M6 0 12 11H0Z" fill="var(--tl-warn, #f5a623)" />`,
  off_air: svg`<circle cx="6" cy="6" r="5" fill="none" stroke="var(--tl-muted, #9aa1ae)" stroke-width="2" />`,
  ok: svg`<path d="M1 6.5 4.5 10 11 2.5" fill="none" stroke="var(--tl-ok, #35c26b)" stroke-width="2.2" />`,
  warn: svg`<path d="M6 0 12 11H0Z" fill="var(--tl-warn, #f5a623)" />`,
  fail: svg`<path d="M2 2 10 10 M10 2 2 10" stroke="var(--tl-fail, #ff5a4f)" stroke-width="2.6" />`,
  unknown: svg`<circle cx="6" cy="6" r="5" fill="none" stroke="var(--tl-muted, #9aa1ae)" stroke-width="1.5" stroke-dasharray="2 2" />`,
  blocked: svg`<path d="M2 6h8" stroke="var(--tl-muted, #9aa1ae)" stroke-width="2" />`,
};

/** The tally lamp: colour, shape and (in the slot) word, never colour alone. */
@element("tally-lamp")
export class TallyLamp extends LitElement {
  @property({ reflect: true }) state: LampState = "unknown";
  /** Draws a pill around lamp and word. */
  @property({ type: Boolean, reflect: true }) pill = false;

  static override styles = css`
    :host {
      display: inline-flex;
      align-items: center;
      gap: 8px;
      font-weight: 600;
      font-size: 13px;
      line-height: 1;
      white-space: nowrap;
    }
    :host([pill]) {
      padding: 8px 12px;
      border-radius: 999px;
      border: 1px solid var(--tl-line, #2a2e37);
      background: var(--tl-raised, #1d2026);
    }
    svg {
      flex: none;
      overflow: visible;
    }
    :host([state="on_air"]) {
      color: var(--tl-tally-text, #ff8b84);
    }
    :host([state="on_air"][pill]) {
      background: var(--tl-tally-back, #35171a);
      border-color: var(--tl-tally-line, #7c2b2a);
    }
    :host([state="on_air"]) svg {
      filter: drop-shadow(0 0 5px var(--tl-tally, #ff3b30));
    }
    :host([state="degraded"]),
    :host([state="warn"]) {
      color: var(--tl-warn-text, #f5b74e);
    }
    :host([state="fail"]) {
      color: var(--tl-fail-text, #ff7b72);
    }
    :host([state="blocked"]) {
      opacity: 0.55;
    }
  `;

  override render(): TemplateResult {
    return html`<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">${SHAPES[this.state] ?? SHAPES.unknown}</svg><slot></slot>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "tally-lamp": TallyLamp;
  }
}
