import { EventStream, parseJson } from "./event_stream";
import { Poller } from "./poller";
import { fetchStreams } from "./stream_list";
import type { StreamStatus } from "./types";

const URL = "/api/live";
/** The server sends the list at least every 5 s. */
const SILENCE_MS = 12_000;
/** While there are no events (a proxy that holds them back, too many listeners), the list is asked for this often. */
const POLL_MS = 3000;
const REOPEN_BASE_MS = 1000;
const REOPEN_CAP_MS = 30_000;

export interface LiveListHandlers {
  onStreams(streams: StreamStatus[]): void;
  /** Neither events nor answers: called for every failed question until the next `onStreams`. */
  onAway(): void;
}

/** The streams this visitor may see, as they change: by server-sent events, by asking while those do not come. */
export class LiveList {
  readonly #events: EventStream<StreamStatus[]>;
  #poller: Poller<StreamStatus[]> | null = null;

  constructor(private readonly handlers: LiveListHandlers) {
    this.#events = new EventStream({
      url: () => URL,
      event: "streams",
      parse: parseStreamList,
      onValue: (streams) => {
        this.#stopAsking();
        handlers.onStreams(streams);
      },
      onLost: () => this.#ask(),
      silenceMs: SILENCE_MS,
      reopenBaseMs: REOPEN_BASE_MS,
      reopenCapMs: REOPEN_CAP_MS,
      whileHidden: false,
    });
  }

  close(): void {
    this.#events.close();
    this.#stopAsking();
  }

  #ask(): void {
    this.#poller ??= new Poller({
      fetch: fetchStreams,
      everyMs: POLL_MS,
      onValue: (streams) => this.handlers.onStreams(streams),
      onError: () => this.handlers.onAway(),
    });
  }

  #stopAsking(): void {
    this.#poller?.close();
    this.#poller = null;
  }
}

/** The list in an event's data; null when it is none. Pure. */
export function parseStreamList(data: unknown): StreamStatus[] | null {
  const value = parseJson(data) as { streams?: unknown } | null;
  if (!Array.isArray(value?.streams)) return null;
  return value.streams.filter(
    (stream): stream is StreamStatus => typeof (stream as Partial<StreamStatus> | null)?.name === "string",
  );
}
