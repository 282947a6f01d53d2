import { html, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import { CircleUserRound, LogOut, Menu } from "lucide";
import { onceSessionIsKnown, signInAddress, type User } from "../api/session";
import { element } from "./element";
import { icon } from "./icon";
import { leave } from "./leave";
import { LightElement } from "./light_element";

export type PageName = "index" | "watch" | "studio" | "dashboard" | "sign-in" | "account";

interface Place {
  page: PageName;
  href: string;
  text: string;
}

/** Where this person can go; a viewer's account cannot go on air, and the dashboard is the operators'. Pure. */
export function placesFor(user: User | null): Place[] {
  const places: Place[] = [{ page: "index", href: "/", text: "On air" }];
  if (user?.role !== "viewer") places.push({ page: "studio", href: "/studio", text: "Studio" });
  if (user?.role === "admin") places.push({ page: "dashboard", href: "/dashboard", text: "Dashboard" });
  return places;
}

/** What stands at the bar's right end, before the account; undefined: the way to go live; null: nothing. */
type Status = TemplateResult | null | undefined;

/** The bar on top of every page. */
export function siteHeader(page: PageName, status?: Status): TemplateResult {
  return html`<tl-site-header .page=${page} .status=${status}></tl-site-header>`;
}

function goLive(places: Place[]): TemplateResult | typeof nothing {
  const allowed = places.some((place) => place.page === "studio");
  return allowed ? html`<a class="button small" href="/studio">Go live</a>` : nothing;
}

@element("tl-site-header")
export class SiteHeader extends LightElement {
  @property({ attribute: false }) page: PageName = "index";
  @property({ attribute: false }) status: Status;
  /** Undefined while the server has not said: no flash of "Sign in" for those who are. */
  @state() private user: User | null | undefined;
  /** Why signing out did not work, as a sentence. */
  @state() private problem = "";

  #stopAsking: () => void = () => undefined;

  readonly #onPointer = (event: PointerEvent): void => {
    if (!event.composedPath().includes(this)) this.#closeMenu();
  };
  readonly #onKey = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && this.#menu?.open) {
      this.#closeMenu();
      this.#menu.querySelector("summary")?.focus();
    }
  };

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("pointerdown", this.#onPointer);
    document.addEventListener("keydown", this.#onKey);
    this.#stopAsking = onceSessionIsKnown((user) => {
      this.user = user;
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#stopAsking();
    document.removeEventListener("pointerdown", this.#onPointer);
    document.removeEventListener("keydown", this.#onKey);
  }

  override render(): TemplateResult {
    const places = placesFor(this.user ?? null);
    return html`<header class="site-header">
      <div>
        <a class="brand" href="/">Tallylight</a>
        <nav aria-label="Pages">${places.map((place) => this.#link(place, "nav-item"))}</nav>
        <span class="header-status">${this.status === undefined ? goLive(places) : this.status}</span>
        ${this.#account(places)}
      </div>
    </header>`;
  }

  #link({ page, href, text }: Place, kind: "nav-item" | "menu-item"): TemplateResult {
    return html`<a class=${kind} href=${href} aria-current=${page === this.page ? "page" : nothing}>${text}</a>`;
  }

  /** The account; on phones the pages as well, because the bar has no room for them. */
  #account(places: Place[]): TemplateResult {
    const { user } = this;
    const name = user?.name ?? "";
    return html`<details class="menu ${user ? "" : "anonymous"}" id="account-menu">
      <summary class="button small" aria-label=${user ? `Account of ${name}` : "Menu"}>
        ${icon(user ? CircleUserRound : Menu, 18)}${user ? html`<span class="menu-name">${name}</span>` : nothing}
      </summary>
      <div class="menu-list">
        <div class="menu-places">${places.map((place) => this.#link(place, "menu-item"))}</div>
        ${user ? this.#signedIn(user) : this.#signInLink()}
      </div>
    </details>
    ${user === null && this.page !== "sign-in" ? html`<a class="button small sign-in" href=${signInAddress()}>Sign in</a>` : nothing}`;
  }

  #signInLink(): TemplateResult {
    return html`<a class="menu-item" href=${signInAddress()}>Sign in</a>`;
  }

  #signedIn(user: User): TemplateResult {
    return html`<p class="muted">Signed in as ${user.name}, ${user.role}</p>
      <a class="menu-item" href="/account" aria-current=${this.page === "account" ? "page" : nothing}>Account</a>
      <button class="menu-item" type="button" id="sign-out" @click=${this.#signOut}>${icon(LogOut, 16)} Sign out</button>
      <p class="problem" role="alert">${this.problem}</p>`;
  }

  get #menu(): HTMLDetailsElement | null {
    return this.querySelector("details");
  }

  #closeMenu(): void {
    if (this.#menu) this.#menu.open = false;
  }

  readonly #signOut = async (): Promise<void> => {
    this.problem = "";
    try {
      await leave();
      location.assign("/");
    } catch (error) {
      // A server that is away has not ended the session: say so, or whoever leaves believes it did.
      this.problem = `You are still signed in. ${error instanceof Error ? error.message : String(error)}`;
    }
  };
}
