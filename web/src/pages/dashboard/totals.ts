import { html, nothing, type TemplateResult } from "lit";
import type { Dashboard, Samples, SeriesName } from "../../api/dashboard";
import { WINDOW_S } from "../../api/dashboard";
import "../../components/chart";
import type { ChartSeries } from "../../components/chart";
import { age, bitrate, bytes } from "../../format";

/** All charts point at the same moment. */
const GROUP = "dashboard";

interface Card {
  title: string;
  value: string;
  unit: string;
  note: string;
  series: ChartSeries[];
  least: number;
  format: (value: number) => string;
}

const line = (samples: Samples, name: SeriesName, label: string, colour: string): ChartSeries => ({
  label,
  colour,
  values: samples[name],
});

const last = (samples: Samples, name: SeriesName): number | null => samples[name].at(-1) ?? null;

/** "316.02 Mb/s" as value and unit. */
function split(text: string): { value: string; unit: string } {
  const [value = "", ...unit] = text.split(" ");
  return { value, unit: unit.join(" ") };
}

const UNKNOWN = { value: "–", unit: "not measured" };
const measured = (value: number | null, format: (value: number) => string): { value: string; unit: string } =>
  value === null ? UNKNOWN : split(format(value));
const percent = (value: number): string => `${Math.round(value)} %`;
const count = (value: number): string => Math.round(value).toLocaleString("en");

function cards({ samples, server }: Dashboard): Card[] {
  const { memory } = server;
  const viewers = [last(samples, "viewers_webrtc"), last(samples, "viewers_hls")];
  const known = viewers.filter((value) => value !== null);
  const total = known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0);
  return [
    {
      title: "Viewers",
      ...measured(total, count),
      note: "",
      series: [line(samples, "viewers_webrtc", "WebRTC", "info"), line(samples, "viewers_hls", "HLS", "warn")],
      least: 4,
      format: count,
    },
    {
      title: "Out to viewers",
      ...measured(last(samples, "egress_bps"), bitrate),
      note: "",
      series: [line(samples, "egress_bps", "Out", "ok")],
      least: 1e6,
      format: bitrate,
    },
    {
      title: "In from publishers",
      ...measured(last(samples, "ingress_bps"), bitrate),
      note: "",
      series: [line(samples, "ingress_bps", "In", "info")],
      least: 1e6,
      format: bitrate,
    },
    {
      title: "Processor time",
      ...measured(last(samples, "cpu_percent"), percent),
      note: server.cpu_count === null ? "" : `of a core; this machine has ${server.cpu_count}`,
      series: [line(samples, "cpu_percent", "All our processes", "warn")],
      least: 20,
      format: percent,
    },
    {
      title: "Memory",
      ...measured(memory.rss_bytes ?? last(samples, "rss_bytes"), bytes),
      note: memory.available_bytes === null ? "" : `${bytes(memory.available_bytes)} more available`,
      series: [line(samples, "rss_bytes", "All our processes", "muted")],
      least: 100e6,
      format: bytes,
    },
  ];
}

/** What the server carries and what it costs, with the last ten minutes. */
export function totals(dashboard: Dashboard): TemplateResult {
  return html`<section class="totals" aria-label="Totals">
    ${cards(dashboard).map(
      (card) => html`<div class="panel total">
        <h2>${card.title}</h2>
        <p class="value"><strong>${card.value}</strong> ${card.unit} <small class="muted">${card.note}</small></p>
        <tl-chart
          label=${card.title}
          group=${GROUP}
          .seconds=${WINDOW_S}
          .at=${dashboard.samples.at}
          .series=${card.series}
          .least=${card.least}
          .format=${card.format}
        ></tl-chart>
      </div>`,
    )}
    ${diskCard(dashboard)}
  </section>`;
}

function diskCard({ server }: Dashboard): TemplateResult {
  const { free_bytes: free, total_bytes: total } = server.disk;
  const used = free === null || total === null || total === 0 ? null : 1 - free / total;
  const { value, unit } = measured(free, bytes);
  return html`<div class="panel total">
    <h2>Disk</h2>
    <p class="value"><strong>${value}</strong> ${unit} ${free === null ? nothing : "free"} <small class="muted">${total === null ? "" : `of ${bytes(total)}`}</small></p>
    ${used === null ? nothing : html`<meter min="0" max="1" low="0.8" high="0.9" optimum="0" .value=${used} aria-label="Disk used">${Math.round(used * 100)} %</meter>`}
    <p class="muted">Tallylight ${server.version}${server.uptime_s === null ? "" : `, up for ${age(server.uptime_s)}`}.</p>
  </div>`;
}
