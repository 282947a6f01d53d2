/** Server-sent events and samples of a made-up server: `/api/live`, `/api/dashboard`, `/api/events`. Development only. */
import type { IncomingMessage, ServerResponse } from "node:http";

type Json = Record<string, unknown>;

const LINKS = ["host", "control", "engine", "capture", "ingest", "package", "expose", "process", "deliver"];
const SAMPLE_S = 2;
const SAMPLES = 300;
const BOOTED = Date.now() - 93_000_000;

/** Sends what `next` gives now and every `everyMs`, as events of this name. */
export function sendEvents(
  request: IncomingMessage,
  response: ServerResponse,
  event: string,
  everyMs: number,
  next: () => Json,
): true {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const send = (): void => {
    response.write(`event: ${event}\ndata: ${JSON.stringify(next())}\n\n`);
  };
  send();
  const timer = setInterval(send, everyMs);
  request.on("close", () => clearInterval(timer));
  return true;
}

/** A picture that changes with its address, instead of a keyframe. */
export function poster(at: string): string {
  const hue = Number(at) % 360;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="hsl(${hue} 35% 38%)"/><stop offset="1" stop-color="hsl(${hue + 60} 40% 16%)"/></linearGradient></defs><rect width="640" height="360" fill="url(#g)"/><circle cx="${160 + (Number(at) % 32) * 10}" cy="210" r="46" fill="#f2e8d8"/></svg>`;
}

const wave = (at: number, period: number): number => Math.sin((at / period) * 2 * Math.PI);
const SERIES: Record<string, (at: number) => number> = {
  viewers_webrtc: (at) => Math.round(112 + 9 * wave(at, 240) + 3 * wave(at, 31)),
  viewers_hls: (at) => Math.round(15 + 4 * wave(at, 410)),
  egress_bps: (at) => 316e6 + 22e6 * wave(at, 240) + 6e6 * wave(at, 17),
  ingress_bps: (at) => 5.1e6 + 0.4e6 * wave(at, 23),
  cpu_percent: (at) => 34 + 6 * wave(at, 240) + 3 * wave(at, 13),
  rss_bytes: (at) => 311e6 + 9e6 * wave(at, 600),
};

function samples(count: number): Json {
  const now = Math.floor(Date.now() / 1000 / SAMPLE_S) * SAMPLE_S;
  const at = Array.from({ length: count }, (_, index) => now - (count - 1 - index) * SAMPLE_S);
  const series = Object.entries(SERIES).map(([name, value]) => [name, at.map(value)]);
  return { interval_s: SAMPLE_S, at, ...Object.fromEntries(series) };
}

function lamps(words: Record<string, [string, string | null]>): Json[] {
  return LINKS.map((link) => {
    const [state, sentence] = words[link] ?? ["ok", null];
    return { link, state, sentence };
  });
}

const process = (name: string, pid: number, state = "running", uptime_s: number | null = 93_000): Json => ({
  name,
  pid,
  state,
  uptime_s,
});

function processor(id: string, name: string, broken: boolean): Json {
  return {
    id,
    name,
    input: "main",
    output: `main-${name}`,
    pid: 4711,
    state: broken ? "waiting" : "running",
    error: broken ? { code: "token_wrong", sentence: "The server refused its token 14 times." } : null,
    started_at: new Date(BOOTED).toISOString(),
    in: { frames: 26_123, bytes: 81_200_000, errors: broken ? 14 : 0, age_ms: broken ? 14_000 : 21 },
    out: { frames: 26_101, bytes: 77_100_000, errors: 0, age_ms: broken ? 14_000 : 34 },
    queue: { length: 1, age_ms: 18, dropped: 22 },
    fps_in: broken ? 0 : 29.97,
    fps_out: broken ? 0 : 29.9,
    seen_at: new Date().toISOString(),
    gone: false,
  };
}

export function dashboard(history: boolean): Json {
  const started = (ageS: number): string => new Date(Date.now() - ageS * 1000).toISOString();
  const stream = (
    name: string,
    title: string,
    ageS: number,
    viewers: Json,
    links: Json[],
    cause: Json | null,
  ): Json => ({
    name,
    title,
    status: "ON_AIR",
    stream_type: "RTMP_STREAM",
    started_at: started(ageS),
    viewers,
    ingress_bps: 2_480_000,
    links,
    cause,
  });
  return {
    server: {
      version: "0.1.0",
      uptime_s: (Date.now() - BOOTED) / 1000,
      cpu_count: 2,
      processes: [
        process("supervisor", 4001),
        process("engine", 4002),
        process("control_plane", 4003, "running", 812),
        process("control_plane", 4004, "standby", null),
        process("posters", 4005),
      ],
      disk: { free_bytes: 61e9, total_bytes: 120e9 },
      memory: { rss_bytes: 311e6, available_bytes: 5.1e9, total_bytes: 8.2e9 },
    },
    samples: samples(history ? SAMPLES : 1),
    streams: [
      stream("bframes", "Camera two, from OBS", 4442, { webrtc: 109, hls: 16 }, lamps({}), null),
      stream(
        "main",
        "Morning rehearsal, hall 2",
        842,
        { webrtc: 3, hls: 0 },
        lamps({
          capture: ["warn", "Keyframes come every 8.3 s; set 2 s in the encoder."],
          ingest: ["ok", "2.48 Mb/s arrive, 20 ms ago."],
          expose: ["fail", "The internal token of 14 requests was wrong, the last one 4 s ago."],
          process: ["waiting", "Waits for expose."],
          deliver: ["ok", "3 of 3 viewers are served."],
        }),
        {
          code: "expose.token_rejected",
          link: "expose",
          sentence: "The processor ladder was refused 14 times: its token is from before the restart at 12:04:09.",
          fix: "Restart the processor, so that it reads the new internal token.",
        },
      ),
    ],
    processors: [processor("p1", "ladder", true), processor("p2", "captions", false)],
  };
}

const NAMES: [string, string | null, Json][] = [
  ["broadcast_started", "main", { protocol: "rtmp" }],
  ["tracks_announced", "main", { tracks: 2 }],
  ["whep_session_opened", "main", { session: "5f0c" }],
  ["internal_token_rejected", "main", { code: "token_wrong" }],
  ["webhook_delivered", "main", { event: "broadcast.started", status_code: 204 }],
  ["signed_in", null, { user: "admin" }],
  ["whep_session_closed", "main", { reason: "peer_closed", duration_s: 81.2 }],
];

/** Replays forty events after `after`, then one every three seconds. */
export function eventTail(request: IncomingMessage, response: ServerResponse, after: number): true {
  let seq = after;
  const event = (ageS: number): string => {
    seq += 1;
    const [name, stream, fields] = NAMES[seq % NAMES.length] ?? ["engine_started", null, {}];
    const at = new Date(Date.now() - ageS * 1000).toISOString();
    return `id: ${seq}\nevent: event\ndata: ${JSON.stringify({ seq, at, event: name, stream, ...fields })}\n\n`;
  };
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  if (after === 0) for (let left = 40; left > 0; left--) response.write(event(left * 7));
  const timer = setInterval(() => response.write(event(0)), 3000);
  request.on("close", () => clearInterval(timer));
  return true;
}
