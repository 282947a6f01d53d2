import { html, svg, type TemplateResult } from "lit";

const WIDTH = 240;
const HEIGHT = 56;
/** Samples shown: one a second, so the last minute. */
export const SPARKLINE_SAMPLES = 60;

/** Points of a polyline through the values, newest at the right edge. Pure. */
export function sparklinePoints(values: readonly number[], top: number): string {
  const step = WIDTH / (SPARKLINE_SAMPLES - 1);
  const first = WIDTH - (values.length - 1) * step;
  return values
    .map((value, index) => {
      const share = top > 0 ? Math.min(1, Math.max(0, value / top)) : 0;
      return `${(first + index * step).toFixed(1)},${(HEIGHT - 3 - share * (HEIGHT - 6)).toFixed(1)}`;
    })
    .join(" ");
}

/**
 * The last minute of one measured value.
 *
 * @param healthy value the line should keep near, drawn as a dotted line for comparison; null without one.
 */
export function sparkline(
  title: string,
  shown: string,
  values: readonly number[],
  level: "ok" | "warn" | "info",
  healthy: number | null,
): TemplateResult {
  const top = 1.25 * Math.max(healthy ?? 0, ...values, 0.001);
  const y = healthy === null ? null : HEIGHT - 3 - (healthy / top) * (HEIGHT - 6);
  return html`<section class="panel chart">
    <h2>${title}</h2>
    <p class="value">${shown}</p>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${title} over the last minute, now ${shown}">
      ${y === null ? "" : svg`<line x1="0" x2=${WIDTH} y1=${y} y2=${y} stroke="var(--tl-line)" stroke-dasharray="3 4" vector-effect="non-scaling-stroke" />`}
      ${values.length > 1 ? svg`<polyline points=${sparklinePoints(values, top)} fill="none" stroke="var(--tl-${level})" stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke" />` : ""}
    </svg>
  </section>`;
}
