import type { ReactiveController, ReactiveControllerHost } from "lit";
import {
  type Content,
  cameraAlreadyAllowed,
  captureContext,
  type Devices,
  listDevices,
  openCamera,
  openScreen,
  stopTracks,
} from "../publisher/capture";
import { captureSentence, INSECURE_SENTENCE, isBusy } from "../publisher/capture_errors";
import { LevelMeter } from "../publisher/meter";
import { SoundMix } from "../publisher/mix";
import { loadSettings, type StudioSettings, saveSettings } from "../publisher/settings";

/** Loudness is read ten times a second: smooth to the eye, cheap to draw. */
export const METER_MS = 100;
/** Below this a microphone counts as silent; about -57 dBFS. */
const SILENT_BELOW = 0.05;
/** The shown level falls by this each time, so that speech can be read from it. */
const LEVEL_FALL = 0.08;

/** What is filmed: camera or screen, microphone, and the choices about them. The page draws it. */
export class CaptureController implements ReactiveController {
  settings: StudioSettings = loadSettings();
  devices: Devices = { cameras: [], microphones: [] };
  media: MediaStream | null = null;
  /** The microphone's own track, which may be a part of what is sent; a screen's sound where there is no microphone. */
  microphone: MediaStreamTrack | null = null;
  content: Content = "camera";
  /** Why there is no picture, as a sentence; null while nothing is wrong. */
  error: string | null = null;
  opening = false;
  microphoneOn = true;
  /** Loudness now, 0 to 1; read by the meter, which draws itself. */
  level = 0;
  /** The sound of a screen together with the microphone's. */
  #mix: SoundMix | null = null;
  #meter: LevelMeter | null = null;
  #silentSinceMs: number | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** The devices that `media` came from, also after they were unplugged. */
  #deviceIds = { video: "", audio: "" };

  readonly #onDevices = (): void => void this.#useReturned();

  /** @param onMedia another picture or sound is there; a running broadcast goes on with it. */
  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly onMedia: (media: MediaStream, content: Content) => Promise<void>,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    this.#timer = setInterval(() => this.#readMeter(), METER_MS);
    navigator.mediaDevices?.addEventListener("devicechange", this.#onDevices);
    if (this.secure) void this.#openIfAllowed();
    else this.error = INSECURE_SENTENCE;
  }

