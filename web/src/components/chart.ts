import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { element } from "./element";
import { LightElement } from "./light_element";

export interface ChartSeries {
  label: string;
  /** Name of a colour token without its prefix: "info" is `--tl-info`. */
  colour: string;
  values: readonly (number | null)[];
}

const HEIGHT = 118;
const Y_AXIS_WIDTH = 60;

/** The time of a sample, as the axis and the events write it. */
function clockTime(unixS: number): string {
  return new Date(unixS * 1000).toLocaleTimeString("en-GB");
}

/** "2.50 Mb/s" as an axis writes it: "2.5 Mb/s". Pure. */
export function shortened(text: string): string {
  return text.replace(/\.(\d*?)0+(?= )/, (_, digits: string) => (digits === "" ? "" : `.${digits}`));
}

/**
 * Measured values over time. Charts of one `group` share their time axis: the same stretch of time, and pointing at a
 * moment in one shows what all of them had then.
 */
@element("tl-chart")
export class Chart extends LightElement {
  @property() label = "";
  @property({ attribute: false }) at: readonly number[] = [];
  @property({ attribute: false }) series: readonly ChartSeries[] = [];
  @property({ attribute: false }) format: (value: number) => string = String;
  @property({ type: Number }) seconds = 600;
  @property() group = "";
  /** The scale reaches at least this far, so that small changes of a small value look small. */
  @property({ type: Number }) least = 1;
  /** The moment pointed at, as an index into `at`. */
  @state() private pointed: number | null = null;
  #plot: uPlot | null = null;
  readonly #resize = new ResizeObserver(() => this.#fit());
  readonly #theme = matchMedia("(prefers-color-scheme: light)");
  readonly #onTheme = (): void => this.#draw();

  override connectedCallback(): void {
    super.connectedCallback();
    this.#theme.addEventListener("change", this.#onTheme);
    if (this.hasUpdated) this.#draw();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#theme.removeEventListener("change", this.#onTheme);
    this.#resize.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  override render(): TemplateResult {
    const index = this.pointed ?? this.at.length - 1;
    const time = this.at[index];
    const reading = ({ label, colour, values }: ChartSeries): TemplateResult => {
      const value = values[index];
      return html`<span><i style="background: var(--tl-${colour})"></i>${label} ${value == null ? "none" : this.format(value)}</span>`;
    };
    return html`<div class="chart-plot" role="img" aria-label=${this.#description()}></div>
      <p class="chart-reading">
        ${this.series.map(reading)}
        ${this.pointed !== null && time !== undefined ? html`<span class="muted">at ${clockTime(time)}</span>` : nothing}
      </p>`;
  }

  #description(): string {
    const said = this.series.map(({ label, values }) => {
      const known = values.filter((value) => value !== null);
      const last = known.at(-1);
      return last === undefined
        ? `${label} not measured`
        : `${label} now ${this.format(last)}, highest ${this.format(Math.max(...known))}`;
    });
    return `${this.label} over the last ${Math.round(this.seconds / 60)} minutes: ${said.join("; ")}.`;
  }

  override updated(changed: PropertyValues<this>): void {
    if (!this.#plot) this.#draw();
    else if (changed.has("at") || changed.has("series")) this.#plot.setData(this.#data());
  }

  #data(): uPlot.AlignedData {
    return [[...this.at], ...this.series.map((one) => [...one.values])] as uPlot.AlignedData;
  }

  get #place(): HTMLElement | null {
    return this.querySelector<HTMLElement>(".chart-plot");
  }

  #draw(): void {
    const place = this.#place;
    if (!place || !this.isConnected) return;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(place.clientWidth), this.#data(), place);
    this.#resize.observe(place);
  }

  #fit(): void {
    const width = this.#place?.clientWidth ?? 0;
    if (width > 0 && this.#plot && this.#plot.width !== width) this.#plot.setSize({ width, height: HEIGHT });
  }

  #options(width: number): uPlot.Options {
    const style = getComputedStyle(this);
    const token = (name: string): string => style.getPropertyValue(`--tl-${name}`).trim();
    const axis = {
      stroke: token("muted"),
      font: "11px system-ui",
      grid: { stroke: token("line"), width: 1 },
      ticks: { show: false },
    };
    return {
      width,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: this.group || this.label } },
      scales: {
        x: { time: true, range: () => this.#timeRange() },
        y: { range: (_plot, _low, high) => [0, Math.max(high ?? 0, this.least) * 1.15] },
      },
      axes: [
        {
          ...axis,
          space: 90,
          size: 22,
          gap: 4,
          grid: { show: false },
          values: (_plot, splits) => splits.map((at) => clockTime(at).slice(0, 5)),
        },
        {
          ...axis,
          space: 32,
          size: Y_AXIS_WIDTH,
          gap: 6,
          values: (_plot, splits) => splits.map((value) => shortened(this.format(value))),
        },
      ],
      series: [
        {},
        ...this.series.map(({ label, colour }) => ({
          label,
          stroke: token(colour),
          width: 2,
          points: { show: false },
          spanGaps: false,
        })),
      ],
      hooks: {
        setCursor: [
          (plot) => {
            this.pointed = plot.cursor.idx ?? null;
          },
        ],
      },
    };
  }

  /** The newest sample is at the right edge, however few there are. */
  #timeRange(): [number, number] {
    const newest = this.at.at(-1) ?? Math.floor(Date.now() / 1000);
    return [newest - this.seconds, newest];
  }
}
