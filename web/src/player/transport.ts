import type { InboundSample, Latency } from "./latency";
import type { Failure } from "./recovery";

/** What a transport tells the player. Called in any order after `start`, never after `stop`. */
export interface TransportHandlers {
  onFirstFrame(): void;
  onConnected(): void;
  onFailed(failure: Failure): void;
}

/** One way of getting the stream into a `<video>`; used once, from `start` to `stop`. */
export interface PlayerTransport {
  readonly name: "webrtc" | "hls";
  readonly video: HTMLVideoElement;
  /** When the request for media left, in `performance.now()` ms; null before. */
  readonly requestedAtMs: number | null;
  start(): void;
  /** `ended`: the server has closed its side already. */
  stop(ended: boolean): void;
  /** Reads the counters; called about twice a second. */
  sample(): Promise<TransportSample>;
}

export interface TransportSample {
  framesDecoded: number;
  framesDropped: number;
  latency: Latency | null;
  bitrateBps: number | null;
  framesPerSecond: number | null;
  bufferedS: number | null;
  /** WebRTC only. */
  inbound: InboundSample | null;
  connection: string;
}

/** A video element as both transports need it: it starts muted, because browsers refuse sound before a gesture. */
export function createVideo(muted: boolean, volume: number): HTMLVideoElement {
  const video = document.createElement("video");
  video.autoplay = true;
  video.playsInline = true;
  video.muted = muted;
  video.defaultMuted = muted;
  video.volume = volume;
  video.disableRemotePlayback = true;
  return video;
}

/**
 * Calls back once a picture of the stream is on the screen: a decoded frame wider than 2 pixels (Chromium reports
 * 2 x 2 for a stream whose video was refused). In a hidden tab, where browsers draw nothing and call back for no frame,
 * one that is decoded will do.
 */
export function whenFirstFrame(video: HTMLVideoElement, callback: () => void): void {
  if (!("requestVideoFrameCallback" in video)) {
    (video as HTMLVideoElement).addEventListener("loadeddata", callback, { once: true });
    return;
  }
  let seen = false;
  const see = (): void => {
    if (!seen) callback();
    seen = true;
  };
  const look = (): void => {
    if (video.videoWidth > 2) see();
    else video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  video.addEventListener("loadeddata", () => document.hidden && video.videoWidth > 2 && see(), { once: true });
}
