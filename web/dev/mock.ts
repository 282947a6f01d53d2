/**
 * A server without an engine, for working on the pages: `npm run dev:mock`.
 *
 * The stream's name chooses what happens to it, see SCENARIOS. WebRTC media comes from the page itself
 * (mock_media.ts answers WHEP and WHIP inside the browser), HLS from a directory in TALLYLIGHT_MOCK_HLS.
 */
import { createReadStream, existsSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join, normalize } from "node:path";
import type { Plugin } from "vite";
import { answerControl, type MockStreams } from "./mock_control.ts";

type Scenario = (elapsedS: number) => Record<string, unknown>;

const PLAYABLE = { playable: true, code: null, reason: null, fix: null };
const B_FRAMES = {
  playable: false,
  code: "b_frames",
  reason: "The encoder sends B-frames, which WebRTC cannot show.",
  fix: "In OBS: Settings, Output, x264 options: bframes=0.",
};
const TRACKS = [
  {
    id: 1,
    kind: "video",
    codec: "H264",
    codec_string: "avc1.64001f",
    width: 1280,
    height: 720,
    has_b_frames: false,
    bitrate_bps: 2_480_000,
    frame_rate: 30,
    keyframe_interval_s: 2,
  },
  {
    id: 2,
    kind: "audio",
    codec: "AAC",
    codec_string: "mp4a.40.2",
    sample_rate_hz: 48000,
    channels: 2,
    bitrate_bps: 128_000,
  },
];
const STARTED = Date.now() - 4_442_000;

const onAir = (): Record<string, unknown> => ({
  state: "on_air",
  media_age_ms: 20,
  tracks: TRACKS,
  viewers: 128,
  epoch: 1,
});
const offAir = (lastEnd: string | null): Record<string, unknown> => ({
  state: "off_air",
  media_age_ms: null,
  tracks: [],
  viewers: 0,
  last_end: lastEnd,
  epoch: null,
});

const SCENARIOS: Record<string, Scenario> = {
  main: onAir,
  off: () => offAir(null),
  frozen: (elapsed) =>
    elapsed < 5 ? onAir() : { ...onAir(), state: "no_media", media_age_ms: 1500 + (elapsed - 5) * 1000 },
  ended: (elapsed) => (elapsed < 5 ? onAir() : offAir("finished")),
  lost: (elapsed) => (elapsed < 5 ? onAir() : offAir("connection_lost")),
  private: onAir,
  bframes: () => ({ ...onAir(), webrtc: B_FRAMES }),
  studio: () =>
    mockPublishing ? { ...onAir(), viewers: 1, started_at: new Date(mockPublishing).toISOString() } : offAir(mockEnd),
};

/** Time the page's own publisher went on air, or null; how it ended; the key that `studio` asks for, null for any. */
let mockPublishing: number | null = null;
let mockEnd: string | null = null;
let studioKey: string | null = null;

const REFUSED = [
  {
    at: new Date(Date.now() - 150_000).toISOString(),
    protocol: "rtmp",
    code: "key_rotated",
    message: "This stream key was rotated 12 minutes ago; copy the new one from the studio.",
  },
];
const LAST_PUBLISHER = {
  ended_at: new Date(Date.now() - 780_000).toISOString(),
  code: "key_rotated",
  sentence: "The stream key was rotated, so the broadcast was cut.",
};

function liveState(name: string, elapsedS: number): Record<string, unknown> {
  const scenario = SCENARIOS[name] ?? (() => offAir(null));
  return {
    stream: name,
    last_end: null,
    started_at: new Date(STARTED).toISOString(),
    stream_type: "RTMP_STREAM",
    webrtc: PLAYABLE,
    hls: PLAYABLE,
    ...scenario(elapsedS),
  };
}

/** Answers; true, as every answering function here returns. */
function json(response: ServerResponse, status: number, body: unknown): true {
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" });
  response.end(JSON.stringify(body));
  return true;
}

const TITLES: Record<string, string> = { main: "Morning rehearsal, hall 2", bframes: "Camera two, from OBS" };
/** What was changed about streams since the start; null marks those that were deleted. */
const changed = new Map<string, Record<string, unknown> | null>();

function status(name: string): Record<string, unknown> {
  const live = liveState(name, 0);
  const onAir = live.state !== "off_air";
  return {
    name,
    title: TITLES[name] ?? name,
    description: name === "main" ? "Weekly rehearsal. Questions are answered afterwards." : "",
    visibility: { off: "private", lost: "unlisted" }[name] ?? "public",
    status: onAir ? "ON_AIR" : "OFF_AIR",
    started_at: live.started_at,
    uptime_s: 4442,
    stream_type: "RTMP_STREAM",
    tracks: live.tracks,
    viewers: { webrtc: live.viewers, hls: 0 },
    playback: { webrtc: live.webrtc, hls: live.hls },
    poster: onAir ? `/api/streams/${name}/poster?at=${Math.floor(Date.now() / 10_000) * 10}` : null,
    may: { edit: true, watch: true },
    owner: "admin",
    key_created_at: new Date(STARTED).toISOString(),
    last_publisher: name === "studio" ? LAST_PUBLISHER : null,
    refusals: name === "studio" ? REFUSED : [],
    ...changed.get(name),
  };
}

