import { html, type TemplateResult } from "lit";
import { rtmpServer } from "../api/server_config";
import "../components/copy_field";

/** Names as OBS writes them, and the value that suits this server. */
const OBS_SETTINGS: readonly (readonly [name: string, value: string])[] = [
  ["Video encoder", "x264 or hardware H.264"],
  ["Rate control", "CBR"],
  ["Bitrate at 1280x720", "2500 Kbps"],
  ["Bitrate at 1920x1080", "4500 Kbps"],
  ["Keyframe interval", "2 s"],
  ["Profile", "high"],
  ["Tune (x264)", "zerolatency"],
  ["B-frames", "0"],
  ["Audio bitrate", "128 Kbps"],
];

/** What an encoder needs instead of this page: addresses, the key, and settings with values. */
export function obsPanel(key: string, rtmpPort: number): TemplateResult {
  return html`<section class="panel" id="obs">
    <h2>OR USE OBS</h2>
    <div>
    <tl-copy-field label="Server" value=${rtmpServer(location.hostname, rtmpPort)}></tl-copy-field>
    ${
      key
        ? html`<tl-copy-field label="Stream key" secret value=${key}></tl-copy-field>`
        : html`<p class="hint muted">The server shows a stream key once and keeps only its fingerprint. Paste it under Stream to copy it from here.</p>`
    }
    <tl-copy-field label="WHIP server" value=${`${location.origin}/whip`}></tl-copy-field>
    <p class="hint muted">In OBS 30 or newer choose the service WHIP, the fastest way: the key is its bearer token.</p>
    </div>
    <div class="settings">
      <h3>Recommended settings</h3>
      <dl>${OBS_SETTINGS.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      <p class="hint muted">Settings, Output, Output mode: Advanced. B-frames 0 lets viewers watch by WebRTC, a second sooner than by HLS.</p>
    </div>
  </section>`;
}
