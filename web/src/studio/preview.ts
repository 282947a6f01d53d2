import { html, nothing, type TemplateResult } from "lit";
import { ref } from "lit/directives/ref.js";
import { Camera, Radio, VideoOff } from "lucide";
import type { LiveState } from "../api/types";
import { icon } from "../components/icon";
import type { Facts } from "../player/facts";
import "../player/player";
import type { CaptureController } from "./capture_controller";

export interface PreviewFacts {
  capture: CaptureController;
  stream: string;
  token: string;
  server: LiveState | null;
  /** On air by an encoder or another page. */
  elsewhere: boolean;
  onLoopback(facts: Facts): void;
}

/** What this page films, with what viewers see in its corner. */
export function preview(facts: PreviewFacts): TemplateResult {
  const { capture } = facts;
  const { media } = capture;
  const mirrored = capture.content === "camera";
  return html`<div class="preview ${media ? "" : "empty"}">
    <video
      id="preview"
      class=${mirrored ? "mirrored" : ""}
      autoplay
      playsinline
      .muted=${true}
      ?hidden=${!media}
      aria-label="Preview of what you send"
      ${ref((video) => {
        if (video instanceof HTMLVideoElement && video.srcObject !== media) video.srcObject = media;
      })}
    ></video>
    ${media ? html`<span class="pill label">${mirrored ? "your camera, mirrored" : "your screen"}</span>` : empty(facts)}
    ${loopback(facts)}
  </div>`;
}

function empty({ capture, elsewhere }: PreviewFacts): TemplateResult {
  if (capture.error) {
    return html`<div class="preview-text" role="alert" id="capture-error">
      ${icon(VideoOff, 32)}
      <p>${capture.error}</p>
      ${capture.secure ? html`<button class="button" @click=${() => void capture.openCamera()}>Try again</button>` : nothing}
    </div>`;
  }
  if (elsewhere) {
    return html`<div class="preview-text">
      ${icon(Radio, 32)}
      <p>Another encoder is sending. What viewers see is in the corner.</p>
    </div>`;
  }
  return html`<div class="preview-text">
    ${icon(Camera, 32)}
    <p>Only you see the picture until you press Go live.</p>
    <button class="button" id="turn-on-camera" ?disabled=${capture.opening} @click=${() => void capture.openCamera()}>
      ${capture.opening ? "Waiting for the browser" : "Turn on camera"}
    </button>
  </div>`;
}

function loopback({ server, stream, token, onLoopback }: PreviewFacts): TemplateResult | typeof nothing {
  if (!server || server.state === "off_air") return nothing;
  return html`<figure class="loopback">
    <figcaption>what viewers see</figcaption>
    <tallylight-player
      compact
      muted
      id="loopback"
      stream=${stream}
      token=${token}
      @tallylight-facts=${(event: CustomEvent<Facts>) => onLoopback(event.detail)}
    ></tallylight-player>
  </figure>`;
}
