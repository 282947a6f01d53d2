/** Who uses this page, and requests to the control plane in that person's name (the cookie of `/sign-in`). */
import { readProblem, retryAfterSeconds } from "./problem";
import type { Problem } from "./types";

export type Role = "admin" | "streamer" | "viewer";

export interface User {
  name: string;
  role: Role;
}

/** No answer by then: the control plane is away, or restarting and back within 3 s. */
const TIMEOUT_MS = 8000;

/** A control plane that restarts is back within 3 s. */
const ASK_AGAIN_MS = 2000;

const AWAY: Problem = {
  title: "No answer",
  status: 0,
  code: "server_away",
  detail: "The server does not answer. Check your connection and try again.",
};

/** A refused request: `message` is the server's sentence for people, `code` its stable name. */
export class ProblemError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(
    problem: Problem,
    /** Seconds after which it is worth asking again; null when the server did not say. */
    readonly retryAfterS: number | null = null,
  ) {
    super(problem.detail);
    this.name = "ProblemError";
    this.code = problem.code;
    this.status = problem.status;
  }
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/**
 * Asks the control plane and gives the answer's JSON (undefined for an answer without a body).
 *
 * Every request carries `X-Tallylight-Request`, which a foreign site's form cannot send.
 *
 * @throws ProblemError with a sentence for people; its code is `server_away` when nothing answered.
 */
export async function request<Answer = void>(
  method: Method,
  path: string,
  body?: unknown,
  signal: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
): Promise<Answer> {
  const headers: Record<string, string> = { accept: "application/json", "x-tallylight-request": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const init: RequestInit = { method, headers, signal, credentials: "same-origin" };
  if (body !== undefined) init.body = JSON.stringify(body);
  const response = await fetch(path, init).catch(() => {
    throw new ProblemError(AWAY);
  });
  if (!response.ok) throw new ProblemError(await readProblem(response), retryAfterSeconds(response.headers));
  return (await readBody(response)) as Answer;
}

async function readBody(response: Response): Promise<unknown> {
  const text = await response.text().catch(() => {
    throw new ProblemError(AWAY);
  });
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    const detail = "Something between this page and the server answered instead of it. Reload the page.";
    throw new ProblemError({ title: "Not an answer", status: response.status, code: "answer_unreadable", detail });
  }
}

let known: Promise<User | null> | null = null;

/** Who is signed in, null for nobody. Asked once a page; what asks later shares the answer. */
export function fetchSession(): Promise<User | null> {
  known ??= askSession().catch((error: unknown) => {
    known = null; // the next one asks again
    throw error;
  });
  return known;
}

/** Tells who is signed in as soon as the server says it, which may be after a restart. Gives what stops the asking. */
export function onceSessionIsKnown(tell: (user: User | null) => void): () => void {
  let over = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const ask = (): void => {
    fetchSession().then(
      (user) => {
        if (!over) tell(user);
      },
      () => {
        if (!over) timer = setTimeout(ask, ASK_AGAIN_MS);
      },
    );
  };
  ask();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}

/** Has the next `fetchSession` ask the server again. */
export function forgetSession(): void {
  known = null;
}

async function askSession(): Promise<User | null> {
  const answer = await request<{ user: User | null }>("GET", "/api/session");
  return answer.user;
}

export async function signIn(name: string, password: string): Promise<User> {
  const answer = await request<{ user: User }>("POST", "/api/session", { name, password });
  known = Promise.resolve(answer.user);
  return answer.user;
}

export async function signOut(): Promise<void> {
  await request("DELETE", "/api/session");
  known = Promise.resolve(null);
}

/** Where to sign in so that this page comes back afterwards. */
export function signInAddress(from: { pathname: string; search: string } = location): string {
  return `/sign-in?next=${encodeURIComponent(from.pathname + from.search)}`;
}

/**
 * The path in `?next=` when it stays on this server, else `home`: an address that is handed around must not lead
 * elsewhere. Pure.
 */
export function localNext(search: string, home = "/"): string {
  const next = new URLSearchParams(search).get("next") ?? home;
  // A browser takes "//host" and "/\host" for another server, and drops tabs and line ends before it looks.
  return /^\/(?![/\\])[^\\\p{Cc}]*$/u.test(next) ? next : home;
}
