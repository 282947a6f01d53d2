import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { LogOut, Plus, Trash2 } from "lucide";
import { fetchSession, signInAddress, type User } from "../api/session";
import {
  type ApiToken,
  changePassword,
  createToken,
  type FreshToken,
  fetchTokens,
  revokeToken,
  scopesFor,
} from "../api/tokens";
import "../components/copy_field";
import { element } from "../components/element";
import { askForm } from "../components/form_dialog";
import { siteHeader } from "../components/header";
import { icon } from "../components/icon";
import "../components/lamp";
import { leave } from "../components/leave";
import { LightElement } from "../components/light_element";
import { ago } from "../format";

/** The server's bounds; the browser says them before a request does. */
const PASSWORD_MIN = 8;
const TOKEN_NAME_MAX = 100;
/** Tokens that live for ever are forgotten and leak; for ever must be chosen. */
const LIFETIMES = [
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "a year" },
  { value: "", label: "no end" },
];
const LIFETIME_DEFAULT = "90";

const ROLES = {
  admin: "You may do everything on this server.",
  streamer: "You may create streams and manage your own.",
  viewer: "You may watch private streams.",
};

/** The signed-in person's own things: password, API tokens, leaving. */
@element("tl-account-page")
export class AccountPage extends LightElement {
  @state() private user: User | null = null;
  @state() private tokens: ApiToken[] | null = null;
  @state() private fresh: FreshToken | null = null;
  @state() private problem: string | null = null;
  @state() private passwordProblem: string | null = null;
  @state() private passwordChanged = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#learn();
  }

  async #learn(): Promise<void> {
    await this.#try(async () => {
      this.user = await fetchSession();
      if (!this.user) location.replace(signInAddress());
      else this.tokens = await fetchTokens();
    });
  }

  override render(): TemplateResult {
    return html`${siteHeader("account", null)}
      <main id="main" class="narrow">
        <div>
          <h1>Account</h1>
          <p class="problem" role="alert" id="problem">${this.problem ?? ""}</p>
        </div>
        ${this.user ? html`${this.#who(this.user)}${this.#password()}${this.#tokens(this.user)}` : nothing}
      </main>`;
  }

  #who(user: User): TemplateResult {
    return html`<section class="panel who" id="who">
      <p><strong>${user.name}</strong>, ${user.role}<br /><span class="muted">${ROLES[user.role]}</span></p>
      <button class="button" type="button" id="leave" @click=${this.#leave}>${icon(LogOut, 16)} Sign out</button>
    </section>`;
  }

  #password(): TemplateResult {
    return html`<form class="panel" id="password-form" @submit=${this.#changePassword}>
      <h2>PASSWORD</h2>
      <input hidden autocomplete="username" .value=${this.user?.name ?? ""} readonly />
      <label class="field"><span>Present password</span>
        <input name="old" type="password" autocomplete="current-password" required />
      </label>
      <label class="field"><span>New password</span>
        <input name="new" type="password" autocomplete="new-password" minlength=${PASSWORD_MIN} required />
      </label>
      <label class="field"><span>New password, once more</span>
        <input name="again" type="password" autocomplete="new-password" required />
      </label>
      <p class="problem" role="alert">${this.passwordProblem ?? ""}</p>
      <div class="form-actions">
        <span class="muted grow" role="status">${this.passwordChanged ? "Changed. Other browsers were signed out." : ""}</span>
        <button class="button primary" id="change-password">Change password</button>
      </div>
    </form>`;
  }

  #tokens(user: User): TemplateResult {
    const tokens = this.tokens;
    return html`<section class="panel" id="tokens">
      <div class="panel-head">
        <h2>API TOKENS</h2>
        <button class="button small" type="button" id="create-token" @click=${() => void this.#create(user)}>${icon(Plus, 16)} New token</button>
      </div>
      <p class="muted">For programs that act in your name. A token never may more than you do.</p>
      ${this.fresh ? this.#freshToken(this.fresh) : nothing}
      ${tokens === null ? nothing : tokens.length === 0 ? html`<p class="muted">None yet.</p>` : html`<ul class="tokens">${tokens.map((token) => this.#token(token))}</ul>`}
    </section>`;
  }

  #freshToken({ name, token }: FreshToken): TemplateResult {
    return html`<div class="notice" role="status" id="new-token">
      <tally-lamp state="ok"></tally-lamp>
      <div class="grow">
        <p><strong>Copy the token ${name} now.</strong> It is shown this once; the server keeps only its fingerprint.</p>
        <tl-copy-field label="Token" value=${token}></tl-copy-field>
      </div>
    </div>`;
  }

  #token(token: ApiToken): TemplateResult {
    const now = Date.now();
    const used = ago(token.last_used_at, now);
    const over = token.expires_at !== null && Date.parse(token.expires_at) < now;
    return html`<li>
      <div class="grow">
        <strong>${token.name}</strong> <span class="muted">${token.scopes.join(", ")}</span><br />
        <span class="muted">made ${ago(token.created_at, now)}, ${used ? `last used ${used}` : "never used"}, ${lifetime(token.expires_at, over)}</span>
      </div>
      <button class="button small danger" type="button" aria-label="Revoke ${token.name}" @click=${() => void this.#revoke(token)}>${icon(Trash2, 16)} Revoke</button>
    </li>`;
  }

  async #create(user: User): Promise<void> {
    await askForm({
      title: "New API token",
      fields: [
        { name: "name", label: "What it is for", kind: "text", required: true, maxLength: TOKEN_NAME_MAX },
        { name: "scopes", label: "It may", kind: "checks", choices: scopesFor(user.role), value: ["read"] },
        { name: "days", label: "It works for", kind: "select", choices: LIFETIMES, value: LIFETIME_DEFAULT },
      ],
      submit: "Create token",
      action: async (values) => {
        const name = values.text("name").trim();
        const days = Number(values.text("days"));
        const wanted = { name, scopes: values.chosen("scopes") };
        this.fresh = await createToken(days > 0 ? { ...wanted, expires_in_days: days } : wanted);
      },
    });
    await this.#reload();
  }

  async #revoke(token: ApiToken): Promise<void> {
    const revoked = await askForm({
      title: `Revoke ${token.name}?`,
      text: "Programs that use it are refused from now on. This cannot be taken back.",
      submit: "Revoke",
      danger: true,
      action: () => revokeToken(token.id),
    });
    // Two tokens may have one name.
    if (revoked && this.fresh?.id === token.id) this.fresh = null;
    await this.#reload();
  }

  async #reload(): Promise<void> {
    await this.#try(async () => {
      this.tokens = await fetchTokens();
    });
  }

  readonly #changePassword = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const data = new FormData(form);
    this.passwordChanged = false;
    this.passwordProblem = null;
    if (data.get("new") !== data.get("again")) {
      this.passwordProblem = "The two new passwords are not the same. Type the new one twice.";
      return;
    }
    try {
      await changePassword(String(data.get("old")), String(data.get("new")));
      this.passwordChanged = true;
      form.reset();
    } catch (error) {
      this.passwordProblem = error instanceof Error ? error.message : String(error);
    }
  };

  readonly #leave = async (): Promise<void> => {
    await this.#try(async () => {
      await leave();
      location.assign("/");
    });
  };

  async #try(action: () => Promise<void>): Promise<void> {
    this.problem = null;
    try {
      await action();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  }
}

function lifetime(expiresAt: string | null, over: boolean): string {
  if (expiresAt === null) return "works without end";
  const day = new Date(expiresAt).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
  return over ? `expired on ${day}` : `works until ${day}`;
}
