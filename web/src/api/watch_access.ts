/** Whether this visitor may watch a stream, and with which playback token (docs/engine-api.md). */
import { readProblem } from "./problem";
import { fetchSession, request, type User } from "./session";
import { fetchStream } from "./stream_list";
import type { StreamStatus } from "./types";

/** `token` null: a public stream, or one that nobody sends to yet. */
export interface Admitted {
  kind: "admitted";
  about: StreamStatus | null;
  token: string | null;
  /** No stream of this name is known; it may be made later. */
  unknown: boolean;
  /** When the token has to be replaced, RFC 3339; null when the visitor brought it or needs none. */
  expiresAt: string | null;
  /** The visitor may have a token of their own, and it did not come: what was known before holds until it does. */
  unanswered: boolean;
}

export interface Refused {
  kind: "refused";
  code: string;
  user: User | null;
}

export type Access = Admitted | Refused;

/** A token is replaced when this share of its life is over, so that a slow answer does not matter. */
const RENEW_AT = 0.8;
/** A control plane that restarts is back within seconds; there is no hurry, because the picture goes on. */
const ASK_AGAIN_MS = 30_000;
/** Longest wait for the engine's word on a token; without it the player finds out by itself. */
const PROBE_TIMEOUT_MS = 3000;

interface PlaybackToken {
  token: string;
  expires_at: string;
  watch_url: string;
}

/**
 * The way in for this visitor: the token from the address, one of their account, or none for a public stream.
 *
 * A control plane that does not answer keeps nobody out: the engine decides alone, and who is in stays.
 *
 * @param present the way in so far; null at first.
 */
export async function findAccess(
  name: string,
  givenToken: string | null,
  present: Admitted | null = null,
): Promise<Access> {
  const found = await fetchStream(name);
  const about = found === "unknown" ? null : found;
  const admitted: Admitted = {
    kind: "admitted",
    about,
    token: null,
    unknown: false,
    expiresAt: null,
    unanswered: false,
  };
  if (about && about.visibility !== "private") return admitted;
  const presentToken = present?.token ?? givenToken;
  if (about?.may?.watch) {
    const own = await ownToken(name);
    if (own) return { ...admitted, token: own.token, expiresAt: own.expires_at };
    return { ...admitted, token: presentToken, unanswered: true };
  }
  if (found === null && presentToken !== givenToken) return { ...admitted, token: presentToken, unanswered: true };
  const code = found === null && givenToken === null ? null : await refusalOf(name, givenToken);
  if (code !== null) return { kind: "refused", code, user: await fetchSession().catch(() => null) };
  return { ...admitted, token: givenToken, unknown: found === "unknown" && givenToken === null };
}

/** Milliseconds until the way in has to be found anew; null when it stays as it is. Pure. */
export function renewAfterMs({ unanswered, expiresAt }: Admitted, nowMs: number): number | null {
  if (unanswered) return ASK_AGAIN_MS;
  const leftMs = expiresAt === null ? 0 : Date.parse(expiresAt) - nowMs;
  return leftMs > 0 ? leftMs * RENEW_AT : null;
}

/** A token in the visitor's own name; null when the control plane does not answer. */
async function ownToken(name: string): Promise<PlaybackToken | null> {
  return createPlaybackToken(name).catch(() => null);
}

/** A playback token, for the server's usual hour when no lifetime is given. */
export function createPlaybackToken(name: string, lifetimeS?: number): Promise<PlaybackToken> {
  const body = lifetimeS === undefined ? {} : { ttl_s: lifetimeS };
  return request<PlaybackToken>("POST", `/api/streams/${encodeURIComponent(name)}/playback-token`, body);
}

/** Why the engine lets nobody with this token watch; null when it does, or does not say. */
async function refusalOf(name: string, token: string | null): Promise<string | null> {
  const query = token === null ? "" : `?token=${encodeURIComponent(token)}`;
  const asking = new AbortController();
  const timer = setTimeout(() => asking.abort(), PROBE_TIMEOUT_MS);
  try {
    const response = await fetch(`/live/${encodeURIComponent(name)}/events${query}`, { signal: asking.signal });
    return response.status === 401 ? (await readProblem(response)).code : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
    asking.abort(); // an endless answer
  }
}

/** Takes `?token=` out of a search string: the token and what is left. Pure. */
export function takeToken(search: string): { token: string | null; search: string } {
  const query = new URLSearchParams(search);
  const token = query.get("token");
  query.delete("token");
  const rest = query.toString();
  return { token: token || null, search: rest === "" ? "" : `?${rest}` };
}

export interface Refusal {
  title: string;
  text: string;
  /** Whether signing in may help. */
  signIn: boolean;
}

/** Why somebody may not watch, and what they can do. Pure. */
export function refusalWords(code: string, user: Pick<User, "name"> | null): Refusal {
  const who = user ? `You are signed in as ${user.name}, who may not watch it.` : "Sign in to watch it.";
  if (code === "token_expired") {
    const text = `This stream is private. Ask whoever sent you the link for a new one${user ? "" : ", or sign in"}.`;
    return { title: "This link has expired", text, signIn: user === null };
  }
  if (code === "token_wrong") {
    const text = `This stream is private, and the link to it is not complete or was revoked. Ask for a new one${user ? "" : ", or sign in"}.`;
    return { title: "This link does not open the stream", text, signIn: user === null };
  }
  const text = user ? `${who} Ask its owner for a link.` : who;
  return { title: "This stream is private", text, signIn: user === null };
}
