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

/** The most that the server tells at once. */
export const MOST_BROADCASTS = 100;

/** The newest ones first; `next` is null when these are all. */
export interface BroadcastPage {
  broadcasts: Broadcast[];
  next: string | null;
}

/** The newest broadcasts of one stream, or of all that one may see when none is named. */
export function fetchBroadcasts(stream: string, limit: number, signal?: AbortSignal): Promise<BroadcastPage> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (stream !== "") query.set("stream", stream);
  return request<BroadcastPage>("GET", `/api/broadcasts?${query}`, undefined, signal);
}

/** The newest broadcast of a stream; null before the first. */
export async function fetchNewestBroadcast(name: string): Promise<Broadcast | null> {
  return (await fetchBroadcasts(name, 1)).broadcasts[0] ?? null;
}
