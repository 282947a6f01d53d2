import { html, nothing, type TemplateResult } from "lit";
import type { LastPublisher, Refusal } from "../api/streams";
import "../components/lamp";
import { ago } from "../format";
import type { Advice } from "../publisher/advice";

/** Refusals shown at once; the rest are of the same kind, as a rule. */
const REFUSALS_SHOWN = 3;

/**
 * What the streamer should know now, worst first.
 *
 * @param announced the same for screen readers, without its numbers running.
 */
export function healthPanel(advice: readonly Advice[], announced: string): TemplateResult {
  return html`<section class="panel" id="health">
    <h2>HEALTH</h2>
    <p class="sr" aria-live="polite">${announced}</p>
    <div>
      ${
        advice.length === 0
          ? html`<div class="advice"><tally-lamp state="off_air"></tally-lamp><p><strong>Off air.</strong> <span class="muted">Measured values and advice appear here once you are live.</span></p></div>`
          : advice.map(
              (one) => html`<div class="advice" data-level=${one.level}>
                <tally-lamp state=${one.level}></tally-lamp>
                <p><strong>${one.title}</strong> <span class="muted">${one.text}</span></p>
              </div>`,
            )
      }
    </div>
  </section>`;
}

/** How the last publisher ended, and whom the server turned away since, in the server's words. */
export function historyPanel(
  last: LastPublisher | null,
  refusals: readonly Refusal[],
  nowMs: number,
): TemplateResult | typeof nothing {
  if (!last && refusals.length === 0) return nothing;
  const more = refusals.length - REFUSALS_SHOWN;
  return html`<section class="panel" id="history">
    <h2>LATELY</h2>
    <ul class="history">
      ${last ? html`<li id="last-publisher"><span class="muted">Last broadcast, ${ago(last.ended_at, nowMs)}:</span> ${last.sentence}</li>` : nothing}
      ${refusals
        .slice(0, REFUSALS_SHOWN)
        .map(
          (refusal) =>
            html`<li class="refusal"><span class="muted">Refused (${refusal.protocol.toUpperCase()}), ${ago(refusal.at, nowMs)}:</span> ${refusal.message}</li>`,
        )}
      ${more > 0 ? html`<li class="muted">and ${more} more before.</li>` : nothing}
    </ul>
  </section>`;
}
