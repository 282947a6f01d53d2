import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { forgetSession } from "../src/api/session";
import { StreamController } from "../src/studio/stream_controller";

const host = { addController() {}, removeController() {}, requestUpdate() {}, updateComplete: Promise.resolve(true) };
const STAGE = {
  name: "stage",
  status: "OFF_AIR",
  visibility: "public",
  may: { edit: true, watch: true },
  key_created_at: null,
};

/** Whether the control plane answers. */
let up: boolean;

function controller(): StreamController {
  const made = new StreamController(host, { onServer() {}, onChosen() {} });
  made.hostConnected();
  return made;
}

beforeEach(() => {
  up = false;
  vi.useFakeTimers();
  forgetSession();
  vi.stubGlobal("location", { search: "", hash: "", pathname: "/studio" });
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false }));
  vi.stubGlobal(
    "EventSource",
    class extends EventTarget {
      close(): void {}
    },
  );
  vi.stubGlobal("fetch", async (path: string) => {
    if (!up) throw new TypeError("Failed to fetch");
    if (path === "/api/session") return Response.json({ user: { name: "ada", role: "streamer" } });
    if (path === "/api/streams") return Response.json({ streams: [STAGE] });
    if (path === "/api/streams/stage") return Response.json(STAGE);
    return Response.json({ broadcasts: [] });
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a studio that is opened while the control plane is away", () => {
  it("is a guest's until the server says whose it is", async () => {
    const stream = controller();
    await vi.advanceTimersByTimeAsync(1000);
    expect(stream).toMatchObject({ mode: "guest", name: "main" });
    up = true;
    await vi.advanceTimersByTimeAsync(2000);
    expect(stream).toMatchObject({ mode: "owner", name: "stage" });
    stream.hostDisconnected();
  });

  it("keeps the stream and the key that were brought meanwhile", async () => {
    const stream = controller();
    await vi.advanceTimersByTimeAsync(1000);
    expect(stream.mode).toBe("guest");
    stream.choose("elsewhere");
    stream.useKey("a-key");
    up = true;
    await vi.advanceTimersByTimeAsync(2000);
    expect(stream).toMatchObject({ mode: "owner", name: "elsewhere", key: "a-key" });
    stream.hostDisconnected();
  });
});
