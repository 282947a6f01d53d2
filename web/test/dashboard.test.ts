import { describe, expect, it } from "vitest";
import {
  type Cause,
  type LinkLamp,
  type LinkState,
  leavesGap,
  mergeSamples,
  NO_SAMPLES,
  type RunningStream,
  readDashboard,
  type Samples,
} from "../src/api/dashboard";
import { readEvent } from "../src/api/events_tail";
import { sectionFrom } from "../src/pages/dashboard";
import {
  fieldsText,
  isTrouble,
  matches,
  remarks,
  sortStreams,
  streamLamp,
  summary,
  summaryState,
  worstFirst,
} from "../src/pages/dashboard/model";

const lamp = (link: string, state: LinkState): LinkLamp => ({ link, state, sentence: `${link} is ${state}.` });
const stream = (name: string, links: LinkLamp[], changes: Partial<RunningStream> = {}): RunningStream => ({
  name,
  title: null,
  status: "ON_AIR",
  stream_type: "RTMP_STREAM",
  started_at: null,
  viewers: { webrtc: 1 },
  ingress_bps: 1,
  links,
  cause: null,
  ...changes,
});
const cause = { code: "expose.token_rejected", link: "expose", sentence: "The token is old.", fix: "Restart it." };

function samples(at: number[]): Samples {
  return { ...structuredClone(NO_SAMPLES), at, ...Object.fromEntries(seriesNames.map((name) => [name, [...at]])) };
}
const seriesNames = Object.keys(NO_SAMPLES).filter((name) => name !== "at");

describe("samples", () => {
  it("are joined without repeats, whichever comes first", () => {
    const joined = mergeSamples(samples([2, 4, 6]), samples([6, 8]));
    expect(joined.at).toEqual([2, 4, 6, 8]);
    expect(joined.cpu_percent).toEqual([2, 4, 6, 8]);
    expect(mergeSamples(NO_SAMPLES, samples([2])).at).toEqual([2]);
    expect(mergeSamples(samples([2]), NO_SAMPLES).at).toEqual([2]);
  });

  it("with others missing between them are told", () => {
    expect(leavesGap(samples([2, 4]), samples([6]))).toBe(false);
    expect(leavesGap(samples([2, 4]), samples([4, 10]))).toBe(false);
    expect(leavesGap(samples([2, 4]), samples([60]))).toBe(true);
    expect(leavesGap(samples([2, 4]), samples([4]))).toBe(false);
    expect(leavesGap(NO_SAMPLES, samples([60]))).toBe(false);
  });

  it("older than ten minutes are let go", () => {
    expect(mergeSamples(samples([0, 400, 600]), samples([1000])).at).toEqual([600, 1000]);
    expect(mergeSamples(samples([0, 2]), samples([5000])).at).toEqual([5000]);
  });

  it("that are missing or no numbers are gaps", () => {
    const given = { server: {}, streams: [], samples: { at: [2, 4], cpu_percent: [1, "no"] } };
    const read = readDashboard(given);
    expect(read?.samples.cpu_percent).toEqual([1, null]);
    expect(read?.samples.rss_bytes).toEqual([null, null]);
    expect([null, "text", {}, { server: {} }].map(readDashboard)).toEqual([null, null, null, null]);
  });
});

