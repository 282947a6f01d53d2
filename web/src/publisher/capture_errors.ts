/** What to tell the streamer when the browser gives no camera, microphone or screen. Pure. */

export interface CaptureContext {
  /** `isSecureContext` and the presence of `navigator.mediaDevices`: browsers hide devices from plain http pages. */
  secure: boolean;
  /** False when an embedding page or a header forbids it (Chromium can tell; elsewhere true). */
  allowedByPolicy: boolean;
  source: "camera" | "screen";
}

export const INSECURE_SENTENCE =
  "Browsers only hand out cameras on https pages or on localhost. Open this page by https, or use OBS with the settings on this page.";

/** Whether something else has the device; on phones that may be another camera of ours. */
export function isBusy(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotReadableError" || error.name === "AbortError");
}

/** One sentence or two: what happened and what to do about it. */
export function captureSentence(error: unknown, context: CaptureContext): string {
  if (!context.secure) return INSECURE_SENTENCE;
  const name = error instanceof Error ? error.name : "";
  const screen = context.source === "screen";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      if (!context.allowedByPolicy) {
        return 'The page around this one does not let it use the camera. It needs allow="camera; microphone" on its frame.';
      }
      return screen
        ? "The screen was not shared. Press Share screen again and choose what to show."
        : "The browser was told not to hand out the camera. Click the icon left of the address, allow camera and microphone, then try again.";
    case "NotFoundError":
      return "No camera or microphone was found. Plug one in, or check that the system does not block it.";
    case "NotReadableError":
    case "AbortError":
      return "Another program is using the camera or microphone. Close it there and try again.";
    case "OverconstrainedError": {
      const constraint = (error as { constraint?: string }).constraint;
      return `The device cannot do what was asked${constraint ? ` (${constraint})` : ""}. Choose another device or a smaller picture.`;
    }
    default:
      return `The browser gave no ${screen ? "screen" : "camera"}${name ? ` (${name})` : ""}. Try again, or choose another device.`;
  }
}
