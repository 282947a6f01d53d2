import { html, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { KeyRound } from "lucide";
import { ProblemError } from "../api/session";
import { createPlaybackToken } from "../api/watch_access";
import "../components/copy_field";
import { element } from "../components/element";
import { icon } from "../components/icon";
import { LightElement } from "../components/light_element";

/** A link handed out works for this long: an evening's broadcast and a late start. */
const LINK_LIFETIME_S = 24 * 3600;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** The address people watch a stream at. Pure. */
export function watchAddress(origin: string, stream: string): string {
  return `${origin}/watch/${encodeURIComponent(stream)}`;
}

/** HTML that puts the player into another site. Pure. */
export function embedSnippet(origin: string, stream: string): string {
  return [
    `<script src="${escaped(origin)}/tallylight-player.js"></script>`,
    `<tallylight-player stream="${escaped(stream)}"></tallylight-player>`,
  ].join("\n");
}

/** How to show a stream to others: its link, and HTML for another site. */
@element("tl-share")
export class Share extends LightElement {
  @property() stream = "";
  @property({ type: Boolean }) private = false;
  /** Whether this person may hand out links to a private stream. */
  @property({ type: Boolean }) owner = false;
  @state() private link = "";
  @state() private problem = "";

  override render(): TemplateResult {
    const address = watchAddress(location.origin, this.stream);
    return html`<section class="panel share" id="share">
      <h2>Share</h2>
      <tl-copy-field label="Link" value=${address}></tl-copy-field>
      ${this.private ? this.#privateLink() : html`<tl-copy-field label="For your own site" value=${embedSnippet(location.origin, this.stream)}></tl-copy-field>`}
    </section>`;
  }

  #privateLink(): TemplateResult {
    return html`<p class="muted">This stream is private: the link above asks people to sign in.</p>
      ${
        this.owner
          ? html`<button class="button small" type="button" id="make-link" @click=${this.#make}>${icon(KeyRound, 16)} Make a link for 24 hours</button>`
          : nothing
      }
      <div role="status">
        ${this.link ? html`<tl-copy-field label="Link for 24 hours" value=${this.link}></tl-copy-field>` : this.problem}
      </div>`;
  }

  readonly #make = async (): Promise<void> => {
    try {
      const { token } = await createPlaybackToken(this.stream, LINK_LIFETIME_S);
      this.link = `${watchAddress(location.origin, this.stream)}?token=${encodeURIComponent(token)}`;
      this.problem = "";
    } catch (error) {
      this.problem = error instanceof ProblemError ? error.message : "The link could not be made.";
    }
  };
}
