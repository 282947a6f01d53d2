/** What `GET /api/dashboard` and `/api/dashboard/live` tell operators, and how it is kept up to date. */
import { EventStream, parseJson } from "./event_stream";
import { request } from "./session";
import type { Problem } from "./types";

export type LinkState = "ok" | "warn" | "fail" | "unknown" | "waiting";

/** One link of the chain from the publisher to the viewers. */
export interface LinkLamp {
  link: string;
  state: LinkState;
  sentence: string | null;
}

/** Why a chain is broken, and what to do about it. */
export interface Cause {
  code: string;
  link: string;
  sentence: string;
  fix: string;
}

export interface RunningStream {
  name: string;
  title: string | null;
  status: string;
  stream_type: string | null;
  started_at: string | null;
  viewers: Record<string, number> | number | null;
  ingress_bps: number | null;
  links: LinkLamp[];
  cause: Cause | null;
}

export interface ServerProcess {
  name: string;
  pid: number | null;
  state: string;
  uptime_s: number | null;
}

interface Counters {
  frames: number;
  errors: number;
  age_ms: number | null;
}

export interface Processor {
  id: string;
  name: string;
  input: string;
  output: string | null;
  pid: number | null;
  state: string;
  error: { code: string; sentence: string } | null;
  in: Counters;
  out: Counters;
  queue: { length: number; age_ms: number | null; dropped: number };
  fps_in: number | null;
  fps_out: number | null;
  seen_at: string | null;
  gone: boolean;
}

const SERIES = ["viewers_webrtc", "viewers_hls", "egress_bps", "ingress_bps", "cpu_percent", "rss_bytes"] as const;
export type SeriesName = (typeof SERIES)[number];

/** Equally long lists; `at` in Unix seconds, oldest first. */
export type Samples = { at: number[] } & Record<SeriesName, (number | null)[]>;

export interface ServerFigures {
  version: string;
  uptime_s: number | null;
  cpu_count: number | null;
  processes: ServerProcess[];
  disk: { free_bytes: number | null; total_bytes: number | null };
  memory: { rss_bytes: number | null; available_bytes: number | null; total_bytes: number | null };
}

export interface Dashboard {
  server: ServerFigures;
  samples: Samples;
  streams: RunningStream[];
  processors: Processor[];
}

/** The charts' window, as long as the server remembers. */
export const WINDOW_S = 600;

export const NO_SAMPLES: Samples = { at: [], ...series(() => []) };

function series(values: (name: SeriesName) => (number | null)[]): Record<SeriesName, (number | null)[]> {
  return Object.fromEntries(SERIES.map((name) => [name, values(name)])) as Record<SeriesName, (number | null)[]>;
}

/** A dashboard from JSON, or null when it is none: a proxy may answer anything. Pure. */
export function readDashboard(value: unknown): Dashboard | null {
  const given = value as Partial<Dashboard> | null;
  if (typeof given !== "object" || !given?.server || !Array.isArray(given.streams)) return null;
  const samples = given.samples as Partial<Samples> | undefined;
  const at = Array.isArray(samples?.at) ? samples.at : [];
  const list = (name: SeriesName): (number | null)[] => {
    const values = samples?.[name];
    return at.map((_, index) =>
      Array.isArray(values) && Number.isFinite(values[index]) ? Number(values[index]) : null,
    );
  };
  return {
    server: { ...given.server, processes: given.server.processes ?? [] },
    samples: { at, ...series(list) },
    streams: given.streams,
    processors: given.processors ?? [],
  };
}

/** Whether there must have been samples between these. Pure. */
export function leavesGap(before: Samples, added: Samples): boolean {
  const last = before.at.at(-1);
  const next = added.at.find((at) => last !== undefined && at > last);
  return last !== undefined && next !== undefined && next - last > GAP_S;
}

/** Both in one list without repeats, and nothing older than the window before the newest. Pure. */
export function mergeSamples(before: Samples, added: Samples): Samples {
  const last = before.at.at(-1) ?? Number.NEGATIVE_INFINITY;
  const fresh = added.at.findIndex((at) => at > last);
  const newest = Math.max(last, added.at.at(-1) ?? last);
  const kept = before.at.findIndex((at) => at > newest - WINDOW_S);
  const join = <Value>(old: Value[], more: Value[]): Value[] => [
    ...(kept < 0 ? [] : old.slice(kept)),
    ...(fresh < 0 ? [] : more.slice(fresh)),
  ];
  return { at: join(before.at, added.at), ...series((name) => join(before[name], added[name])) };
}

const LIVE_URL = "/api/dashboard/live";
/** The server takes and sends a sample this often. */
const INTERVAL_S = 2;
/** A sample may be late; when so much time lies between two, there were others. */
const GAP_S = 3 * INTERVAL_S;
const SILENCE_MS = 4000 * INTERVAL_S;
const REOPEN_BASE_MS = 500;
const REOPEN_CAP_MS = 5000;

export interface DashboardHandlers {
  onDashboard(dashboard: Dashboard): void;
  /** No answer; the last values stay. */
  onLost(): void;
  /** This person may not see it (any more). */
  onRefused(problem: Problem): void;
}

/** The dashboard as it changes, with ten minutes of samples. */
export class DashboardFeed {
  readonly #events: EventStream<Dashboard>;
  readonly #handlers: DashboardHandlers;
  #samples = NO_SAMPLES;
  #newest: Dashboard | null = null;
  /** Samples are missing: those before the page was opened, or those of a time without connection. */
  #gap = true;
  #closed = false;

  constructor(handlers: DashboardHandlers) {
    this.#handlers = handlers;
    this.#events = new EventStream({
      url: () => LIVE_URL,
      event: "dashboard",
      parse: (data) => readDashboard(parseJson(data)),
      onValue: (dashboard) => {
        // While the page is hidden the connection rests: it was not lost, and samples are missing all the same.
        if (leavesGap(this.#samples, dashboard.samples)) this.#gap = true;
        this.#take(dashboard, mergeSamples(this.#samples, dashboard.samples));
      },
      onLost: () => {
        this.#gap = true;
        handlers.onLost();
      },
      onRefused: (problem) => handlers.onRefused(problem),
      silenceMs: SILENCE_MS,
      reopenBaseMs: REOPEN_BASE_MS,
      reopenCapMs: REOPEN_CAP_MS,
      whileHidden: false,
    });
    void this.#fillGap();
  }

  close(): void {
    this.#closed = true;
    this.#events.close();
  }

  #take(dashboard: Dashboard, samples: Samples): void {
    this.#samples = samples;
    this.#newest = { ...dashboard, samples };
    this.#handlers.onDashboard(this.#newest);
    if (this.#gap) void this.#fillGap();
  }

  async #fillGap(): Promise<void> {
    this.#gap = false;
    try {
      const whole = readDashboard(await request<unknown>("GET", "/api/dashboard"));
      if (this.#closed || !whole) return;
      this.#take(this.#newest ?? whole, mergeSamples(whole.samples, this.#samples));
    } catch {
      this.#gap = true; // asked for again with the next event; those say whether the server answers
    }
  }
}
