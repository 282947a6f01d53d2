import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Content } from "../src/publisher/capture";
import { CaptureController } from "../src/studio/capture_controller";

type Kind = "video" | "audio";

class FakeTrack extends EventTarget {
  readyState: "live" | "ended" = "live";
  enabled = true;

  constructor(
    readonly kind: Kind,
    readonly deviceId: string,
  ) {
    super();
  }

  getSettings(): MediaTrackSettings {
    return { deviceId: this.deviceId };
  }

  clone(): FakeTrack {
    return new FakeTrack(this.kind, this.deviceId);
  }

  stop(): void {
    this.readyState = "ended";
  }

  /** What an unplugged device does. */
  end(): void {
    this.stop();
    this.dispatchEvent(new Event("ended"));
  }
}

class FakeStream {
  constructor(readonly tracks: readonly FakeTrack[]) {}

  getTracks(): readonly FakeTrack[] {
    return this.tracks;
  }

  getVideoTracks(): FakeTrack[] {
    return this.tracks.filter((track) => track.kind === "video");
  }

  getAudioTracks(): FakeTrack[] {
    return this.tracks.filter((track) => track.kind === "audio");
  }
}

/** Enough for the mix and the meter: what goes into the output, and whether it was closed. */
class FakeAudioContext {
  static mixed: FakeTrack[] = [];
  static open = 0;
  state = "running";

  constructor() {
    FakeAudioContext.open += 1;
  }

  createAnalyser(): object {
    return { fftSize: 0 };
  }

  createMediaStreamDestination(): object {
    return { stream: new FakeStream([new FakeTrack("audio", "mix")]) };
  }

  createMediaStreamSource(stream: FakeStream): object {
    const connect = (output: object): void => {
      if ("stream" in output) FakeAudioContext.mixed.push(...stream.tracks);
    };
    return { connect };
  }

  async resume(): Promise<void> {}

  async close(): Promise<void> {
    FakeAudioContext.open -= 1;
  }
}

/** Cameras and microphones as a browser hands them out; a phone opens one camera at a time. */
class FakeDevices extends EventTarget {
  plugged: { kind: Kind; deviceId: string }[] = [
    { kind: "video", deviceId: "front" },
    { kind: "video", deviceId: "back" },
    { kind: "audio", deviceId: "desk" },
  ];
  broken: string[] = [];
  oneCamera = false;
  screenSound = true;
  #cameras: FakeTrack[] = [];

  async enumerateDevices(): Promise<{ kind: string; deviceId: string }[]> {
    return this.plugged.map(({ kind, deviceId }) => ({ kind: `${kind}input`, deviceId }));
  }

  async getUserMedia(wanted: Record<Kind, { deviceId?: { exact: string } }>): Promise<FakeStream> {
    const pick = (kind: Kind): string =>
      wanted[kind].deviceId?.exact ?? this.plugged.find((device) => device.kind === kind)?.deviceId ?? "";
    const camera = pick("video");
    const busy = this.oneCamera && this.#cameras.some((track) => track.readyState === "live");
    if (busy || this.broken.includes(camera)) throw Object.assign(new Error(""), { name: "NotReadableError" });
    const video = new FakeTrack("video", camera);
    this.#cameras.push(video);
    return new FakeStream([video, new FakeTrack("audio", pick("audio"))]);
  }

  async getDisplayMedia(): Promise<FakeStream> {
    const sound = this.screenSound ? [new FakeTrack("audio", "screen")] : [];
    return new FakeStream([new FakeTrack("video", "screen"), ...sound]);
  }

  plug(devices: { kind: Kind; deviceId: string }[]): void {
    this.plugged = devices;
    this.dispatchEvent(new Event("devicechange"));
  }
}

const host = { addController() {}, removeController() {}, requestUpdate() {}, updateComplete: Promise.resolve(true) };
let devices: FakeDevices;
let sent: Content[];

const tracks = (capture: CaptureController): FakeTrack[] => [...(capture.media as unknown as FakeStream).tracks];
/** What is sent, device by device. */
const filmed = (capture: CaptureController): string[] =>
  tracks(capture).map((track) => `${track.deviceId} ${track.readyState}`);

