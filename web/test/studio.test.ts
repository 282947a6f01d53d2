import { describe, expect, it } from "vitest";
import { parseLiveState } from "../src/api/live_events";
import { rtmpServer } from "../src/api/server_config";
import { Announcement } from "../src/components/announcement";
import { sparklinePoints } from "../src/components/sparkline";
import { tallyOf } from "../src/pages/studio_tally";
import { actionOf } from "../src/player/shortcuts";
import { type AdviceFacts, adviceState, adviceWords, advise } from "../src/publisher/advice";
import { captureSentence } from "../src/publisher/capture_errors";
import { keyFromHash, parseKeys, stillGood } from "../src/publisher/keys";
import { levelOf } from "../src/publisher/meter";
import { parseSettings } from "../src/publisher/settings";
import { type OutboundSample, ratesBetween } from "../src/publisher/statistics";
import { isFinal } from "../src/publisher/whip";
import { liveLine } from "../src/studio/live_line";
import { liveState, NO_B_FRAMES, offAir, VIDEO } from "./live_state";

const sample = (changes: Partial<OutboundSample> = {}): OutboundSample => ({
  atMs: 10_000,
  bytesSent: 1_000_000,
  framesEncoded: 300,
  keyFramesEncoded: 5,
  width: 1280,
  height: 720,
  limitation: "none",
  codec: "H264",
  lossShare: 0,
  roundTripMs: 10,
  audioLevel: 0.3,
  ...changes,
});
const rates = { bitrateBps: 2_480_000, framesPerSecond: 30, lossShare: 0, roundTripMs: 10 };
const facts = (changes: Partial<AdviceFacts> = {}): AdviceFacts => ({
  server: liveState(),
  sample: sample(),
  rates,
  content: "camera",
  wantedFrameRate: 30,
  silentS: null,
  limitedS: null,
  viewersSee: true,
  ...changes,
});

describe("tally", () => {
  const live = {
    server: liveState(),
    serverLost: false,
    watchRefused: false,
    publisher: "live",
    loopback: "playing",
    latencyMs: 190,
  } as const;

  it("is red only when the server has media and a viewer's player decodes it", () => {
    expect(tallyOf(live)).toEqual({ state: "on_air", word: "viewers see you · 0.19 s" });
    expect(tallyOf({ ...live, loopback: "starting" }).state).not.toBe("on_air");
    expect(tallyOf({ ...live, loopback: null }).state).not.toBe("on_air");
    expect(tallyOf({ ...live, server: liveState({ state: "no_media" }) }).state).not.toBe("on_air");
    expect(tallyOf({ ...live, server: offAir() }).state).not.toBe("on_air");
    expect(tallyOf({ ...live, serverLost: true }).state).not.toBe("on_air");
  });

  it("promises nothing to a guest who may send to a private stream and not watch it", () => {
    const unseen = { ...live, server: null, loopback: null };
    expect(tallyOf({ ...unseen, watchRefused: true })).toEqual({ state: "unknown", word: "Sending" });
    expect(tallyOf(unseen).word).toBe("Going on air");
  });
});

