import { html, nothing, type TemplateResult } from "lit";

export type PageName = "index" | "watch" | "studio";

/** The bar on top of every page; `status` stands at its right end. */
export function siteHeader(
  page: PageName,
  status: TemplateResult | typeof nothing = html`<a class="button" href="/studio">Go live</a>`,
): TemplateResult {
  const link = (name: PageName, href: string, text: string) =>
    html`<a href=${href} aria-current=${page === name ? "page" : nothing}>${text}</a>`;
  return html`<header class="site-header">
    <div>
      <a class="brand" href="/">Tallylight</a>
      <nav aria-label="Pages">${link("index", "/", "On air")} ${link("studio", "/studio", "Studio")}</nav>
      ${status}
    </div>
  </header>`;
}
