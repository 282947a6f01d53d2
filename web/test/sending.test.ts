import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SendingController } from "../src/studio/sending_controller";

const host = { addController() {}, removeController() {}, requestUpdate() {}, updateComplete: Promise.resolve(true) };

function sending(): SendingController {
  return new SendingController(host, { server: () => null, onStreamName() {}, onState() {} });
}

/** Without WebRTC in the test the publisher keeps trying, which is all that is needed here. */
function start(controller: SendingController): void {
  const start = { content: "camera", key: "key", maxBitrateBps: 1, takeOver: false } as const;
  controller.start({ media: {} as MediaStream, ...start });
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("location", { origin: "https://tv.example", search: "" });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("going live and ending", () => {
  it("takes no second click of a double click for the other one", async () => {
    const controller = sending();
    start(controller);
    expect(controller).toMatchObject({ active: true, changing: true });
    await vi.advanceTimersByTimeAsync(700);
    expect(controller).toMatchObject({ active: true, changing: false });
    await controller.stop();
    expect(controller).toMatchObject({ active: false, changing: true });
    await vi.advanceTimersByTimeAsync(700);
    expect(controller.changing).toBe(false);
  });

  it("takes none while the end is under way", async () => {
    const controller = sending();
    start(controller);
    await vi.advanceTimersByTimeAsync(700);
    const ended = controller.stop();
    expect(controller).toMatchObject({ active: true, changing: true });
    await ended;
  });

  it("has nothing to end before the start", async () => {
    const controller = sending();
    await controller.stop();
    expect(controller.changing).toBe(false);
  });
});
