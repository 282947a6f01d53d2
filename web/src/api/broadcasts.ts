import { request } from "./session";

/** One time on air, as `/api/broadcasts` tells it. */
export interface Broadcast {
  id: string;
  stream: string;
  title: string;
  status: "ON_AIR" | "RECONNECTING" | "ENDED";
  stream_type: string;
  started_at: string;
  last_media_at: string;
  ended_at: string | null;
  end_reason: string | null;
  peak_viewers: number;
  average_viewers: number;
}

/** One page, newest first; `next` is the value of `before` for the page after it, null when there is none. */
export interface BroadcastPage {
  broadcasts: Broadcast[];
  next: string | null;
}

/** Broadcasts of one stream, or of all that one may see when none is named. */
export function fetchBroadcasts(
  stream: string,
  limit: number,
  before: string | null = null,
  signal?: AbortSignal,
): Promise<BroadcastPage> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (stream !== "") query.set("stream", stream);
  if (before !== null) query.set("before", before);
  return request<BroadcastPage>("GET", `/api/broadcasts?${query}`, undefined, signal);
}

/** The newest broadcast of a stream; null before the first. */
export async function fetchNewestBroadcast(name: string): Promise<Broadcast | null> {
  return (await fetchBroadcasts(name, 1)).broadcasts[0] ?? null;
}
