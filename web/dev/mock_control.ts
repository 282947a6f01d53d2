/** A control plane that remembers what it is told until it ends: accounts, webhooks, keys. Development only. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { dashboard, eventTail, poster, sendEvents } from "./mock_live.ts";

type Json = Record<string, unknown>;

const EARLIER = new Date(Date.now() - 9 * 86_400_000).toISOString();
const secret = (): string => crypto.randomUUID().replaceAll("-", "");
const role = process.env.TALLYLIGHT_MOCK_ROLE ?? "admin";
let user: { name: string; role: string } | null = role === "nobody" ? null : { name: role, role };

const account = (name: string, itsRole: string, last_seen_at: string | null): Json => ({
  name,
  role: itsRole,
  created_at: EARLIER,
  last_seen_at,
  disabled: false,
});
const users = new Map<string, Json>([
  ["admin", account("admin", "admin", new Date().toISOString())],
  ["maria", account("maria", "streamer", EARLIER)],
  ["guest", { ...account("guest", "viewer", null), disabled: true }],
]);

const delivery = (id: string, status: string, attempts: Json[]): Json => ({
  id,
  event: "broadcast.started",
  stream: "main",
  status,
  attempts,
  created_at: EARLIER,
  next_attempt_at: status === "pending" ? new Date(Date.now() + 60_000).toISOString() : null,
});
const refused = { at: EARLIER, status_code: 500, error: null, duration_ms: 41 };
const unreachable = { at: EARLIER, status_code: null, error: "timeout", duration_ms: 10_000 };
const deliveries = [
  delivery("d3", "pending", [unreachable]),
  delivery("d2", "failed", [unreachable, refused, refused]),
  delivery("d1", "delivered", [{ at: EARLIER, status_code: 204, error: null, duration_ms: 83 }]),
];
const hook = (id: string, url: string, events: string[], stream: string | null): Json => ({
  id,
  url,
  events,
  stream,
  enabled: true,
  created_at: EARLIER,
  owner: "admin",
  last_delivery: deliveries[0],
});
const hooks = new Map<string, Json>([
  ["w1", hook("w1", "https://hooks.example.org/tallylight/broadcasts", ["broadcast.started", "broadcast.ended"], null)],
]);

export interface MockStreams {
  list(): Json[];
  get(name: string): Json | null;
  change(name: string, fields: Json): void;
  remove(name: string): void;
  /** Ends the page's own publisher; `key` is the only one that is let in from now on. */
  cut(name: string, reason: string, key?: string): void;
}

interface Question {
  method: string;
  path: string;
  query: URLSearchParams;
  body: Json;
  request: IncomingMessage;
  response: ServerResponse;
}

function json(response: ServerResponse, status: number, body?: unknown): true {
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" });
  response.end(body === undefined ? undefined : JSON.stringify(body));
  return true;
}

async function bodyOf(request: IncomingMessage): Promise<Json> {
  let text = "";
  for await (const piece of request) text += piece;
  return text === "" ? {} : (JSON.parse(text) as Json);
}

/** A collection with POST, PATCH and DELETE of one, kept in a map by `key`. */
function collection(
  question: Question,
  base: string,
  items: Map<string, Json>,
  make: (body: Json) => [Json, Json],
): boolean {
  const { method, path, body, response } = question;
  const name = path.slice(base.length + 1);
  if (path === base && method === "GET")
    return json(response, 200, { [base.split("/").pop() ?? ""]: [...items.values()] });
  if (path === base) {
    const [item, shownOnce] = make(body);
    items.set(String(item.id ?? item.name), item);
    return json(response, 201, { ...item, ...shownOnce });
  }
  const known = items.get(name);
  if (!known) return false;
  if (method === "DELETE") items.delete(name);
  else Object.assign(known, body);
  return json(response, method === "DELETE" ? 204 : 200, method === "DELETE" ? undefined : known);
}

function webhooks(question: Question): boolean {
  const { path, response } = question;
  const action = /^\/api\/webhooks\/([^/]+)\/(\S+)$/.exec(path)?.[2];
  if (action === "deliveries") return json(response, 200, { deliveries });
  if (action === "test") return json(response, 202, {});
  if (action === "rotate-secret") return json(response, 200, { secret: `whsec_${secret()}` });
  return collection(question, "/api/webhooks", hooks, (body) => [
    { ...hook(`w${hooks.size + 1}`, "", [], null), last_delivery: null, ...body },
    { secret: `whsec_${secret()}` },
  ]);
}