describe("streams on the dashboard", () => {
  it("are ordered worst first, then by name", () => {
    const ordered = worstFirst([
      stream("b", [lamp("host", "ok")]),
      stream("a", [lamp("host", "ok")]),
      stream("warned", [lamp("capture", "warn"), lamp("host", "ok")]),
      stream("red", [lamp("ingest", "fail")]),
      stream("explained", [lamp("expose", "fail")], { cause }),
    ]);
    expect(ordered.map((one) => one.name)).toEqual(["explained", "red", "warned", "a", "b"]);
  });

  it("show remarks beside the cause, not instead of it", () => {
    const links = [lamp("capture", "warn"), lamp("expose", "fail"), lamp("process", "waiting")];
    expect(remarks(stream("main", links, { cause })).map((one) => one.link)).toEqual(["capture"]);
    expect(streamLamp(stream("main", links, { cause })).word).toBe("Broken");
    expect(streamLamp(stream("main", [lamp("capture", "warn")])).state).toBe("degraded");
    expect(streamLamp(stream("main", [lamp("host", "ok")])).state).toBe("on_air");
    expect(streamLamp(stream("main", [], { status: "RECONNECTING" })).word).toBe("Reconnecting");
  });

  it("that nobody sends to are listed, and what breaks them all is shown once", () => {
    const away = { ...cause, code: "engine.away", link: "engine", sentence: "The engine does not answer." };
    const off = { status: "OFF_AIR", stream_type: null };
    const quiet = sortStreams([stream("quiet", [lamp("ingest", "waiting")], off), stream("live", [])]);
    expect(quiet.shown.map((one) => one.name)).toEqual(["live"]);
    expect(quiet.offAir.map((one) => one.name)).toEqual(["quiet"]);
    const broken = sortStreams(["a", "b", "c"].map((name) => stream(name, [], { ...off, cause: away })));
    expect([broken.shown.length, broken.offAir.length]).toEqual([1, 2]);
    const silent = stream("silent", [lamp("ingest", "warn")], { status: "OFF_AIR" });
    expect(sortStreams([silent]).shown).toEqual([silent]);
    expect(streamLamp(silent).word).toBe("No picture");
    expect(streamLamp(stream("quiet", [], off)).word).toBe("Off air");
  });

  it("are summed up in a sentence", () => {
    expect(summary([])).toBe("Nothing is on air, no broken link.");
    expect(summary([stream("main", [])])).toBe("1 on air, no broken link.");
    expect(summary([stream("main", [], { cause })])).toBe("1 on air. main: The token is old.");
  });

  it("are said anew for another cause, and not for other numbers in its sentence", () => {
    const said = (changes: Partial<Cause>) => summaryState([stream("main", [], { cause: { ...cause, ...changes } })]);
    expect(said({ sentence: "The token is 12 s old." })).toBe(said({ sentence: "The token is 13 s old." }));
    expect(said({ code: "expose.no_answer" })).not.toBe(said({}));
    expect(summaryState([stream("main", [])])).not.toBe(summaryState([]));
  });
});

describe("events", () => {
  const event = readEvent(
    JSON.stringify({
      seq: 7,
      at: "2026-11-25T00:00:00Z",
      event: "publish_ended",
      stream: "main",
      reason: "stalled",
      n: null,
    }),
  );

  it("are read from JSON, and nothing else is", () => {
    expect(event?.fields).toEqual({ reason: "stalled", n: null });
    expect([null, "<html>", "[]", '{"event":1}'].map(readEvent)).toEqual([null, null, null, null]);
  });

  it("are found by text, stream and name", () => {
    if (!event) throw new Error("not read");
    const nothing = { text: "", stream: "", name: "" };
    expect(matches(event, nothing)).toBe(true);
    expect(matches(event, { ...nothing, text: " STALLED" })).toBe(true);
    expect(matches(event, { ...nothing, text: "rtmp" })).toBe(false);
    expect(matches(event, { ...nothing, stream: "other" })).toBe(false);
    expect(matches(event, { ...nothing, name: "publish_ended" })).toBe(true);
    expect(fieldsText({ ...event.fields, list: [1] })).toBe("reason stalled · list [1]");
    expect(["media_stalled", "publish_started"].map(isTrouble)).toEqual([true, false]);
  });
});

describe("the section in the address", () => {
  it("is none where the address names a place on the page", () => {
    expect(sectionFrom("#accounts")).toBe("accounts");
    expect(sectionFrom("")).toBe("now");
    expect(sectionFrom("#main")).toBeNull();
    expect(sectionFrom("#toString")).toBeNull();
  });
});
