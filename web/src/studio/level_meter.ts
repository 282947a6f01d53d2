import { html, nothing, type TemplateResult } from "lit";
import { property } from "lit/decorators.js";
import { element } from "../components/element";
import { LightElement } from "../components/light_element";
import { type CaptureController, METER_MS } from "./capture_controller";

const BARS = 12;
/** Bars at the top end that mean "too loud". */
const LOUD_BARS = 2;

/** The microphone's level; draws itself, so that the page need not ten times a second. */
@element("tl-level-meter")
export class LevelMeterElement extends LightElement {
  @property({ attribute: false }) capture: CaptureController | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#timer = setInterval(() => this.requestUpdate(), METER_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.#timer);
  }

  override render(): TemplateResult {
    const level = this.capture?.level ?? 0;
    const words = this.#words();
    const lit = Math.round(level * BARS);
    const bar = (index: number): string => (index >= lit ? "" : index >= BARS - LOUD_BARS ? "loud" : "lit");
    return html`<span class="meter" role="meter" aria-label="Microphone level" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(level * 100)} aria-valuetext=${words ?? `${Math.round(level * 100)} %`}>
      ${Array.from({ length: BARS }, (_, index) => html`<i class=${bar(index)}></i>`)}
      ${words === null ? nothing : html`<span class="muted">${words}</span>`}
    </span>`;
  }

  #words(): string | null {
    if (!this.capture?.microphone) return "no microphone";
    return this.capture.microphoneOn ? null : "muted";
  }
}
