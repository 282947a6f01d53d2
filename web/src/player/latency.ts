/** How far behind the picture is, and how that was measured. Pure. */

export interface Latency {
  ms: number;
  /** Says what the number covers: it is an estimate of the way from the server to the screen, not from the lens. */
  method: string;
}

/** Cumulative counters of one `getStats()` report (W3C webrtc-stats names, seconds there, ms here where named). */
export interface InboundSample {
  atMs: number;
  framesDecoded: number;
  framesDropped: number;
  framesPerSecond: number;
  bytesReceived: number;
  packetsReceived: number;
  packetsLost: number;
  jitterBufferDelayS: number;
  jitterBufferEmittedCount: number;
  totalDecodeTimeS: number;
  freezeCount: number;
  jitterMs: number;
  roundTripTimeMs: number | null;
  width: number;
  height: number;
}

/**
 * Latency of the last interval: mean time in the jitter buffer plus mean decoding time plus half a round trip.
 * Null when no frame left the buffer in it.
 * Source: W3C webrtc-stats, jitterBufferDelay / jitterBufferEmittedCount.
 */
export function webrtcLatency(before: InboundSample, now: InboundSample): Latency | null {
  const emitted = now.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
  if (emitted <= 0) return null;
  const bufferMs = (1000 * (now.jitterBufferDelayS - before.jitterBufferDelayS)) / emitted;
  const decoded = now.framesDecoded - before.framesDecoded;
  const decodeMs = decoded > 0 ? (1000 * (now.totalDecodeTimeS - before.totalDecodeTimeS)) / decoded : 0;
  const halfTripMs = (now.roundTripTimeMs ?? 0) / 2;
  return {
    ms: bufferMs + decodeMs + halfTripMs,
    method: `Estimate from server to screen: jitter buffer ${bufferMs.toFixed(0)} ms, decoding ${decodeMs.toFixed(0)} ms, half a round trip ${halfTripMs.toFixed(0)} ms. Camera and encoder come on top.`,
  };
}

/** hls.js' own figure: the playlist's live edge, aged by the time since it was loaded, less the playing position. */
export function hlsLatency(latencyS: number): Latency | null {
  if (!Number.isFinite(latencyS) || latencyS <= 0) return null;
  return {
    ms: latencyS * 1000,
    method: "Measured against the newest part in the HLS playlist. Camera, encoder and packaging come on top.",
  };
}

/** Bounds and steps of `jitterBufferTarget`, in ms: 0 is the lowest latency the browser can do. */
const JITTER_STEPS_MS = [0, 100, 200, 400] as const;
/** Smooth for this long: try one step less. */
const JITTER_CALM_MS = 30_000;

/**
 * Drives `RTCRtpReceiver.jitterBufferTarget`: one step up per interval with a new freeze or jitter above the target,
 * one step down after a calm half minute.
 */
export class JitterTarget {
  #index = 0;
  #changedAtMs: number;
  #resuming = false;

  constructor(nowMs: number) {
    this.#changedAtMs = nowMs;
  }

  get ms(): number {
    return JITTER_STEPS_MS[this.#index] ?? 0;
  }

  /** Takes one interval; true when the target changed. */
  update(before: InboundSample, now: InboundSample): boolean {
    const resumed = this.#resuming;
    this.#resuming = now.framesDecoded === before.framesDecoded;
    // A picture that stood still for a whole interval was stopped by its publisher or the link; that is not jitter.
    if (this.#resuming || resumed) return false;
    const froze = now.freezeCount > before.freezeCount;
    // 40 ms of jitter is more than one frame interval at 25 fps: without a buffer it shows.
    const rough = froze || now.jitterMs > Math.max(40, this.ms);
    if (rough && this.#index < JITTER_STEPS_MS.length - 1) {
      this.#index += 1;
      this.#changedAtMs = now.atMs;
      return true;
    }
    if (rough) this.#changedAtMs = now.atMs;
    if (!rough && this.#index > 0 && now.atMs - this.#changedAtMs >= JITTER_CALM_MS) {
      this.#index -= 1;
      this.#changedAtMs = now.atMs;
      return true;
    }
    return false;
  }
}

/** Catching up is 50 ms a second: not audible. */
const CATCH_UP_RATE = 1.05;
/** Distance above the target at which catching up begins, and the one at which it is done. */
const CATCH_UP_FROM_S = 0.25;
const CATCH_UP_TO_S = 0.06;

/**
 * Playback rate for a position `excessS` seconds further behind than wanted.
 *
 * Begins and ends at different distances, because changing the rate costs Chromium some 50 ms: hls.js' own control
 * goes back and forth between 1 and 1.05 at a second of excess, and there loses what it gains.
 */
export function catchUpRate(currentRate: number, excessS: number): number {
  if (excessS >= CATCH_UP_FROM_S) return CATCH_UP_RATE;
  return excessS <= CATCH_UP_TO_S ? 1 : currentRate;
}

/** Whether a position counts as live: within two segments of the target, as other players have it. */
export function atLiveEdge(latencyS: number, targetLatencyS: number): boolean {
  return latencyS <= targetLatencyS + 4;
}
