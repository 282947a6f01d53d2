import type { LiveState } from "../api/types";
import type { Fallback, Phase, Transport, View } from "./recovery";
import type { TransportSample } from "./transport";

export interface PlayerError {
  at: string;
  code: string;
  detail: string;
}

/** What the player knows from measuring: decoded frames, not promises. Plain data, safe to copy and to send. */
export interface Facts {
  stream: string;
  state: Phase;
  code: string;
  transport: Transport | null;
  fallback: Fallback | null;
  stateSinceMs: number;
  mediaAgeMs: number | null;
  framesDecoded: number;
  framesDropped: number;
  framesPerSecond: number | null;
  width: number;
  height: number;
  bitrateBps: number | null;
  latencyMs: number | null;
  latencyMethod: string | null;
  bufferedS: number | null;
  jitterMs: number | null;
  roundTripTimeMs: number | null;
  packetsLost: number | null;
  packetsReceived: number | null;
  freezeCount: number | null;
  connection: string | null;
  /** From sending the WHEP offer (or asking for the playlist) to the first decoded frame. */
  postToFirstFrameMs: number | null;
  /** From opening the player to its first decoded frame ever. */
  openToFirstFrameMs: number | null;
  /** Transports started since the player was opened. */
  starts: number;
  errors: PlayerError[];
  server: LiveState | null;
}

export interface FactSources {
  stream: string;
  view: View;
  server: LiveState | null;
  sample: TransportSample | null;
  video: HTMLVideoElement | null;
  postToFirstFrameMs: number | null;
  openToFirstFrameMs: number | null;
  starts: number;
  errors: readonly PlayerError[];
}

export function collectFacts(from: FactSources): Facts {
  const inbound = from.sample?.inbound ?? null;
  return {
    stream: from.stream,
    state: from.view.phase,
    code: from.view.code,
    transport: from.view.transport,
    fallback: from.view.fallback,
    stateSinceMs: Math.round(from.view.sinceMs),
    mediaAgeMs: from.view.mediaAgeMs === null ? null : Math.round(from.view.mediaAgeMs),
    framesDecoded: from.sample?.framesDecoded ?? 0,
    framesDropped: from.sample?.framesDropped ?? 0,
    framesPerSecond: from.sample?.framesPerSecond ?? null,
    width: from.video?.videoWidth ?? 0,
    height: from.video?.videoHeight ?? 0,
    bitrateBps: from.sample?.bitrateBps ?? null,
    latencyMs: from.sample?.latency?.ms ?? null,
    latencyMethod: from.sample?.latency?.method ?? null,
    bufferedS: from.sample?.bufferedS ?? null,
    jitterMs: inbound?.jitterMs ?? null,
    roundTripTimeMs: inbound?.roundTripTimeMs ?? null,
    packetsLost: inbound?.packetsLost ?? null,
    packetsReceived: inbound?.packetsReceived ?? null,
    freezeCount: inbound?.freezeCount ?? null,
    connection: from.sample?.connection ?? null,
    postToFirstFrameMs: from.postToFirstFrameMs,
    openToFirstFrameMs: from.openToFirstFrameMs,
    starts: from.starts,
    errors: [...from.errors],
    server: from.server,
  };
}

/** Text of "Copy debug info": readable, and complete enough to be pasted into a report. */
export function debugInfo(facts: Facts): string {
  return JSON.stringify({ at: new Date().toISOString(), browser: navigator.userAgent, ...facts }, null, 2);
}
