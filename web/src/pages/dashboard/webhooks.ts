import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Plus } from "lucide";
import { fetchStreams } from "../../api/stream_list";
import { deliveryText } from "../../api/webhook_words";
import {
  changeWebhook,
  createWebhook,
  deleteWebhook,
  fetchWebhooks,
  rotateWebhookSecret,
  testWebhook,
  WEBHOOK_EVENTS,
  type Webhook,
} from "../../api/webhooks";
import { element } from "../../components/element";
import { askForm, type FormField } from "../../components/form_dialog";
import { icon } from "../../components/icon";
import { ago } from "../../format";
import "./deliveries";
import { action, Section } from "./section";

/** Long enough for a slow database, short enough for somebody who waits for the form. */
const STREAMS_TIMEOUT_MS = 3000;

const eventsField = (value: readonly string[]): FormField => ({
  name: "events",
  label: "Events",
  kind: "checks",
  choices: WEBHOOK_EVENTS.map((event) => ({ value: event, label: event })),
  value,
});
const urlField = (value: string): FormField => ({
  name: "url",
  label: "Address",
  kind: "url",
  required: true,
  maxLength: 2000,
  value,
  help: "Gets a signed POST for each event. Addresses of private networks are refused unless the server's settings allow them.",
});

/** Who is told what happens, and whether it arrived. */
@element("tl-webhooks-section")
export class WebhooksSection extends Section<Webhook> {
  /** The webhook whose deliveries are shown. */
  @state() private opened: string | null = null;

  protected override load(signal: AbortSignal): Promise<readonly Webhook[]> {
    return fetchWebhooks(signal);
  }

  override render(): TemplateResult {
    return html`<div class="section-head">
        <h2>Webhooks</h2>
        <button class="button" type="button" id="new-webhook" @click=${() => void this.#create()}>${icon(Plus, 16)} New webhook</button>
      </div>
      ${this.notices()}
      ${this.items === null ? html`<p class="muted">Asking for the webhooks.</p>` : this.#list(this.items)}`;
  }

  #list(webhooks: readonly Webhook[]): TemplateResult {
    if (webhooks.length === 0)
      return html`<p class="muted">Nobody is told anything yet. A webhook sends each event to an address of yours.</p>`;
    return html`<ul class="rows">
      ${repeat(
        webhooks,
        (webhook) => webhook.id,
        (webhook) => html`<li class="panel" data-webhook=${webhook.id}>${this.#row(webhook)}</li>`,
      )}
    </ul>`;
  }

  #row(webhook: Webhook): TemplateResult {
    const { id, url, enabled } = webhook;
    const opened = this.opened === id;
    return html`<div class="row-text">
        <p class="row-title"><code>${url}</code>${enabled ? nothing : html`<tally-lamp state="off_air">disabled</tally-lamp>`}</p>
        <p class="muted">${[webhook.stream ?? "all streams", webhook.events.join(", "), webhook.owner ? `owned by ${webhook.owner}` : ""].filter(Boolean).join(" · ")}</p>
        <p class="muted">${lastDelivery(webhook)}</p>
      </div>
      <div class="row-actions">
        ${action("Test", url, () => void this.#test(id))}
        <button class="button small" type="button" aria-expanded=${opened} aria-label="Deliveries to ${url}" @click=${() => this.#toggle(id)}>Deliveries</button>
        ${action("Edit", url, () => void this.#edit(webhook))}
        ${action(enabled ? "Disable" : "Enable", url, () => void this.run(() => changeWebhook(id, { enabled: !enabled })))}
        ${action("New secret", `for ${url}`, () => void this.#rotate(webhook))}
        ${action("Delete", url, () => void this.#delete(webhook), true)}
      </div>
      ${opened ? html`<tl-deliveries webhook=${id}></tl-deliveries>` : nothing}`;
  }

  #toggle(id: string): void {
    this.opened = this.opened === id ? null : id;
  }

  async #test(id: string): Promise<void> {
    await this.run(() => testWebhook(id));
    this.opened = id; // where its outcome appears
  }

  async #create(): Promise<void> {
    const streams = await fetchStreams(AbortSignal.timeout(STREAMS_TIMEOUT_MS)).catch(() => []);
    await askForm({
      title: "New webhook",
      fields: [
        urlField(""),
        eventsField(["broadcast.started", "broadcast.ended"]),
        {
          name: "stream",
          label: "Stream",
          kind: "select",
          choices: [{ value: "", label: "All streams" }, ...streams.map(({ name }) => ({ value: name, label: name }))],
        },
      ],
      submit: "Make webhook",
      action: async (values) => {
        const stream = values.text("stream");
        const made = await createWebhook({
          url: values.text("url").trim(),
          events: values.chosen("events"),
          ...(stream === "" ? {} : { stream }),
        });
        this.#show(made.url, made.secret);
      },
    });
    this.refresh();
  }

  async #edit(webhook: Webhook): Promise<void> {
    await askForm({
      title: "Edit webhook",
      fields: [urlField(webhook.url), eventsField(webhook.events)],
      submit: "Save",
      action: (values) =>
        changeWebhook(webhook.id, { url: values.text("url").trim(), events: values.chosen("events") }),
    });
    this.refresh();
  }

  async #rotate(webhook: Webhook): Promise<void> {
    await askForm({
      title: "New secret?",
      text: "What is sent from now on is signed with the new one; the receiver has to know it.",
      submit: "Make a new secret",
      danger: true,
      action: async () => this.#show(webhook.url, (await rotateWebhookSecret(webhook.id)).secret),
    });
    this.refresh();
  }

  async #delete(webhook: Webhook): Promise<void> {
    await askForm({
      title: "Delete this webhook?",
      text: `${webhook.url} is told nothing any more, and the log of its deliveries goes.`,
      submit: "Delete webhook",
      danger: true,
      action: () => deleteWebhook(webhook.id),
    });
    this.refresh();
  }

  #show(url: string, secret: string): void {
    this.secret = {
      title: `Secret for ${url}`,
      text: "It is shown this once. The receiver checks signatures with it (Standard Webhooks).",
      fields: [{ label: "Secret", value: secret, secret: true }],
    };
  }
}

function lastDelivery({ last_delivery: last }: Webhook): string {
  if (!last) return "Nothing has been sent yet.";
  const now = Date.now();
  return `Last: ${last.event} ${ago(last.created_at, now)}, ${last.status}, ${deliveryText(last, now)}.`;
}
