import { EventStream, parseJson } from "./event_stream";
import type { LiveState, Problem, Track } from "./types";

/** No event for this long although the engine sends one at least every 2 s: the connection is dead, open it anew. */
const SILENCE_MS = 6000;
/** Re-opening is cheap and viewers wait for it, so it starts sooner and stops growing earlier than media back-off. */
const REOPEN_BASE_MS = 400;
const REOPEN_CAP_MS = 5000;

export interface LiveEventsHandlers {
  onState(state: LiveState): void;
  /** Called once when the connection is lost; the next `onState` means it is back. */
  onLost(): void;
  /** The server answered 401: this stream is private, and the token is missing, wrong or too old. */
  onRefused?(problem: Problem): void;
}

/** The server-sent events of one stream, kept open for as long as it lives. */
export class LiveEvents {
  readonly #stream: EventStream<LiveState>;

  constructor(
    private url: string,
    handlers: LiveEventsHandlers,
  ) {
    this.#stream = new EventStream({
      url: () => this.url,
      event: "state",
      parse: parseLiveState,
      onValue: (state) => handlers.onState(state),
      onLost: () => handlers.onLost(),
      onRefused: (problem) => handlers.onRefused?.(problem),
      silenceMs: SILENCE_MS,
      reopenBaseMs: REOPEN_BASE_MS,
      reopenCapMs: REOPEN_CAP_MS,
      // A player in a hidden tab may go on with its sound.
      whileHidden: true,
    });
  }

  /** Opens at another address (a newer token) the next time, at once when not connected. */
  readdress(url: string): void {
    this.url = url;
    this.#stream.retry();
  }

  close(): void {
    this.#stream.close();
  }
}

const MEASURED = ["width", "height", "bitrate_bps", "frame_rate", "keyframe_interval_s", "sample_rate_hz", "channels"];

/** What is not measured yet comes as null; here it is 0, which every reader takes as "not known". */
function withNumbers(track: Track): Track {
  const numbers = MEASURED.filter((name) => name in track).map((name) => {
    const value = (track as unknown as Record<string, unknown>)[name];
    return [name, typeof value === "number" ? value : 0];
  });
  return { ...track, ...Object.fromEntries(numbers) };
}

/** The state in an event's data, or null when it is not one: a proxy may answer anything. */
export function parseLiveState(data: unknown): LiveState | null {
  const value = parseJson(data) as Partial<LiveState> | null;
  if (!value || !["on_air", "no_media", "off_air"].includes(String(value.state))) return null;
  const playable = { playable: true, code: null, reason: null, fix: null };
  return {
    stream: String(value.stream ?? ""),
    state: value.state as LiveState["state"],
    media_age_ms: typeof value.media_age_ms === "number" ? value.media_age_ms : null,
    last_end: typeof value.last_end === "string" ? value.last_end : null,
    epoch: typeof value.epoch === "number" ? value.epoch : null,
    viewers: typeof value.viewers === "number" ? value.viewers : 0,
    started_at: typeof value.started_at === "string" ? value.started_at : null,
    stream_type: typeof value.stream_type === "string" ? value.stream_type : null,
    tracks: Array.isArray(value.tracks) ? value.tracks.map(withNumbers) : [],
    webrtc: value.webrtc ?? playable,
    hls: value.hls ?? playable,
  };
}
