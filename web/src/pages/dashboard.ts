import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Dashboard, DashboardFeed } from "../api/dashboard";
import { fetchSession, signInAddress, type User } from "../api/session";
import { Announcement } from "../components/announcement";
import "../components/broadcast_list";
import { element } from "../components/element";
import { siteHeader } from "../components/header";
import "../components/lamp";
import { LightElement } from "../components/light_element";
import { age, watching } from "../format";
import "./dashboard/accounts";
import "./dashboard/events";
import { isOnAir, sortStreams, summary, summaryState, totalViewers } from "./dashboard/model";
import { processorList, processTable } from "./dashboard/parts";
import { streamPanel } from "./dashboard/stream_panel";
import "./dashboard/streams";
import { totals } from "./dashboard/totals";
import "./dashboard/webhooks";

const SECTIONS = {
  now: "Now",
  streams: "Streams",
  broadcasts: "Broadcasts",
  accounts: "Accounts",
  webhooks: "Webhooks",
};
type SectionName = keyof typeof SECTIONS;

/** The section in an address: "#accounts"; null for places on the page, such as the target of "Skip to content". Pure. */
export function sectionFrom(hash: string): SectionName | null {
  const name = hash.replace(/^#/, "");
  if (name === "") return "now";
  return Object.hasOwn(SECTIONS, name) ? (name as SectionName) : null;
}

/** The operator's page: which link broke and what to do, what the server carries, and what there is to administer. */
@element("tl-dashboard-page")
export class DashboardPage extends LightElement {
  /** Undefined until the server has said who this is. */
  @state() private user: User | null | undefined;
  @state() private dashboard: Dashboard | null = null;
  @state() private section = sectionFrom(location.hash) ?? "now";
  @state() private lost = false;
  @state() private refusal = "";
  readonly #announcement = new Announcement();
  #answeredAtMs = Date.now();
  #feed: DashboardFeed | null = null;
  #clock: ReturnType<typeof setInterval> | undefined;
  readonly #onHash = (): void => {
    this.section = sectionFrom(location.hash) ?? this.section;
  };

  override connectedCallback(): void {
    super.connectedCallback();
    window.addEventListener("hashchange", this.#onHash);
    this.#clock = setInterval(() => this.requestUpdate(), 1000);
    void this.#open();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.removeEventListener("hashchange", this.#onHash);
    clearInterval(this.#clock);
    this.#feed?.close();
  }

  async #open(): Promise<void> {
    try {
      this.user = await fetchSession();
    } catch {
      this.lost = true;
      setTimeout(() => this.isConnected && void this.#open(), 2000);
      return;
    }
    if (this.user?.role !== "admin") return;
    this.#feed = new DashboardFeed({
      onDashboard: (dashboard) => {
        this.dashboard = dashboard;
        this.lost = false;
        this.refusal = "";
        this.#answeredAtMs = Date.now();
      },
      onLost: () => {
        this.lost = true;
      },
      onRefused: (problem) => {
        this.refusal = problem.detail;
      },
    });
  }

  override render(): TemplateResult {
    return html`${siteHeader("dashboard", this.#status())}
      <main id="main">
        <h1 class="sr">Dashboard</h1>
        ${this.#notice()}${this.user === undefined ? html`<p class="muted">Asking the server.</p>` : this.#content(this.user)}
      </main>`;
  }

  #status(): TemplateResult | null {
    const streams = this.dashboard?.streams;
    if (!streams) return null;
    return html`<span class="pill" id="on-air-now">${streams.filter(isOnAir).length} on air<span class="wide"> · ${watching(totalViewers(streams))}</span></span>`;
  }

  #notice(): TemplateResult | typeof nothing {
    if (this.refusal !== "") {
      return html`<div class="notice" role="alert">
        <tally-lamp state="warn"></tally-lamp>
        <p>${this.refusal} <a href=${signInAddress()}>Sign in again.</a></p>
      </div>`;
    }
    if (!this.lost) return nothing;
    const since = age((Date.now() - this.#answeredAtMs) / 1000);
    return html`<div class="notice" id="stale">
      <tally-lamp state="warn"></tally-lamp>
      <p>
        <strong>The server has not answered for ${since}.</strong>
        <span class="muted">${this.dashboard ? `What you see is ${since} old; this page keeps asking.` : "This page keeps asking."}</span>
      </p>
    </div>`;
  }

  #content(user: User | null): TemplateResult {
    if (user?.role !== "admin") return this.#notForYou(user);
    return html`<nav class="tabs" aria-label="Sections of the dashboard">
        ${Object.entries(SECTIONS).map(
          ([name, text]) =>
            html`<a href="#${name}" aria-current=${name === this.section ? "true" : nothing}>${text}</a>`,
        )}
      </nav>
      ${this.#section()}`;
  }

  #section(): TemplateResult {
    switch (this.section) {
      case "streams":
        return html`<tl-streams-section></tl-streams-section>`;
      case "broadcasts":
        return html`<div class="section-head"><h2>Broadcasts</h2></div>
          <section class="panel"><tl-broadcast-list page="20"></tl-broadcast-list></section>`;
      case "accounts":
        return html`<tl-accounts-section></tl-accounts-section>`;
      case "webhooks":
        return html`<tl-webhooks-section></tl-webhooks-section>`;
      case "now":
        return this.dashboard ? this.#now(this.dashboard) : html`<p class="muted">Asking what is on air.</p>`;
    }
  }

  #now(dashboard: Dashboard): TemplateResult {
    const now = Date.now();
    const { shown, offAir } = sortStreams(dashboard.streams);
    return html`<div class="now ${this.lost ? "stale" : ""}">
      <p class="sr" aria-live="polite">${this.#announcement.words(summaryState(dashboard.streams), summary(dashboard.streams))}</p>
      ${shown.length === 0 ? html`<section class="panel quiet"><tally-lamp state="off_air">Nothing is on air</tally-lamp></section>` : nothing}
      ${repeat(
        shown,
        (stream) => stream.name,
        (stream) => streamPanel(stream, now),
      )}
      ${offAir.length > 0 ? html`<p class="muted" id="off-air">Off air: ${offAir.map((stream) => stream.name).join(", ")}.</p>` : nothing}
      ${totals(dashboard)}
      <tl-events></tl-events>
      <div class="parts">${processTable(dashboard.server.processes)}${processorList(dashboard.processors)}</div>
    </div>`;
  }

  #notForYou(user: User | null): TemplateResult {
    const who = user
      ? `You are signed in as ${user.name}, a ${user.role}; the dashboard is for the administrators of this server.`
      : "The dashboard is for the administrators of this server.";
    return html`<section class="panel not-for-you" id="not-for-you">
      <h2>Dashboard</h2>
      <p>${who}</p>
      ${user ? html`<a class="button" href="/">See who is on air</a>` : html`<a class="button primary" href=${signInAddress()}>Sign in</a>`}
    </section>`;
  }
}
