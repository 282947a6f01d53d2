import { html, nothing, type TemplateResult } from "lit";
import { Link, Lock } from "lucide";
import type { Visibility } from "../api/types";
import { icon } from "./icon";

const MARKS = {
  private: { word: "Private", glyph: Lock, meaning: "Only accounts that may, and links with a token, can watch it." },
  unlisted: { word: "Unlisted", glyph: Link, meaning: "Whoever has the address can watch it; it is not listed." },
};

/** A mark for streams that not everybody sees here; nothing for public ones. */
export function visibilityMark(visibility: Visibility | undefined): TemplateResult | typeof nothing {
  if (visibility !== "private" && visibility !== "unlisted") return nothing;
  const { word, glyph, meaning } = MARKS[visibility];
  return html`<span class="mark" title=${meaning}>${icon(glyph, 14)}${word}</span>`;
}
