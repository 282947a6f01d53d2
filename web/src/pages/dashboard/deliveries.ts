import { html, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { Poller } from "../../api/poller";
import { attemptText, deliveryText } from "../../api/webhook_words";
import { type Delivery, fetchDeliveries } from "../../api/webhooks";
import { element } from "../../components/element";
import "../../components/lamp";
import type { LampState } from "../../components/lamp";
import { LightElement } from "../../components/light_element";
import { ago, secondsSince } from "../../format";

const ASK_EVERY_MS = 3000;
const LAMPS: Record<Delivery["status"], LampState> = { delivered: "ok", pending: "unknown", failed: "fail" };

/** The newest deliveries of one webhook, each attempt of them. */
@element("tl-deliveries")
export class Deliveries extends LightElement {
  @property() webhook = "";
  @state() private deliveries: readonly Delivery[] | null = null;
  @state() private away = false;
  #poller: Poller<readonly Delivery[]> | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#poller = new Poller({
      fetch: (signal) => fetchDeliveries(this.webhook, signal),
      everyMs: ASK_EVERY_MS,
      onValue: (deliveries) => {
        this.deliveries = deliveries;
        this.away = false;
      },
      onError: () => {
        this.away = true;
      },
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#poller?.close();
  }

  override render(): TemplateResult {
    const { deliveries } = this;
    return html`${this.away ? html`<p class="muted">The server does not answer; this is from before.</p>` : nothing}
      ${deliveries?.length === 0 ? html`<p class="muted">Nothing has been sent yet.</p>` : nothing}
      <ol class="deliveries">
        ${(deliveries ?? []).map((delivery) => html`<li>${this.#item(delivery)}</li>`)}
      </ol>`;
  }

  #item(delivery: Delivery): TemplateResult {
    const now = Date.now();
    return html`<p>
        <tally-lamp state=${LAMPS[delivery.status] ?? "unknown"}>${delivery.status}</tally-lamp>
        <code>${delivery.event}</code>
        <span>${delivery.stream ?? ""}</span>
        <span class="muted">${ago(delivery.created_at, now)}, ${deliveryText(delivery, now)}</span>
      </p>
      <ul>
        ${delivery.attempts.map(
          (attempt) =>
            html`<li class="muted">${secondsSince(attempt.at, now) === null ? nothing : html`<time datetime=${attempt.at}>${ago(attempt.at, now)}</time>:`} ${attemptText(attempt)}</li>`,
        )}
      </ul>`;
  }
}
