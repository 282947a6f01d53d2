import type { CaptureContext } from "./capture_errors";

/** What is filmed. */
export type Content = "camera" | "screen";

export interface CaptureSettings {
  cameraId: string;
  microphoneId: string;
  height: number;
  frameRate: number;
}

export interface Devices {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
}

interface PolicyDocument extends Document {
  featurePolicy?: { allowsFeature(feature: string): boolean };
}

/** What captureSentence needs to know besides the error. */
export function captureContext(source: CaptureContext["source"]): CaptureContext {
  const policy = (document as PolicyDocument).featurePolicy;
  return {
    secure: window.isSecureContext && navigator.mediaDevices !== undefined,
    allowedByPolicy: policy?.allowsFeature(source === "screen" ? "display-capture" : "camera") ?? true,
    source,
  };
}

/** Camera and microphone. Sizes are wishes (`ideal`): a camera that cannot do 1080p gives what it can. */
export async function openCamera(settings: CaptureSettings): Promise<MediaStream> {
  const media = navigator.mediaDevices;
  const video: MediaTrackConstraints = {
    ...(settings.cameraId ? { deviceId: { exact: settings.cameraId } } : {}),
    width: { ideal: Math.round((settings.height * 16) / 9) },
    height: { ideal: settings.height },
    frameRate: { ideal: settings.frameRate },
  };
  const audio: MediaTrackConstraints = settings.microphoneId ? { deviceId: { exact: settings.microphoneId } } : {};
  try {
    return await media.getUserMedia({ video, audio });
  } catch (error) {
    return await openWithWhatIsThere(error, video, audio);
  }
}

/** A missing microphone must not keep the picture away, nor a remembered device that was unplugged. */
async function openWithWhatIsThere(
  error: unknown,
  video: MediaTrackConstraints,
  audio: MediaTrackConstraints,
): Promise<MediaStream> {
  const name = error instanceof Error ? error.name : "";
  if (name !== "NotFoundError" && name !== "OverconstrainedError") throw error;
  const { cameras, microphones } = await listDevices();
  const { deviceId: _camera, ...anyCamera } = video;
  const { deviceId: _microphone, ...anyMicrophone } = audio;
  if (cameras.length === 0 && microphones.length === 0) throw error;
  return await navigator.mediaDevices.getUserMedia({
    video: cameras.length > 0 ? anyCamera : false,
    audio: microphones.length > 0 ? anyMicrophone : false,
  });
}

/** A screen, window or tab, with its sound where the browser offers it. */
export async function openScreen(settings: CaptureSettings): Promise<MediaStream> {
  return await navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: { ideal: settings.frameRate }, height: { max: 1080 } },
    audio: true,
  });
}

/** Devices with names once permission was given; without it browsers leave the names out. */
export async function listDevices(): Promise<Devices> {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return {
    cameras: all.filter((device) => device.kind === "videoinput" && device.deviceId !== ""),
    microphones: all.filter((device) => device.kind === "audioinput" && device.deviceId !== ""),
  };
}

/** Whether the camera may be opened without a prompt. */
export async function cameraAlreadyAllowed(): Promise<boolean> {
  try {
    const status = await navigator.permissions.query({ name: "camera" as PermissionName });
    return status.state === "granted";
  } catch {
    return false; // Firefox does not know the name
  }
}

export function stopTracks(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
