import { describe, expect, it } from "vitest";
import { audienceText, broadcastText, lengthText } from "../src/api/broadcast_words";
import type { Broadcast } from "../src/api/broadcasts";

const NOW_MS = Date.parse("2026-11-28T20:00:00Z");
const broadcast = (changes: Partial<Broadcast> = {}): Broadcast => ({
  id: "b1",
  stream: "main",
  title: "",
  status: "ENDED",
  stream_type: "RTMP_STREAM",
  started_at: "2026-11-28T18:00:00Z",
  last_media_at: "2026-11-28T19:14:02Z",
  ended_at: "2026-11-28T19:15:02Z",
  end_reason: "finished",
  peak_viewers: 128,
  average_viewers: 41.5,
  ...changes,
});

describe("a broadcast in words", () => {
  it("lasted until its last media, not until its end was noticed", () => {
    expect(lengthText(broadcast(), NOW_MS)).toBe("lasted 1:14:02");
    expect(lengthText(broadcast({ status: "ON_AIR" }), NOW_MS)).toBe("on air for 2:00:00");
    expect(lengthText(broadcast({ status: "RECONNECTING" }), NOW_MS)).toBe("1:14:02, waiting for its publisher");
  });

  it("says who watched", () => {
    expect(audienceText(broadcast())).toBe("128 viewers at most, 42 on average");
    expect(audienceText(broadcast({ peak_viewers: 1, average_viewers: 0.25 }))).toBe(
      "1 viewer at most, 0.3 on average",
    );
    expect(audienceText(broadcast({ peak_viewers: 12_000, average_viewers: 9_000.4 }))).toBe(
      "12,000 viewers at most, 9,000 on average",
    );
    expect(audienceText(broadcast({ peak_viewers: 0, average_viewers: 0 }))).toBe("no viewers");
  });

  it("names an end only when it was not the ordinary one", () => {
    expect(broadcastText(broadcast(), NOW_MS)).toBe("lasted 1:14:02 · 128 viewers at most, 42 on average · RTMP");
    expect(broadcastText(broadcast({ end_reason: "key_rotated" }), NOW_MS)).toMatch(/ · RTMP · its key was changed$/);
    expect(broadcastText(broadcast({ end_reason: "new_code" }), NOW_MS)).toMatch(/ · new_code$/);
    expect(broadcastText(broadcast({ status: "ON_AIR", end_reason: "stalled" }), NOW_MS)).toMatch(/RTMP$/);
  });
});
