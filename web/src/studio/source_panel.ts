import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import { bitrate } from "../format";
import { BITRATES_BPS, FRAME_RATES, HEIGHTS } from "../publisher/settings";
import type { CaptureController } from "./capture_controller";
import "./level_meter";

type Choices = readonly (readonly [value: string, text: string])[];

/** Devices, size, frame rate and bitrate of what this page films; remembered for the next visit. */
export function sourcePanel(capture: CaptureController, setMaxBitrate: (bps: number) => void): TemplateResult {
  const { settings, devices } = capture;
  const unknown = devices.cameras.length === 0 && devices.microphones.length === 0;
  const pictures = HEIGHTS.map(({ value, label }) => [String(value), label] as const);
  const rates = FRAME_RATES.map((rate) => [String(rate), `${rate} fps`] as const);
  const bitrates = BITRATES_BPS.map((bps) => [String(bps), bitrate(bps)] as const);
  return html`<section class="panel" id="source">
    <h2>SOURCE</h2>
    <div class="fields">
      ${select("camera", "Camera", capture.deviceInUse("video"), deviceChoices(devices.cameras, "Camera"), (value) => capture.change({ cameraId: value }, true))}
      ${select("microphone", "Microphone", capture.deviceInUse("audio"), deviceChoices(devices.microphones, "Microphone"), (value) => capture.change({ microphoneId: value }, true))}
      <span class="field-name" aria-hidden="true">Level</span><tl-level-meter .capture=${capture}></tl-level-meter>
      ${select("picture", "Picture", String(settings.height), pictures, (value) => capture.change({ height: Number(value) }, true))}
      ${select("frame-rate", "Frame rate", String(settings.frameRate), rates, (value) => capture.change({ frameRate: Number(value) }, true))}
      ${select("bitrate", "Bitrate", String(settings.bitrateBps), bitrates, (value) => {
        capture.change({ bitrateBps: Number(value) }, false);
        setMaxBitrate(Number(value));
      })}
    </div>
    ${unknown ? html`<p class="hint muted">Names of devices appear once the browser may use them.</p>` : nothing}
  </section>`;
}

/** Shows what is, also when what was chosen could not be had. */
function select(
  id: string,
  label: string,
  value: string,
  choices: Choices,
  change: (value: string) => void,
): TemplateResult {
  return html`<label for=${id}>${label}</label>
    <select id=${id} @change=${(event: Event) => change((event.target as HTMLSelectElement).value)}>
      ${choices.map(([key, text]) => html`<option value=${key} .selected=${live(key === value)}>${text}</option>`)}
    </select>`;
}

/** Choices of a device picker; "Default" only while the browser does not name the devices. */
function deviceChoices(devices: readonly MediaDeviceInfo[], kind: string): Choices {
  if (devices.length === 0) return [["", "Default"]];
  return devices.map((device, index) => [device.deviceId, device.label || `${kind} ${index + 1}`] as const);
}