describe("advice", () => {
  it("is one good line with measured values when all is well", () => {
    expect(advise(facts())).toEqual([
      { code: "viewers_see_you", level: "ok", title: "Viewers see you.", text: "2.48 Mb/s, 30 fps, 0.0 % lost." },
    ]);
  });

  it.each([
    ["B-frames", { server: liveState({ webrtc: NO_B_FRAMES }) }, "B-frames"],
    ["long GOP", { server: liveState({ tracks: [{ ...VIDEO, keyframe_interval_s: 8.3 }] }) }, "every 8.3 s"],
    ["loss", { rates: { ...rates, lossShare: 0.05 } }, "5.0 %"],
    ["distance", { rates: { ...rates, roundTripMs: 450 } }, "450 ms"],
    ["cpu", { sample: sample({ limitation: "cpu" }), limitedS: 12 }, "encode fast enough"],
    ["bandwidth", { sample: sample({ limitation: "bandwidth" }), limitedS: 12 }, "upload carries only"],
    ["dark room", { rates: { ...rates, framesPerSecond: 15 } }, "15 of 30"],
    ["silence", { silentS: 12 }, "12 s"],
    ["nothing arrives", { server: liveState({ state: "no_media", media_age_ms: 4000 }) }, "4 s"],
    ["no viewer's picture", { viewersSee: false }, "No picture"],
  ] as [string, Partial<AdviceFacts>, string][])("names %s with its value", (_name, changes, words) => {
    const advice = advise(facts(changes));
    expect(advice).toHaveLength(1);
    expect(advice[0]?.title).toContain(words);
    expect(advice[0]?.level).not.toBe("ok");
  });

  it("expects no steady pictures of a screen, where nothing may move", () => {
    const still = { rates: { ...rates, framesPerSecond: 1 } };
    expect(advise(facts(still))[0]?.title).toContain("1 of 30");
    expect(advise(facts({ ...still, content: "screen" }))[0]?.level).toBe("ok");
  });

  it("gives the browser time to find out what the upload carries", () => {
    expect(advise(facts({ sample: sample({ limitation: "bandwidth" }), limitedS: 4 }))[0]?.level).toBe("ok");
  });

  it("tells the sender what it measures also where the server says nothing of the stream", () => {
    const advice = advise(facts({ server: null, rates: { ...rates, lossShare: 0.05 } }));
    expect(advice.map((one) => one.code)).toEqual(["packets_lost"]);
  });

  it("says nothing off air", () => {
    expect(advise(facts({ server: offAir(), sample: null, rates: null }))).toEqual([]);
  });
});

describe("capture errors", () => {
  const context = { secure: true, allowedByPolicy: true, source: "camera" } as const;
  const named = (name: string): Error => Object.assign(new Error(""), { name });

  it("tell insecure, denied, forbidden, absent and busy apart", () => {
    const sentences = [
      captureSentence(named("NotAllowedError"), { ...context, secure: false }),
      captureSentence(named("NotAllowedError"), context),
      captureSentence(named("NotAllowedError"), { ...context, allowedByPolicy: false }),
      captureSentence(named("NotFoundError"), context),
      captureSentence(named("NotReadableError"), context),
    ];
    expect(new Set(sentences).size).toBe(5);
    expect(sentences[0]).toContain("https");
  });
});

describe("refusals", () => {
  it("end it when the server will say the same again", () => {
    for (const [code, status] of [
      ["key_wrong", 401],
      ["key_rotated", 401],
      ["sdp_malformed", 400],
    ] as const)
      expect(isFinal({ code, status }, null)).toBe(true);
    expect(isFinal({ code: "try_again", status: 503 }, null)).toBe(false);
    expect(isFinal({ code: "rate_limited", status: 429 }, null)).toBe(false);
  });

  it("tell another device from our own session that the server has not buried yet", () => {
    const busy = { code: "publisher_busy", status: 409 };
    expect(isFinal(busy, null)).toBe(true);
    expect(isFinal(busy, { forMs: 3000, othersSend: false })).toBe(false);
    expect(isFinal(busy, { forMs: 3000, othersSend: true })).toBe(true);
    expect(isFinal(busy, { forMs: 20_000, othersSend: false })).toBe(true);
  });
});

describe("remembered keys", () => {
  it("survive being stored, and nonsense counts as none", () => {
    const known = { key: "k1", createdAt: "2026-11-25T00:00:00Z" };
    expect(parseKeys(JSON.stringify({ main: known })).get("main")).toEqual(known);
    for (const text of [null, "{", "null", '{"main": 3, "b": {"key": ""}}']) expect(parseKeys(text).size).toBe(0);
  });

  it("are no good once the key was rotated elsewhere", () => {
    const known = { key: "k1", createdAt: "2026-11-25T00:00:00Z" };
    expect(stillGood(known, "2026-11-25T00:00:00Z")).toBe("k1");
    expect(stillGood(known, "2026-11-26T00:00:00Z")).toBe("");
    expect(stillGood({ key: "k1", createdAt: null }, "2026-11-26T00:00:00Z")).toBe("k1");
    expect(stillGood(undefined, null)).toBe("");
  });
});