const streams: MockStreams = {
  list: () =>
    process.env.TALLYLIGHT_MOCK_EMPTY
      ? []
      : [...new Set(["main", "bframes", "off", "lost", "studio", ...changed.keys()])]
          .filter((name) => changed.get(name) !== null)
          .map(status),
  get: (name) => (changed.get(name) === null ? null : status(name)),
  change: (name, fields) => changed.set(name, { ...changed.get(name), ...fields }),
  remove: (name) => changed.set(name, null),
  cut: (name, reason, key) => {
    if (name !== "studio") return;
    mockPublishing = null;
    mockEnd = reason;
    studioKey = key ?? studioKey;
  },
};

function sendEvents(name: string, request: IncomingMessage, response: ServerResponse): true {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const opened = Date.now();
  const send = (): void => {
    response.write(`event: state\ndata: ${JSON.stringify(liveState(name, (Date.now() - opened) / 1000))}\n\n`);
  };
  send();
  const timer = setInterval(send, 500);
  request.on("close", () => clearInterval(timer));
  return true;
}

function sendHls(path: string, response: ServerResponse): true {
  const root = process.env.TALLYLIGHT_MOCK_HLS ?? "";
  const file = join(root, normalize(path).replace(/^(\.\.[/\\])+/, ""));
  if (root === "" || !existsSync(file))
    return json(response, 404, { title: "Not found", status: 404, code: "nothing_on_air", detail: "No HLS here." });
  response.writeHead(200, {
    "content-type": file.endsWith(".m3u8") ? "application/vnd.apple.mpegurl" : "video/mp4",
    "cache-control": "no-cache",
  });
  createReadStream(file).pipe(response);
  return true;
}

/** What WHIP would refuse a key with; keys that end in "wrong" and "busy" are for looking at the page. */
function refusalOf(url: string): Record<string, unknown> | null {
  const key = new URLSearchParams(url.split("?")[1]).get("key") ?? "";
  if (key.endsWith("wrong"))
    return { status: 401, code: "key_wrong", detail: "No stream has this key. Copy it again from where you got it." };
  if (key.endsWith("busy"))
    return { status: 409, code: "publisher_busy", detail: "Another publisher is on air on this stream." };
  if (studioKey === null || key === studioKey) return null;
  const detail = "This stream key was rotated 3 seconds ago; copy the new one from the studio.";
  return { status: 401, code: "key_rotated", detail };
}

/** Answers what the engine and the control plane would; false for everything else. */
function answer(request: IncomingMessage, response: ServerResponse): boolean {
  const path = decodeURIComponent((request.url ?? "").split("?")[0] ?? "");
  const events = /^\/live\/([^/]+)\/events$/.exec(path)?.[1];
  const one = /^\/api\/streams\/([^/]+)$/.exec(path)?.[1];
  const hls = /^\/hls\/[^/]+\/(.+)$/.exec(path)?.[1];
  // Private, and nobody here may watch it: as for anonymous visitors of a real server.
  if (events === "private" && !request.url?.includes("token="))
    return json(response, 401, {
      title: "Unauthorized",
      status: 401,
      code: "token_missing",
      detail: "A token is needed.",
    });
  if (one === "private")
    return json(response, 404, { title: "Not Found", status: 404, code: "stream_unknown", detail: "No such stream." });
  if (events) return sendEvents(events, request, response);
  if (path === "/api/streams" && request.method === "GET") return json(response, 200, { streams: streams.list() });
  if (path === "/api/config") return json(response, 200, { rtmp: { port: 1935 } });
  if (one && request.method === "GET") return json(response, 200, status(one));
  if (hls) return sendHls(hls, response);
  if (path === "/mock/publishing") {
    mockPublishing = request.method === "POST" ? Date.now() : null;
    mockEnd = mockPublishing ? null : "finished";
    return json(response, 200, {});
  }
  if (path === "/mock/key") return json(response, 200, { refusal: refusalOf(request.url ?? "") });
  return false;
}

export function mockServer(): Plugin {
  return {
    name: "tallylight-mock",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        if (answer(request, response)) return;
        void answerControl(request, response, streams).then((answered) => {
          if (!answered) next();
        });
      });
    },
    transformIndexHtml: () => [
      { tag: "script", attrs: { type: "module", src: "/dev/mock_media.ts" }, injectTo: "head-prepend" },
    ],
  };
}
