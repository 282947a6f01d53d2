import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Plus } from "lucide";
import { type Account, fetchAccounts } from "../../api/accounts";
import { fetchServerConfig, rtmpServer } from "../../api/server_config";
import { request } from "../../api/session";
import { changeStream, createStream, endPublisher, rotateKey, type StreamWithKey } from "../../api/streams";
import type { StreamStatus } from "../../api/types";
import { element } from "../../components/element";
import { askForm, type FormField } from "../../components/form_dialog";
import { icon } from "../../components/icon";
import { visibilityMark } from "../../components/visibility";
import { ago } from "../../format";
import { aboutFields, aboutOf, NAME_FIELD } from "../../studio/stream_form";
import { action, Section } from "./section";

const path = (name: string, tail = ""): string => `/api/streams/${encodeURIComponent(name)}${tail}`;

/** Every stream of the server, its key and who owns it. */
@element("tl-streams-section")
export class StreamsSection extends Section<StreamStatus> {
  protected override async load(signal: AbortSignal): Promise<readonly StreamStatus[]> {
    return (await request<{ streams: StreamStatus[] }>("GET", "/api/streams", undefined, signal)).streams;
  }

  override render(): TemplateResult {
    return html`<div class="section-head">
        <h2>Streams and keys</h2>
        <button class="button" type="button" id="new-stream" @click=${() => void this.#create()}>${icon(Plus, 16)} New stream</button>
      </div>
      ${this.notices()}
      ${this.items === null ? html`<p class="muted">Asking for the streams.</p>` : this.#list(this.items)}`;
  }

  #list(streams: readonly StreamStatus[]): TemplateResult {
    if (streams.length === 0) return html`<p class="muted">There is no stream yet. Make one to get a key for it.</p>`;
    return html`<ul class="rows">
      ${repeat(
        streams,
        (stream) => stream.name,
        (stream) => html`<li class="panel" data-stream=${stream.name}>${this.#row(stream)}</li>`,
      )}
    </ul>`;
  }

  #row(stream: StreamStatus): TemplateResult {
    const { name } = stream;
    const onAir = stream.session != null || stream.status === "ON_AIR";
    const key = ago(stream.key_created_at ?? null, Date.now());
    return html`<div class="row-text">
        <p class="row-title">
          <tally-lamp state=${stream.status === "ON_AIR" ? "on_air" : "off_air"}></tally-lamp>
          <strong>${name}</strong>${stream.title && stream.title !== name ? html`<span>${stream.title}</span>` : nothing}
          ${visibilityMark(stream.visibility)}
        </p>
        <p class="muted">
          ${[stream.status === "ON_AIR" ? "On air" : "Off air", stream.owner ? `owned by ${stream.owner}` : "nobody's own", key ? `key made ${key}` : ""].filter(Boolean).join(" · ")}
        </p>
      </div>
      <div class="row-actions">
        ${onAir ? action("Cut publisher", `of ${name}`, () => void this.#cut(name), true) : nothing}
        ${action("Edit", name, () => void this.#edit(stream))} ${action("New key", `for ${name}`, () => void this.#rotate(name))}
        ${action("Delete", name, () => void this.#delete(name), true)}
      </div>`;
  }

  async #create(): Promise<void> {
    await askForm({
      title: "New stream",
      fields: [NAME_FIELD, ...aboutFields(null)],
      submit: "Make stream",
      action: async (values) => {
        const stream = await createStream({ name: values.text("name").trim(), ...aboutOf(values) });
        await this.#show(stream, "Stream made");
      },
    });
    this.refresh();
  }

  async #edit(stream: StreamStatus): Promise<void> {
    const accounts = await fetchAccounts().catch((): Account[] => []);
    await askForm({
      title: `Edit ${stream.name}`,
      fields: [...aboutFields(stream), ownerField(stream, accounts)],
      submit: "Save",
      action: (values) =>
        changeStream(stream.name, { ...aboutOf(values), ...ownerChange(stream, values.text("owner")) }),
    });
    this.refresh();
  }

  async #rotate(name: string): Promise<void> {
    await askForm({
      title: `New key for ${name}?`,
      text: "The old key stops working at once, and whoever sends with it is cut.",
      submit: "Make a new key",
      danger: true,
      action: async () => this.#show(await rotateKey(name), "New key"),
    });
    this.refresh();
  }

  async #cut(name: string): Promise<void> {
    await askForm({
      title: `Cut the publisher of ${name}?`,
      text: "The broadcast loses its picture. The key still works: to keep the publisher out, make a new key.",
      submit: "Cut publisher",
      danger: true,
      action: () => endPublisher(name),
    });
    this.refresh();
  }

  async #delete(name: string): Promise<void> {
    await askForm({
      title: `Delete ${name}?`,
      text: "Its key stops working, and a running broadcast ends. This cannot be taken back.",
      submit: "Delete stream",
      danger: true,
      action: () => request("DELETE", path(name)),
    });
    this.refresh();
  }

  async #show(stream: StreamWithKey, title: string): Promise<void> {
    const { rtmp } = await fetchServerConfig();
    this.secret = {
      title: `${title}: ${stream.name}`,
      text: "The key is shown this once. Give it to whoever sends, or copy it into OBS.",
      fields: [
        { label: "Server", value: rtmpServer(location.hostname, rtmp.port), secret: false },
        { label: "Stream key", value: stream.key, secret: true },
      ],
    };
  }
}

/** Whom the stream can belong to. Its present owner is always among them, also when the accounts are not known. Pure. */
export function ownerField(stream: StreamStatus, accounts: readonly Account[]): FormField {
  const owner = stream.owner ?? "";
  const owners = accounts.filter(({ name, role }) => role !== "viewer" || name === owner);
  const choices = owners.map(({ name, role }) => ({ value: name, label: `${name} (${role})` }));
  if (owner !== "" && !choices.some(({ value }) => value === owner)) choices.unshift({ value: owner, label: owner });
  return {
    name: "owner",
    label: "Owner",
    kind: "select",
    help: "A streamer changes and sends to their own streams only.",
    value: owner,
    choices: [{ value: "", label: "Nobody" }, ...choices],
  };
}

/** The new owner, and nothing when it stays: somebody else may have changed it meanwhile. Pure. */
export function ownerChange(stream: StreamStatus, chosen: string): { owner?: string | null } {
  return chosen === (stream.owner ?? "") ? {} : { owner: chosen || null };
}