  hostDisconnected(): void {
    clearInterval(this.#timer);
    navigator.mediaDevices?.removeEventListener("devicechange", this.#onDevices);
    this.#meter?.close();
    this.#mix?.close();
    stopTracks(this.media);
  }

  /** Browsers hand out devices to https pages and localhost only. */
  get secure(): boolean {
    return captureContext("camera").secure;
  }

  /** Seconds without a sound from a microphone that is not muted here; null without such a silence. */
  get silentS(): number | null {
    return this.#silentSinceMs === null ? null : (performance.now() - this.#silentSinceMs) / 1000;
  }

  /** The device that is open; the remembered one before. */
  deviceInUse(kind: "video" | "audio"): string {
    const remembered = kind === "video" ? this.settings.cameraId : this.settings.microphoneId;
    return (this.content === "camera" && this.#deviceIds[kind]) || remembered;
  }

  /** The choices, with the devices that are open. */
  get #inUse(): StudioSettings {
    return { ...this.settings, cameraId: this.deviceInUse("video"), microphoneId: this.deviceInUse("audio") };
  }

  /** Keeps a choice; `reopen` for those the device itself has to know. */
  change(part: Partial<StudioSettings>, reopen: boolean): void {
    this.settings = { ...this.settings, ...part };
    saveSettings(this.settings);
    if (reopen && this.media && this.content === "camera") void this.openCamera();
    this.host.requestUpdate();
  }

  toggleMicrophone(): void {
    this.microphoneOn = !this.microphoneOn;
    if (this.microphone) this.microphone.enabled = this.microphoneOn;
    this.host.requestUpdate();
  }

  /** Called from a gesture: the meter may run from now on. */
  resumeMeter(): void {
    this.#meter?.resume();
  }

  resetSilence(): void {
    this.#silentSinceMs = null;
  }

  async openCamera(): Promise<void> {
    await this.#open("camera", async () => this.#use(await this.#chosenCamera(), "camera"));
  }

  /** Phones open one camera at a time: the one that is open makes way, and comes back when the other does not open. */
  async #chosenCamera(): Promise<MediaStream> {
    try {
      return await openCamera(this.settings);
    } catch (error) {
      if (this.content !== "camera" || !this.media || !isBusy(error)) throw error;
    }
    const before = this.#inUse;
    stopTracks(this.media);
    try {
      return await openCamera(this.settings);
    } catch (error) {
      await this.#use(await openCamera(before), "camera");
      throw error;
    }
  }

  async openScreen(): Promise<void> {
    await this.#open("screen", async () => {
      const screen = await openScreen(this.settings);
      screen.getVideoTracks()[0]?.addEventListener("ended", () => void this.openCamera());
      await this.#useScreen(screen, this.microphone?.clone() ?? null);
    });
  }

  /** The microphone goes on beside a screen, mixed with the sound of it where there is one. */
  async #useScreen(screen: MediaStream, microphone: MediaStreamTrack | null): Promise<void> {
    const [sound] = screen.getAudioTracks();
    if (!microphone) return await this.#use(screen, "screen");
    if (!sound) return await this.#use(new MediaStream([...screen.getTracks(), microphone]), "screen", microphone);
    const mix = new SoundMix([sound, microphone]);
    const media = new MediaStream([...screen.getVideoTracks(), ...mix.stream.getAudioTracks()]);
    await this.#use(media, "screen", microphone, mix);
  }

  async #openIfAllowed(): Promise<void> {
    if (await cameraAlreadyAllowed()) await this.openCamera();
    else await this.#refreshDevices();
  }

  async #open(content: Content, open: () => Promise<void>): Promise<void> {
    this.opening = true;
    this.error = null;
    this.host.requestUpdate();
    try {
      await open();
      await this.#refreshDevices();
    } catch (error) {
      this.error = captureSentence(error, captureContext(content));
    } finally {
      this.opening = false;
      this.host.requestUpdate();
    }
  }

  async #use(
    media: MediaStream,
    content: Content,
    microphone = media.getAudioTracks()[0] ?? null,
    mix: SoundMix | null = null,
  ): Promise<void> {
    const before = this.media;
    const mixBefore = this.#mix;
    this.media = media;
    this.microphone = microphone;
    this.content = content;
    this.#mix = mix;
    this.#meter?.close();
    this.#meter = microphone ? new LevelMeter(microphone) : null;
    if (microphone) microphone.enabled = this.microphoneOn;
    if (content === "camera") this.#watch(media);
    await this.onMedia(media, content);
    mixBefore?.close();
    stopTracks(before);
  }

  #watch(media: MediaStream): void {
    this.#deviceIds = { video: "", audio: "" };
    for (const track of media.getTracks()) {
      const kind = track.kind === "video" ? "video" : "audio";
      this.#deviceIds[kind] = track.getSettings().deviceId ?? "";
      track.addEventListener("ended", () => this.#onEnded(media, kind));
    }
  }

  /** Unplugged, or taken back in the browser's own controls. */
  #onEnded(media: MediaStream, kind: "video" | "audio"): void {
    if (media !== this.media) return;
    const device = kind === "video" ? "camera" : "microphone";
    this.error = `The ${device} stopped. Plug it in again or choose another one under Source.`;
    void this.#refreshDevices();
  }

  /** Goes on with the devices that stopped once all are there again; with no other one, which nobody chose to be filmed by. */
  async #useReturned(): Promise<void> {
    await this.#refreshDevices();
    if (this.content !== "camera" || this.opening) return;
    const { cameras, microphones } = this.devices;
    const isBack = ({ kind }: MediaStreamTrack): boolean =>
      kind === "video"
        ? cameras.some(({ deviceId }) => deviceId === this.#deviceIds.video)
        : microphones.some(({ deviceId }) => deviceId === this.#deviceIds.audio);
    const stopped = this.media?.getTracks().filter((track) => track.readyState === "ended") ?? [];
    if (stopped.length === 0 || !stopped.every(isBack)) return;
    await this.#open("camera", async () => this.#use(await openCamera(this.#inUse), "camera"));
  }

  async #refreshDevices(): Promise<void> {
    this.devices = await listDevices().catch(() => this.devices);
    this.host.requestUpdate();
  }

  #readMeter(): void {
    const loudness = this.microphoneOn ? (this.#meter?.read() ?? 0) : 0;
    this.level = Math.max(loudness, this.level - LEVEL_FALL);
    const silent = this.#meter?.running === true && this.microphoneOn && loudness < SILENT_BELOW;
    this.#silentSinceMs = silent ? (this.#silentSinceMs ?? performance.now()) : null;
  }
}
