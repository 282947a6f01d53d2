/** Streams as their owners see and change them. Every function throws a ProblemError with a sentence for people. */
import { request } from "./session";
import type { StreamStatus, Visibility } from "./types";

export type { Visibility } from "./types";

/** How the last publisher ended, or why one was refused, in the server's words. */
export interface LastPublisher {
  ended_at: string;
  code: string;
  sentence: string;
}

export interface Refusal {
  at: string;
  protocol: string;
  code: string;
  message: string;
}

/** A stream as `/api/streams` tells it to those who may edit it; null and [] to everybody else. */
export interface OwnStream extends StreamStatus {
  visibility: Visibility;
  may: { edit: boolean; watch: boolean };
  owner: string | null;
  key_created_at: string | null;
  last_publisher: LastPublisher | null;
  refusals: Refusal[];
}

export interface StreamWithKey {
  name: string;
  key: string;
}

export interface NewStream {
  name: string;
  title: string;
  description: string;
  visibility: Visibility;
}

/** What is left out stays; `owner` is for administrators, null for nobody's. */
export type StreamChanges = Partial<Omit<NewStream, "name"> & { owner: string | null }>;

const path = (name: string, tail = ""): string => `/api/streams/${encodeURIComponent(name)}${tail}`;

/** Those the signed-in person may send to. */
export async function fetchOwnStreams(): Promise<OwnStream[]> {
  const answer = await request<{ streams: OwnStream[] }>("GET", "/api/streams");
  return answer.streams.filter((stream) => stream.may.edit);
}

export function fetchOwnStream(name: string): Promise<OwnStream> {
  return request<OwnStream>("GET", path(name));
}

export function createStream(wanted: NewStream): Promise<StreamWithKey> {
  return request<StreamWithKey>("POST", "/api/streams", wanted);
}

export function changeStream(name: string, changes: StreamChanges): Promise<void> {
  return request("PATCH", path(name), changes);
}

/** A new key; whoever sends with the old one is cut. */
export function rotateKey(name: string): Promise<StreamWithKey> {
  return request<StreamWithKey>("POST", path(name, "/rotate-key"));
}

/** Takes whoever sends off the air. */
export function endPublisher(name: string): Promise<void> {
  return request("DELETE", path(name, "/publisher"));
}