function streams(question: Question, known: MockStreams): boolean {
  const { method, path, body, response } = question;
  const [, name, action] = /^\/api\/streams\/([^/]+)(?:\/(.+))?$/.exec(path) ?? [];
  if (path === "/api/streams" && method === "POST") {
    known.change(String(body.name), body);
    return json(response, 201, { ...body, key: secret() });
  }
  if (!name) return false;
  if (action === "poster") {
    response.writeHead(200, { "content-type": "image/svg+xml" });
    response.end(poster(question.query.get("at") ?? "0"));
    return true;
  }
  if (action === "rotate-key") {
    const key = secret();
    known.change(name, { key_created_at: new Date().toISOString() });
    known.cut(name, "key_rotated", key);
    return json(response, 200, { name, key });
  }
  if (action === "publisher") {
    known.cut(name, "removed");
    return json(response, 204);
  }
  if (action === "playback-token") {
    const watch_url = `/watch/${name}?token=${secret()}`;
    return json(response, 200, {
      token: secret(),
      expires_at: new Date(Date.now() + 3_600_000).toISOString(),
      watch_url,
    });
  }
  if (method === "PATCH") known.change(name, body);
  if (method === "DELETE") known.remove(name);
  if (method === "GET") return false;
  return json(response, method === "DELETE" ? 204 : 200, method === "DELETE" ? undefined : known.get(name));
}

const tokens = new Map<string, Json>([
  [
    "t1",
    {
      id: "t1",
      name: "Stream deck in hall 2",
      scopes: ["read", "streams"],
      created_at: EARLIER,
      last_used_at: new Date(Date.now() - 7_200_000).toISOString(),
      expires_at: new Date(Date.now() + 80 * 86_400_000).toISOString(),
    },
  ],
]);

/** Who is signed in: any name of `users` with any password but "wrong". */
function session({ method, path, body, response }: Question): true {
  const refused = (status: number, code: string, detail: string): true => json(response, status, { code, detail });
  if (path === "/api/session/password")
    return body.old === "wrong"
      ? refused(401, "password_wrong", "The present password is not right.")
      : json(response, 204);
  if (method === "POST") {
    const known = users.get(String(body.name));
    if (!known || body.password === "wrong") return refused(401, "password_wrong", "Name or password is not right.");
    user = { name: String(known.name), role: String(known.role) };
  }
  if (method === "DELETE") user = null;
  return json(response, method === "DELETE" ? 204 : 200, method === "DELETE" ? undefined : { user });
}

/** Answers what the control plane would; false for everything else. */
export async function answerControl(
  request: IncomingMessage,
  response: ServerResponse,
  known: MockStreams,
): Promise<boolean> {
  const url = new URL(request.url ?? "/", "http://mock");
  const path = decodeURIComponent(url.pathname);
  if (!path.startsWith("/api/")) return false;
  const method = request.method ?? "GET";
  const body = method === "GET" ? {} : await bodyOf(request);
  const question: Question = { method, path, query: url.searchParams, body, request, response };
  if (path === "/api/live") return sendEvents(request, response, "streams", 2000, () => ({ streams: known.list() }));
  if (path === "/api/dashboard") return json(response, 200, dashboard(true));
  if (path === "/api/dashboard/live") return sendEvents(request, response, "dashboard", 2000, () => dashboard(false));
  if (path === "/api/events") return eventTail(request, response, Number(url.searchParams.get("after") ?? 0));
  if (path.startsWith("/api/session")) return session(question);
  if (path.startsWith("/api/tokens"))
    return collection(question, "/api/tokens", tokens, (body) => [
      {
        ...body,
        id: `t${tokens.size + 1}`,
        created_at: new Date().toISOString(),
        last_used_at: null,
        expires_at: null,
      },
      { token: `tly_${secret()}` },
    ]);
  if (path === "/api/broadcasts") return json(response, 200, broadcasts(url.searchParams));
  if (path.startsWith("/api/webhooks")) return webhooks(question);
  if (path.startsWith("/api/streams")) return streams(question, known);
  return collection(question, "/api/users", users, (body) => [
    { ...account(String(body.name), String(body.role), null) },
    body.password ? {} : { password: secret().slice(0, 20) },
  ]);
}

/** Twelve evenings, the newest of them on air. */
function broadcasts(query: URLSearchParams): object {
  const limit = Number(query.get("limit") ?? 20);
  const at = (hours: number): string => new Date(Date.now() - hours * 3_600_000).toISOString();
  const all = Array.from({ length: 12 }, (_, number) => ({
    id: String(number),
    stream: query.get("stream") ?? (number % 3 === 1 ? "studio" : "main"),
    title: number % 3 === 1 ? "" : "Morning rehearsal",
    status: number === 0 ? "ON_AIR" : "ENDED",
    stream_type: number % 2 ? "WEBRTC_STREAM" : "RTMP_STREAM",
    epoch: number,
    started_at: at(1 + 24 * number),
    last_media_at: at(0.2 + 23.9 * number),
    ended_at: number === 0 ? null : at(0.2 + 23.9 * number),
    end_reason: number === 0 ? null : ["finished", "connection_lost", "key_rotated"][number % 3],
    peak_viewers: number === 4 ? 0 : 128 - 9 * number,
    average_viewers: number === 4 ? 0 : 60.4 - 5 * number,
  }));
  const page = all.slice(0, limit);
  return { broadcasts: page, next: page.length === limit ? String(limit - 1) : null };
}
