import { html, svg, type TemplateResult } from "lit";
import { unsafeSVG } from "lit/directives/unsafe-svg.js";
import type { IconNode } from "lucide";

const markup = new Map<IconNode, string>();

/** The inside of an icon; its attributes come from the icon package, never from data. */
function markupOf(node: IconNode): string {
  const known = markup.get(node);
  if (known !== undefined) return known;
  const text = node
    .map(([tag, attributes]) => {
      const pairs = Object.entries(attributes).map(([name, value]) => `${name}="${value}"`);
      return `<${tag} ${pairs.join(" ")}/>`;
    })
    .join("");
  markup.set(node, text);
  return text;
}

/** A lucide icon, 20 px unless told otherwise, in the colour of the text. Decoration: the word stands beside it. */
export function icon(node: IconNode, size = 20): TemplateResult {
  const inside = svg`${unsafeSVG(markupOf(node))}`;
  return html`<svg
    class="icon"
    width=${size}
    height=${size}
    viewBox="0 0 24 24"
    fill="none"
    stroke="currentColor"
    stroke-width="2"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    ${inside}
  </svg>`;
}
