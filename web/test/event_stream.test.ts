import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EventStream, type EventStreamOptions } from "../src/api/event_stream";

/** The browser's side of one connection; the test is its server. */
class FakeEventSource extends EventTarget {
  static readonly CLOSED = 2;
  static opened: FakeEventSource[] = [];
  readyState = 0;

  constructor(readonly url: string) {
    super();
    FakeEventSource.opened.push(this);
  }

  close(): void {
    this.readyState = FakeEventSource.CLOSED;
  }
}

const newest = (): FakeEventSource => FakeEventSource.opened.at(-1) as FakeEventSource;

let told: string[];
function open(options: Partial<EventStreamOptions<string>> = {}): EventStream<string> {
  return new EventStream<string>({
    url: () => "/events",
    event: "event",
    parse: (data) => (typeof data === "string" ? data : null),
    onValue: (value) => told.push(value),
    onLost: () => told.push("lost"),
    onOpen: () => told.push("open"),
    silenceMs: null,
    reopenBaseMs: 500,
    reopenCapMs: 10_000,
    whileHidden: true,
    ...options,
  });
}

beforeEach(() => {
  told = [];
  FakeEventSource.opened = [];
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeEventSource);
  vi.stubGlobal("document", new EventTarget());
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("server-sent events", () => {
  it("tell that the connection is back before anything happens on it", () => {
    const stream = open();
    newest().dispatchEvent(new Event("open"));
    newest().dispatchEvent(new Event("error"));
    vi.advanceTimersByTime(500);
    newest().dispatchEvent(new Event("open"));
    newest().dispatchEvent(new Event("error"));
    expect(told).toEqual(["open", "lost", "open", "lost"]);
    stream.close();
  });

  it("are asked for ever more slowly where a connection is taken and breaks before the first of them", () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const stream = open({ silenceMs: 8000 });
    for (const waitMs of [500, 1000, 2000]) {
      const before = FakeEventSource.opened.length;
      newest().dispatchEvent(new Event("open"));
      newest().dispatchEvent(new Event("error"));
      vi.advanceTimersByTime(waitMs - 1);
      expect(FakeEventSource.opened.length).toBe(before);
      vi.advanceTimersByTime(1);
      expect(FakeEventSource.opened.length).toBe(before + 1);
    }
    expect(told.filter((word) => word === "lost")).toHaveLength(1);
    stream.close();
  });
});
