import { readProblem } from "./problem";
import type { StreamStatus } from "./types";

/** All streams of this server. Throws an Error whose message is a sentence for people. */
export async function fetchStreams(signal: AbortSignal): Promise<StreamStatus[]> {
  const response = await fetch("/api/streams", { signal, headers: { accept: "application/json" } });
  if (!response.ok) throw new Error((await readProblem(response)).detail);
  const body = (await response.json()) as { streams?: StreamStatus[] } | StreamStatus[];
  return Array.isArray(body) ? body : (body.streams ?? []);
}

/** A watch page waits no longer than this for the title: the picture does not depend on it. */
const ONE_TIMEOUT_MS = 1500;

/** One stream, or "unknown" to the server; null when it does not answer. */
export async function fetchStream(name: string): Promise<StreamStatus | "unknown" | null> {
  try {
    const response = await fetch(`/api/streams/${encodeURIComponent(name)}`, {
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(ONE_TIMEOUT_MS),
    });
    if (response.status === 404) return "unknown";
    return response.ok ? ((await response.json()) as StreamStatus) : null;
  } catch {
    return null;
  }
}