describe("the line beside Go live", () => {
  const now = Date.parse("2026-11-25T01:00:00Z");
  const broadcast = { started_at: "2026-11-25T00:45:58Z", peak_viewers: 140 };

  it("counts from the broadcast's start and names the peak", () => {
    const live = liveState({ viewers: 128, started_at: "2026-11-25T00:59:00Z" });
    const line = liveLine(live, { webrtc: 120, hls: 8 }, broadcast, now);
    expect(line).toBe("14:02 · 128 watching, with you (120 WebRTC, 8 HLS), at most 140");
  });

  it("is empty off air", () => {
    expect(liveLine(offAir(), null, broadcast, now)).toBe("");
  });
});

describe("studio settings", () => {
  it("take the key from the fragment only", () => {
    expect(keyFromHash("#key=a%2Bb")).toBe("a+b");
    expect(keyFromHash("#key=")).toBeNull();
    expect(keyFromHash("")).toBeNull();
  });

  it("fall back for stored nonsense", () => {
    expect(parseSettings("{")).toEqual(parseSettings(null));
    expect(parseSettings('{"height": 9999, "frameRate": 60, "cameraId": 3}')).toMatchObject({
      height: 720,
      frameRate: 60,
      cameraId: "",
    });
  });

  it("give OBS the port that the server listens on", () => {
    expect(rtmpServer("live.example.org", 1936)).toBe("rtmp://live.example.org:1936/live");
  });
});

describe("measuring", () => {
  it("makes rates of two reports and none of a restarted connection", () => {
    const now = sample({ atMs: 12_000, bytesSent: 1_500_000, framesEncoded: 360 });
    expect(ratesBetween(sample(), now)).toMatchObject({ bitrateBps: 2_000_000, framesPerSecond: 30 });
    expect(ratesBetween(sample(), sample({ atMs: 12_000, bytesSent: 10 }))).toBeNull();
  });

  it("reads loudness on a decibel scale", () => {
    expect(levelOf(new Float32Array(512))).toBe(0);
    expect(levelOf(new Float32Array(512).fill(1))).toBe(1);
    expect(levelOf(new Float32Array(512).fill(0.0316))).toBeCloseTo(0.5, 2);
  });

  it("draws the newest value at the right edge", () => {
    expect(sparklinePoints([0, 10], 10)).toBe("235.9,53.0 240.0,3.0");
  });
});

describe("keys", () => {
  const press = (key: string, changes = {}) =>
    actionOf({ key, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...changes });

  it("are the usual ones, and the browser keeps its own", () => {
    expect(press("k")).toBe("toggle_play");
    expect(press("ArrowUp")).toBe("volume_up");
    expect(press("D", { shiftKey: true })).toBe("toggle_stats");
    expect(press("f", { ctrlKey: true })).toBeNull();
    expect(press("x")).toBeNull();
  });
});

describe("server events", () => {
  it("are read defensively", () => {
    expect(parseLiveState("<html>")).toBeNull();
    expect(parseLiveState('{"state":"strange"}')).toBeNull();
    const young = parseLiveState(
      '{"state":"on_air","tracks":[{"kind":"video","keyframe_interval_s":null,"width":1280}]}',
    );
    expect(young?.tracks[0]).toMatchObject({ keyframe_interval_s: 0, width: 1280 });
    expect(parseLiveState('{"stream":"main","state":"off_air"}')).toMatchObject({
      state: "off_air",
      viewers: 0,
      tracks: [],
    });
  });
});

describe("what screen readers say of the health", () => {
  it("changes with what it is about, and not with its numbers", () => {
    const region = new Announcement();
    const say = (changes: Partial<AdviceFacts>) => {
      const advice = advise(facts(changes));
      return region.words(adviceState(advice), adviceWords(advice));
    };
    const first = say({});
    expect(first).toContain("Viewers see you. 2.48 Mb/s");
    expect(say({ rates: { ...rates, bitrateBps: 1_900_000 } })).toBe(first);
    const silent = say({ silentS: 12 });
    expect(silent).toContain("silent for 12 s");
    expect(say({ silentS: 13 })).toBe(silent);
    expect(say({ server: offAir(), sample: null, rates: null })).toBe("Off air.");
  });
});
