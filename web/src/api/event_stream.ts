import { fullJitterMs } from "../backoff";
import { readProblem } from "./problem";
import type { Problem } from "./types";

/** Who was refused will be refused again, unless they get another right or the server's clock or policy changes. */
const REOPEN_REFUSED_MS = 30_000;

export interface EventStreamOptions<Value> {
  /** Asked at every opening, so that it can say where to go on. */
  url(): string;
  /** Name of the events to read. */
  event: string;
  /** The value in an event's data, or null when it is not one: a proxy may answer anything. */
  parse(data: unknown): Value | null;
  onValue(value: Value): void;
  /** Called once when the connection is lost; the next `onValue` means it is back, or `onOpen` where `silenceMs` is null. */
  onLost(): void;
  /** The server has taken the connection. */
  onOpen?(): void;
  /** The server answered 401 or 403: this visitor may not read these events. */
  onRefused?(problem: Problem): void;
  /** No event for this long: the connection is dead, open it anew. Null where nothing may come for a long time. */
  silenceMs: number | null;
  /** Bounds of the full-jitter back-off between openings. */
  reopenBaseMs: number;
  reopenCapMs: number;
  /**
   * Keep the connection while nobody looks at the page. A browser opens six connections to one server over HTTP/1.1,
   * for all its tabs together, so only what must go on in the background may hold one there.
   */
  whileHidden: boolean;
}

/**
 * Server-sent events, kept open until closed.
 *
 * EventSource's own reconnect waits 3 s in Chromium and gives up on an error status; this one re-opens with
 * full-jitter back-off, so pages of a server that restarts in 2 s are back soon after it.
 */
export class EventStream<Value> {
  #source: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #lost = false;
  #closed = false;
  readonly #onVisibility = (): void => {
    if (!document.hidden && !this.#source) this.#open();
    if (document.hidden) this.#rest();
  };

  constructor(private readonly options: EventStreamOptions<Value>) {
    if (!options.whileHidden) document.addEventListener("visibilitychange", this.#onVisibility);
    if (options.whileHidden || !document.hidden) this.#open();
  }

  /** Opens at once when not connected: something changed that makes it worth trying. */
  retry(): void {
    if (!this.#lost || this.#closed) return;
    this.#rest();
    this.#failures = 0;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.#rest();
  }

  #rest(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #open(): void {
    clearTimeout(this.#timer);
    const source = new EventSource(this.options.url());
    this.#source = source;
    this.#expectEvent();
    source.addEventListener("open", () => {
      // Where events are bound to come, they prove more: what lets everybody in and then breaks off is no server yet.
      if (this.options.silenceMs === null) this.#onProof();
      this.options.onOpen?.();
    });
    source.addEventListener(this.options.event, (event: MessageEvent) => {
      const value = this.options.parse(event.data);
      if (value === null) return;
      this.#onProof();
      this.#expectEvent();
      this.options.onValue(value);
    });
    source.addEventListener("error", () => {
      // Closed for good means that an answer came, and that it was no stream of events.
      if (source.readyState === EventSource.CLOSED && this.options.onRefused) void this.#askWhy();
      this.#reopen();
    });
  }

  /** The connection works. */
  #onProof(): void {
    this.#failures = 0;
    this.#lost = false;
  }

  #expectEvent(): void {
    const { silenceMs } = this.options;
    if (silenceMs === null) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#reopen(), silenceMs);
  }

  /** EventSource keeps the status of a refusal to itself. */
  async #askWhy(): Promise<void> {
    const url = this.options.url();
    const asking = new AbortController();
    try {
      const response = await fetch(url, { signal: asking.signal });
      const refused = response.status === 401 || response.status === 403;
      if (!refused || this.#closed || url !== this.options.url()) return;
      const problem = await readProblem(response);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#open(), REOPEN_REFUSED_MS);
      this.options.onRefused?.(problem);
    } catch {
      // The server has gone meanwhile; #reopen is on its way.
    } finally {
      asking.abort(); // an answer that is a stream of events after all would never end
    }
  }

  #reopen(): void {
    if (this.#closed) return;
    this.#rest();
    if (!this.#lost) {
      this.#lost = true;
      this.options.onLost();
    }
    const { reopenBaseMs, reopenCapMs } = this.options;
    const waitMs = fullJitterMs(this.#failures, Math.random(), reopenBaseMs, reopenCapMs);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#open(), waitMs);
  }
}

/** What JSON text says, or null when it is none. */
export function parseJson(data: unknown): unknown {
  if (typeof data !== "string") return null;
  try {
    return JSON.parse(data) as unknown;
  } catch {
    return null;
  }
}
