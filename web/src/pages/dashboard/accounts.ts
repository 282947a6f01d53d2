import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Plus } from "lucide";
import {
  type Account,
  changeAccount,
  createAccount,
  deleteAccount,
  fetchAccounts,
  newPassword,
} from "../../api/accounts";
import { fetchSession, type Role } from "../../api/session";
import { element } from "../../components/element";
import { askForm, type FormChoice, type FormField } from "../../components/form_dialog";
import { icon } from "../../components/icon";
import { ago } from "../../format";
import { action, Section } from "./section";

const ROLES: FormChoice[] = [
  { value: "viewer", label: "Viewer: watches private streams" },
  { value: "streamer", label: "Streamer: has streams of their own" },
  { value: "admin", label: "Admin: may do everything" },
];

const roleField = (value: Role): FormField => ({ name: "role", label: "Role", kind: "select", choices: ROLES, value });

/** Who may sign in, and what they may do. */
@element("tl-accounts-section")
export class AccountsSection extends Section<Account> {
  @state() private me: string | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    fetchSession().then(
      (user) => {
        this.me = user?.name ?? null;
      },
      () => undefined, // only marks the own row
    );
  }

  protected override load(signal: AbortSignal): Promise<readonly Account[]> {
    return fetchAccounts(signal);
  }

  override render(): TemplateResult {
    return html`<div class="section-head">
        <h2>Accounts</h2>
        <button class="button" type="button" id="new-account" @click=${() => void this.#create()}>${icon(Plus, 16)} New account</button>
      </div>
      ${this.notices()}
      ${
        this.items === null
          ? html`<p class="muted">Asking for the accounts.</p>`
          : html`<ul class="rows">
            ${repeat(
              this.items,
              (account) => account.name,
              (account) => html`<li class="panel" data-account=${account.name}>${this.#row(account)}</li>`,
            )}
          </ul>`
      }`;
  }

  #row(account: Account): TemplateResult {
    const { name, disabled } = account;
    const seen = ago(account.last_seen_at, Date.now());
    const made = ago(account.created_at, Date.now());
    return html`<div class="row-text">
        <p class="row-title">
          <strong>${name}</strong><span class="mark">${account.role}</span>
          ${name === this.me ? html`<span class="mark">this is you</span>` : nothing}
          ${disabled ? html`<tally-lamp state="off_air">disabled</tally-lamp>` : nothing}
        </p>
        <p class="muted">${[seen ? `last seen ${seen}` : "never signed in", made ? `made ${made}` : ""].filter(Boolean).join(" · ")}</p>
      </div>
      <div class="row-actions">
        ${action("Change role", `of ${name}`, () => void this.#changeRole(account))}
        ${action("New password", `for ${name}`, () => void this.#resetPassword(name))}
        ${
          disabled
            ? action("Enable", name, () => void this.run(() => changeAccount(name, { disabled: false })))
            : action("Disable", name, () => void this.#disable(name))
        }
        ${action("Delete", name, () => void this.#delete(name), true)}
      </div>`;
  }

  async #create(): Promise<void> {
    await askForm({
      title: "New account",
      fields: [{ name: "name", label: "Name", kind: "text", required: true, maxLength: 64 }, roleField("streamer")],
      submit: "Make account",
      action: async (values) => {
        const account = await createAccount({ name: values.text("name").trim(), role: values.text("role") as Role });
        this.#show(account.name, account.password);
      },
    });
    this.refresh();
  }

  async #changeRole(account: Account): Promise<void> {
    await askForm({
      title: `Role of ${account.name}`,
      fields: [roleField(account.role)],
      submit: "Save",
      action: (values) => changeAccount(account.name, { role: values.text("role") as Role }),
    });
    this.refresh();
  }

  async #resetPassword(name: string): Promise<void> {
    await askForm({
      title: `New password for ${name}?`,
      text: "The old one stops working, and the account is signed out everywhere.",
      submit: "Make a new password",
      danger: true,
      action: async () => {
        const password = newPassword();
        await changeAccount(name, { password });
        this.#show(name, password);
      },
    });
    this.refresh();
  }

  async #disable(name: string): Promise<void> {
    await askForm({
      title: `Disable ${name}?`,
      text: "The account is signed out and can no longer sign in. It can be enabled again.",
      submit: "Disable account",
      danger: true,
      action: () => changeAccount(name, { disabled: true }),
    });
    this.refresh();
  }

  async #delete(name: string): Promise<void> {
    await askForm({
      title: `Delete ${name}?`,
      text: "The account and its tokens go. Its streams stay, owned by nobody, off air and with keys that nobody has. This cannot be taken back.",
      submit: "Delete account",
      danger: true,
      action: () => deleteAccount(name),
    });
    this.refresh();
  }

  #show(name: string, password: string): void {
    this.secret = {
      title: `Password of ${name}`,
      text: "It is shown this once. Hand it over safely; it can be changed on the account page after signing in.",
      fields: [
        { label: "Sign in at", value: `${location.origin}/sign-in`, secret: false },
        { label: "Password", value: password, secret: true },
      ],
    };
  }
}
