import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { fetchSession, forgetSession, localNext, type Role, signIn } from "../api/session";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import "../components/lamp";
import { LightElement } from "../components/light_element";

/** The session's cookie is only kept where nobody on the way can read it. */
export const INSECURE =
  "Signing in needs https, or localhost: on this address the browser will not keep it. Open this page by https.";
/** Some browsers (Safari) do not even trust localhost. */
const NOT_KEPT =
  "The password is right, but this browser did not keep the sign-in. Open this page by https and allow its cookie.";

/** Where people of a role go who came from nowhere in particular. Pure. */
export function homeOf(role: Role): string {
  return role === "viewer" ? "/" : "/studio";
}

@element("tl-sign-in-page")
export class SignInPage extends LightElement {
  @state() private problem: string | null = null;
  @state() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#leaveIfSignedIn();
  }

  override render(): TemplateResult {
    return html`${siteHeader("sign-in", null)}
      <main id="main" class="narrow">
        <form class="panel" id="sign-in-form" @submit=${this.#submit}>
          <h1>Sign in</h1>
          ${
            window.isSecureContext
              ? nothing
              : html`<div class="notice" id="insecure"><tally-lamp state="warn"></tally-lamp><p>${INSECURE}</p></div>`
          }
          <label class="field"><span>Name</span>
            <input name="name" id="user-name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus />
          </label>
          <label class="field"><span>Password</span>
            <input name="password" id="password" type="password" autocomplete="current-password" required />
          </label>
          <p class="problem" role="alert" id="problem">${this.problem ?? ""}</p>
          <button class="button primary wide" id="sign-in" ?disabled=${this.busy}>${this.busy ? "Signing in" : "Sign in"}</button>
          <p class="hint muted">The first account is called admin; the server printed its password when it started for the first time. Watching public streams needs no account.</p>
        </form>
      </main>`;
  }

  async #leaveIfSignedIn(): Promise<void> {
    const user = await fetchSession().catch(() => null);
    if (user) location.replace(localNext(location.search, homeOf(user.role)));
  }

  readonly #submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const data = new FormData(event.target as HTMLFormElement);
    this.busy = true;
    this.problem = null;
    try {
      const user = await signIn(String(data.get("name")).trim(), String(data.get("password")));
      forgetSession();
      if (await fetchSession()) location.assign(localNext(location.search, homeOf(user.role)));
      else this.problem = window.isSecureContext ? NOT_KEPT : INSECURE;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.querySelector<HTMLInputElement>("#password")?.select();
    } finally {
      this.busy = false;
    }
  };
}
