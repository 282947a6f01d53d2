import { html, nothing, type TemplateResult } from "lit";
import { ExternalLink, Eye, EyeOff, Pencil, Plus, RotateCcwKey } from "lucide";
import { signInAddress } from "../api/session";
import type { OwnStream } from "../api/streams";
import { icon } from "../components/icon";
import { visibilityMark } from "../components/visibility";
import type { StreamController } from "./stream_controller";

export interface StreamPanelFacts {
  stream: StreamController;
  /** Which stream and key is settled while this page sends. */
  sending: boolean;
  keyShown: boolean;
  onKey(key: string): void;
  onToggleKey(): void;
  onCreate(): void;
  onEdit(stream: OwnStream): void;
  onRotate(stream: OwnStream): void;
}

const KEY_UNKNOWN =
  "The server shows a key once and keeps only its fingerprint, and this browser does not know it: paste it, or rotate it to get a new one.";

/** The stream this page is about and its key: picked by those who have streams, named by those who only have a key. */
export function streamPanel(facts: StreamPanelFacts): TemplateResult {
  const { stream } = facts;
  return html`<section class="panel" id="stream">
    <h2>STREAM</h2>
    ${stream.mode === "asking" ? html`<p class="muted">Asking the server who you are.</p>` : nothing}
    ${stream.mode === "owner" ? owner(facts) : nothing}
    ${stream.mode === "guest" ? guest(facts) : nothing}
    ${stream.name === "" || stream.mode === "asking" ? nothing : ending(facts)}
  </section>`;
}

function ending({ stream, onRotate }: StreamPanelFacts): TemplateResult {
  const { name, own } = stream;
  return html`<div class="stream-ending">
    <a class="hint" href="/watch/${encodeURIComponent(name)}" target="_blank" rel="noopener">Open the watch page ${icon(ExternalLink, 14)}</a>
    ${own ? html`<button class="button small" type="button" id="rotate-key" @click=${() => onRotate(own)}>${icon(RotateCcwKey, 16)} Rotate key</button>` : nothing}
  </div>`;
}

function owner(facts: StreamPanelFacts): TemplateResult {
  const { stream, sending, onCreate } = facts;
  const own = stream.own;
  if (stream.trouble !== null) return html`<p role="alert">${stream.trouble} Reload the page to try again.</p>`;
  if (stream.streams.length === 0) {
    return html`<p class="muted">You have no stream yet. A stream is an address where people watch you, again and again.</p>
      <p class="hint"><button class="button primary" type="button" id="create-stream" @click=${onCreate}>${icon(Plus, 16)} Create your first stream</button></p>`;
  }
  return html`<div class="with-button">
      <select
        id="stream-select"
        aria-label="Stream"
        ?disabled=${sending}
        @change=${(event: Event) => stream.choose((event.target as HTMLSelectElement).value)}
      >
        ${own || stream.name === "" ? nothing : html`<option selected value=${stream.name}>${stream.name} (not yours)</option>`}
        ${stream.streams.map(({ name, title }) => html`<option value=${name} ?selected=${name === stream.name}>${title && title !== name ? `${name}: ${title}` : name}</option>`)}
      </select>
      <button class="button small" type="button" id="create-stream" aria-label="New stream" ?disabled=${sending} @click=${onCreate}>${icon(Plus, 16)} New</button>
    </div>
    ${own ? about(facts, own) : nothing}
    <form class="fields" @submit=${(event: Event) => event.preventDefault()}>${keyField(facts)}</form>
    <p class="hint muted">${stream.key === "" ? KEY_UNKNOWN : "This browser remembers the key until you sign out."}</p>`;
}

function about({ onEdit }: StreamPanelFacts, own: OwnStream): TemplateResult {
  return html`<div class="stream-about">
    <p>${own.title || html`<span class="muted">No title yet</span>`} ${visibilityMark(own.visibility)}${own.description ? html`<br /><span class="muted">${own.description}</span>` : nothing}</p>
    <button class="button small" type="button" id="edit-stream" aria-label="Edit title, description and visibility" @click=${() => onEdit(own)}>${icon(Pencil, 16)} Edit</button>
  </div>`;
}

function guest(facts: StreamPanelFacts): TemplateResult {
  const { stream, sending } = facts;
  return html`<form class="fields" @submit=${(event: Event) => event.preventDefault()}>
      <label for="stream-name">Name</label>
      <input
        id="stream-name"
        autocomplete="off"
        autocapitalize="none"
        spellcheck="false"
        .value=${stream.name}
        ?disabled=${sending}
        @change=${(event: Event) => stream.choose((event.target as HTMLInputElement).value)}
      />
      ${keyField(facts)}
    </form>
    <p class="hint muted" id="guest-note">${
      stream.user
        ? `Your account may watch, not own streams: with a stream key you can still go live. An admin can make it a streamer's.`
        : html`With a stream key you can go live without an account. <a href=${signInAddress()}>Sign in</a> to pick and create streams, rotate keys, end a broadcast of OBS and read why one was refused.`
    }</p>`;
}

function keyField({ stream, sending, keyShown, onKey, onToggleKey }: StreamPanelFacts): TemplateResult {
  return html`<label for="stream-key">Stream key</label>
    <span class="with-button">
      <input
        id="stream-key"
        type=${keyShown ? "text" : "password"}
        autocomplete="off"
        spellcheck="false"
        placeholder="paste it here"
        .value=${stream.key}
        ?disabled=${sending}
        @input=${(event: Event) => onKey((event.target as HTMLInputElement).value)}
      />
      <button class="button small" type="button" aria-pressed=${keyShown} aria-label=${keyShown ? "Hide the stream key" : "Show the stream key"} @click=${onToggleKey}>${icon(keyShown ? EyeOff : Eye, 16)}</button>
    </span>`;
}