async function camera(settings: { cameraId?: string } = {}): Promise<CaptureController> {
  const capture = new CaptureController(host, async (_media, content) => {
    sent.push(content);
  });
  capture.hostConnected();
  capture.settings = { ...capture.settings, ...settings };
  await capture.openCamera();
  return capture;
}

beforeEach(() => {
  devices = new FakeDevices();
  sent = [];
  FakeAudioContext.mixed = [];
  FakeAudioContext.open = 0;
  vi.useFakeTimers();
  vi.stubGlobal("navigator", { mediaDevices: devices });
  vi.stubGlobal("window", { isSecureContext: true });
  vi.stubGlobal("document", {});
  vi.stubGlobal("MediaStream", FakeStream);
  vi.stubGlobal("AudioContext", FakeAudioContext);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a shared screen", () => {
  it("is heard together with the microphone, which alone is muted", async () => {
    const capture = await camera();
    await capture.openScreen();
    expect(filmed(capture)).toEqual(["screen live", "mix live"]);
    expect(FakeAudioContext.mixed.map((track) => track.deviceId)).toEqual(["screen", "desk"]);
    capture.toggleMicrophone();
    expect(FakeAudioContext.mixed.map((track) => track.enabled)).toEqual([true, false]);
    const mixed = [...FakeAudioContext.mixed];
    await capture.openCamera();
    expect(mixed.map((track) => track.readyState)).toEqual(["ended", "ended"]);
    expect(FakeAudioContext.open).toBe(1); // the meter's
  });

  it("without a sound of its own keeps the microphone", async () => {
    devices.screenSound = false;
    const capture = await camera();
    await capture.openScreen();
    expect(filmed(capture)).toEqual(["screen live", "desk live"]);
    expect(sent).toEqual(["camera", "screen"]);
  });
});

describe("a device that is unplugged", () => {
  it("is used again when it is back", async () => {
    const capture = await camera({ cameraId: "back" });
    const [all, ...others] = [devices.plugged, ...devices.plugged.filter(({ deviceId }) => deviceId !== "back")];
    tracks(capture)[0]?.end();
    expect(capture.error).toContain("The camera stopped");
    devices.plug(others);
    await vi.advanceTimersByTimeAsync(0);
    // The other camera was never chosen.
    expect(filmed(capture)).toEqual(["back ended", "desk live"]);
    devices.plug(all);
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["back live", "desk live"]);
    expect(capture.error).toBeNull();
  });

  it("waits for the others that were unplugged with it", async () => {
    const capture = await camera({ cameraId: "back" });
    const all = devices.plugged;
    for (const track of tracks(capture)) track.end();
    devices.plug(all.filter(({ kind }) => kind === "video"));
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["back ended", "desk ended"]);
    devices.plug(all);
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["back live", "desk live"]);
  });

  it("may be the microphone", async () => {
    const capture = await camera();
    tracks(capture)[1]?.end();
    expect(capture.error).toContain("The microphone stopped");
    devices.plug(devices.plugged);
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["front live", "desk live"]);
  });

  it("is left alone while a screen is sent", async () => {
    const capture = await camera();
    const [before] = tracks(capture);
    await capture.openScreen();
    before?.end();
    devices.plug(devices.plugged);
    await vi.advanceTimersByTimeAsync(0);
    expect(capture).toMatchObject({ content: "screen", error: null });
  });
});

describe("another camera on a phone, which opens one at a time", () => {
  it("takes the place of the open one", async () => {
    devices.oneCamera = true;
    const capture = await camera();
    const [front] = tracks(capture);
    capture.change({ cameraId: "back" }, true);
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["back live", "desk live"]);
    expect(front?.readyState).toBe("ended");
    expect(capture).toMatchObject({ error: null });
    expect(capture.deviceInUse("video")).toBe("back");
  });

  it("gives way to the open one when it does not open, and the studio says so", async () => {
    devices.oneCamera = true;
    devices.broken = ["back"];
    const capture = await camera();
    capture.change({ cameraId: "back" }, true);
    await vi.advanceTimersByTimeAsync(0);
    expect(filmed(capture)).toEqual(["front live", "desk live"]);
    expect(capture.error).toContain("Another program");
    expect(capture.deviceInUse("video")).toBe("front");
  });
});
