import { describe, expect, it } from "vitest";
import {
  atLiveEdge,
  catchUpRate,
  hlsLatency,
  type InboundSample,
  JitterTarget,
  webrtcLatency,
} from "../src/player/latency";

const sample = (changes: Partial<InboundSample>): InboundSample => ({
  atMs: 0,
  framesDecoded: 0,
  framesDropped: 0,
  framesPerSecond: 30,
  bytesReceived: 0,
  packetsReceived: 0,
  packetsLost: 0,
  jitterBufferDelayS: 0,
  jitterBufferEmittedCount: 0,
  totalDecodeTimeS: 0,
  freezeCount: 0,
  jitterMs: 2,
  roundTripTimeMs: 20,
  width: 1280,
  height: 720,
  ...changes,
});

describe("latency", () => {
  it("adds buffer, decoding and half a round trip of the interval", () => {
    const before = sample({
      jitterBufferDelayS: 10,
      jitterBufferEmittedCount: 100,
      framesDecoded: 100,
      totalDecodeTimeS: 1,
    });
    const now = sample({
      jitterBufferDelayS: 10.9,
      jitterBufferEmittedCount: 130,
      framesDecoded: 130,
      totalDecodeTimeS: 1.06,
    });
    expect(webrtcLatency(before, now)?.ms).toBeCloseTo(30 + 2 + 10, 5);
  });

  it("says nothing when no frame came", () => {
    expect(webrtcLatency(sample({}), sample({}))).toBeNull();
    expect(hlsLatency(0)).toBeNull();
    expect(hlsLatency(Number.NaN)).toBeNull();
  });

  it("catches up until it has caught up, without going back and forth", () => {
    expect(catchUpRate(1, 0.2)).toBe(1);
    expect(catchUpRate(1, 0.3)).toBe(1.05);
    expect(catchUpRate(1.05, 0.1)).toBe(1.05);
    expect(catchUpRate(1.05, 0.05)).toBe(1);
  });

  it("calls two segments behind the target still live", () => {
    expect(atLiveEdge(4.5, 0.6)).toBe(true);
    expect(atLiveEdge(4.7, 0.6)).toBe(false);
  });
});

describe("jitter buffer target", () => {
  it("starts at the lowest latency and rises with freezes", () => {
    const target = new JitterTarget(0);
    expect(target.ms).toBe(0);
    expect(target.update(sample({}), sample({ atMs: 500, framesDecoded: 15, freezeCount: 1 }))).toBe(true);
    expect(target.ms).toBe(100);
  });

  it("does not take a stopped publisher for jitter", () => {
    const target = new JitterTarget(0);
    const stopped = sample({ framesDecoded: 100, atMs: 500 });
    target.update(stopped, sample({ framesDecoded: 100, atMs: 1000 }));
    target.update(
      sample({ framesDecoded: 100 }),
      sample({ framesDecoded: 115, atMs: 1500, freezeCount: 1, jitterMs: 900 }),
    );
    expect(target.ms).toBe(0);
  });

  it("rises with jitter, is bounded, and comes down after half a calm minute", () => {
    const target = new JitterTarget(0);
    for (let step = 1; step < 10; step += 1)
      target.update(sample({}), sample({ atMs: step, framesDecoded: 15, jitterMs: 900 }));
    expect(target.ms).toBe(400);
    expect(target.update(sample({}), sample({ atMs: 20_000, framesDecoded: 15 }))).toBe(false);
    expect(target.update(sample({}), sample({ atMs: 30_010, framesDecoded: 15 }))).toBe(true);
    expect(target.ms).toBe(200);
  });
});
