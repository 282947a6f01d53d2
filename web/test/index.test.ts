import { describe, expect, it } from "vitest";
import { parseStreamList } from "../src/api/live_list";
import type { Playability, StreamStatus } from "../src/api/types";
import { listTally, onAirSentence } from "../src/pages/index_tally";

const way = (playable: boolean, code: string | null = null): Playability => ({
  playable,
  code,
  reason: null,
  fix: null,
});
const stream = (changes: Partial<StreamStatus>): StreamStatus => ({
  name: "main",
  status: "ON_AIR",
  stream_type: "RTMP_STREAM",
  started_at: null,
  uptime_s: null,
  ...changes,
});

describe("the list of who is on air", () => {
  it("lights the tally only for streams that a viewer can decode in one way at least", () => {
    const states = [
      stream({ playback: { webrtc: way(false, "b_frames"), hls: way(true) } }),
      stream({ playback: { webrtc: way(false, "starting"), hls: way(false, "starting") } }),
      stream({ playback: { webrtc: way(false, "codec_not_webrtc"), hls: way(false, "codec_not_hls") } }),
      stream({ status: "OFF_AIR" }),
    ].map((one) => listTally(one).word);
    expect(states).toEqual(["On air", "Starting", "Not playable", "Off air"]);
  });

  it("reads a list from an event and nothing from what is none", () => {
    const text = JSON.stringify({ streams: [stream({}), null, { name: 7 }] });
    expect(parseStreamList(text)?.map((one) => one.name)).toEqual(["main"]);
    expect(["<html>", "null", '{"streams":{}}', undefined].map(parseStreamList)).toEqual([null, null, null, null]);
  });

  it("counts in words", () => {
    expect([0, 1, 2].map(onAirSentence)).toEqual([
      "Nobody is on air.",
      "One stream is on air.",
      "2 streams are on air.",
    ]);
  });
});
