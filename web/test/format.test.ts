import { describe, expect, it } from "vitest";
import { fullJitterMs } from "../src/backoff";
import { age, ago, behind, bitrate, bytes, duration, secondsSince, tracksLine, viewerCount } from "../src/format";
import { liveState } from "./live_state";

describe("numbers for people", () => {
  it("writes durations with hours only when there are any", () => {
    expect(duration(4442)).toBe("1:14:02");
    expect(duration(62.9)).toBe("1:02");
    expect(duration(-1)).toBe("0:00");
  });

  it("writes ages, bitrates and latency", () => {
    expect([age(12.3), age(180), age(10_000)]).toEqual(["12 s", "3 min", "3 h"]);
    expect([bitrate(2_480_000), bitrate(128_000)]).toEqual(["2.48 Mb/s", "128 kb/s"]);
    expect(behind(210)).toBe("0.21 s behind");
  });

  it("writes amounts of data and times that have passed", () => {
    expect([311e6, 61.04e9, 2e12, 900].map(bytes)).toEqual(["311 MB", "61.0 GB", "2.0 TB", "1 kB"]);
    const now = Date.parse("2026-11-25T00:00:00Z");
    expect(ago("2026-11-24T23:59:48Z", now)).toBe("12 s ago");
    expect(ago("2026-11-16T00:00:00Z", now)).toBe("9 days ago");
    expect(ago(null, now)).toBeNull();
  });

  it("describes tracks; sound over WebRTC is always Opus", () => {
    expect(tracksLine(liveState().tracks, "webrtc")).toBe("1280x720, 30 fps, H.264 + Opus over WebRTC");
    expect(tracksLine(liveState().tracks, "hls")).toBe("1280x720, 30 fps, H.264 + AAC over low-latency HLS");
    expect(tracksLine([], "webrtc")).toBe("");
  });

  it("adds viewers up over transports", () => {
    expect(viewerCount({ webrtc: 3, hls: 2 })).toBe(5);
    expect(viewerCount(null)).toBe(0);
    expect(secondsSince("not a time", 0)).toBeNull();
    expect(secondsSince("1970-01-01T00:00:10Z", 5000)).toBe(0);
  });
});

describe("full jitter", () => {
  it("doubles its bound up to the cap and starts at nothing", () => {
    expect(fullJitterMs(0, 0)).toBe(0);
    expect([0, 1, 2].map((failures) => fullJitterMs(failures, 0.999))).toEqual([499, 999, 1998]);
    expect(fullJitterMs(50, 0.999)).toBe(29_970);
  });
});
