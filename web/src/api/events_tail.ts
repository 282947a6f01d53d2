/** The newest events of the server, by server-sent events of `/api/events`. */
import { EventStream, parseJson } from "./event_stream";

/** One event as the server tells it; `fields` is everything that is not named here. */
export interface ServerEvent {
  seq: number;
  at: string;
  event: string;
  stream: string | null;
  fields: Record<string, unknown>;
}

/** Kept in the page; the server keeps as many. */
export const EVENTS_KEPT = 1000;
/** A replay is hundreds of events at once: they are handed on together. */
const GATHER_MS = 100;
const REOPEN_BASE_MS = 500;
const REOPEN_CAP_MS = 10_000;

/** The event in the data of one server-sent event; null when it is none. Pure. */
export function readEvent(data: unknown): ServerEvent | null {
  const value = parseJson(data) as Record<string, unknown> | null;
  if (typeof value !== "object" || value === null || typeof value.event !== "string") return null;
  const { seq, at, event, stream, ...fields } = value;
  return {
    seq: typeof seq === "number" ? seq : 0,
    at: typeof at === "string" ? at : "",
    event,
    stream: typeof stream === "string" ? stream : null,
    fields,
  };
}

export interface EventsTailHandlers {
  /** New ones, oldest first. */
  onEvents(events: ServerEvent[]): void;
  onOpen(): void;
  onLost(): void;
}

export class EventsTail {
  readonly #stream: EventStream<ServerEvent>;
  readonly #handlers: EventsTailHandlers;
  #gathered: ServerEvent[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #after = 0;

  constructor(handlers: EventsTailHandlers) {
    this.#handlers = handlers;
    this.#stream = new EventStream({
      url: () => `/api/events?after=${this.#after}`,
      event: "event",
      parse: readEvent,
      onValue: (event) => this.#gather(event),
      onOpen: () => handlers.onOpen(),
      onLost: () => handlers.onLost(),
      // Between events come comments only, which EventSource does not tell.
      silenceMs: null,
      reopenBaseMs: REOPEN_BASE_MS,
      reopenCapMs: REOPEN_CAP_MS,
      whileHidden: false,
    });
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stream.close();
  }

  #gather(event: ServerEvent): void {
    this.#after = event.seq;
    this.#gathered.push(event);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#handlers.onEvents(this.#gathered.splice(0));
    }, GATHER_MS);
  }
}
