import { describe, expect, it } from "vitest";
import type { View } from "../src/player/recovery";
import { card, fallbackSentence } from "../src/player/sentences";

const view = (changes: Partial<View>): View => ({
  phase: "playing",
  code: "none",
  transport: null,
  fallback: null,
  sinceMs: 5000,
  mediaAgeMs: null,
  ...changes,
});

describe("cards", () => {
  it("covers nothing while the picture speaks for itself", () => {
    expect(card(view({ phase: "playing" }))).toBeNull();
    expect(card(view({ phase: "paused" }))).toBeNull();
  });

  it("names the streamer's side and since when the picture stopped", () => {
    const text = card(view({ phase: "stalled", code: "publisher_stopped", mediaAgeMs: 12_300 }))?.text;
    expect(text).toContain("The streamer's picture stopped 12 s ago.");
    expect(text).toContain("Nothing to do on your side");
  });

  it("tells starting, reconnecting and ended apart", () => {
    const titles = [
      card(view({ phase: "starting", code: "publisher_silent" })),
      card(view({ phase: "reconnecting", code: "frames_stopped" })),
      card(view({ phase: "ended", code: "finished" })),
    ].map((one) => one?.title);
    expect(new Set(titles).size).toBe(3);
  });

  it("tells a missing, an expired and a withdrawn permission apart, and what to do about each", () => {
    const cards = ["token_missing", "token_expired", "token_wrong"].map((code) =>
      card(view({ phase: "denied", code })),
    );
    expect(new Set(cards.map((one) => one?.title)).size).toBe(3);
    for (const one of cards) expect(one?.text.toLowerCase()).toContain("sign");
  });

  it("does not flash a card in the first moments", () => {
    expect(card(view({ phase: "connecting", sinceMs: 200 }))).toBeNull();
    expect(card(view({ phase: "starting", code: "first_picture", sinceMs: 200 }))).toBeNull();
  });

  it("never shows a code", () => {
    for (const phase of [
      "connecting",
      "waiting",
      "starting",
      "stalled",
      "reconnecting",
      "ended",
      "unplayable",
    ] as const) {
      const message = card(view({ phase, code: "some_raw_code" }));
      expect(`${message?.title} ${message?.text}`).not.toMatch(/_|undefined|null/);
    }
  });
});

describe("fallback", () => {
  it("uses the server's reason and fix", () => {
    const sentence = fallbackSentence({ code: "b_frames", reason: "B-frames are on.", fix: "Set bframes=0." });
    expect(sentence).toBe("B-frames are on. Set bframes=0.");
  });

  it("has its own words without them", () => {
    expect(fallbackSentence({ code: "b_frames", reason: null, fix: null })).toContain("B-frames to 0");
    expect(fallbackSentence({ code: "udp_blocked", reason: null, fix: null })).toContain("blocks UDP");
    expect(fallbackSentence(null)).toBeNull();
  });
});
