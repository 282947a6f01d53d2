import { html, type TemplateResult } from "lit";
import { bitrate, codecName, transportName } from "../format";
import type { Facts } from "./facts";

type Row = [name: string, value: string];

/** The measured values, for people who want numbers; "Copy debug info" gives all of them. */
export function statsOverlay(facts: Facts, copied: boolean, copy: () => void, close: () => void): TemplateResult {
  return html`<div class="stats" role="group" aria-label="Playback statistics">
    <dl>
      ${rows(facts).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
    </dl>
    <button @click=${copy}>${copied ? "Copied" : "Copy debug info"}</button>
    <button @click=${close}>Close</button>
  </div>`;
}

function rows(facts: Facts): Row[] {
  const codecs = (facts.server?.tracks ?? []).map((track) => `${codecName(track.codec)} (${track.codec_string})`);
  const maybe = (value: number | null, text: (value: number) => string): string => (value === null ? "-" : text(value));
  return [
    ["Stream", facts.stream],
    ["State", facts.code === "none" ? facts.state : `${facts.state} (${facts.code})`],
    ["Transport", facts.transport ? transportName(facts.transport) : "-"],
    ["Connection", facts.connection ?? "-"],
    [
      "Picture",
      facts.width > 0
        ? `${facts.width}x${facts.height}, ${maybe(facts.framesPerSecond, (fps) => fps.toFixed(1))} fps`
        : "-",
    ],
    ["Codecs", codecs.join(", ") || "-"],
    ["Bitrate", maybe(facts.bitrateBps, bitrate)],
    ["Frames", `${facts.framesDecoded} decoded, ${facts.framesDropped} dropped`],
    ["Latency", maybe(facts.latencyMs, (ms) => `${(ms / 1000).toFixed(3)} s`)],
    ["Buffer", maybe(facts.bufferedS, (seconds) => `${seconds.toFixed(2)} s`)],
    ["Round trip", maybe(facts.roundTripTimeMs, (ms) => `${ms.toFixed(0)} ms`)],
    ["Jitter", maybe(facts.jitterMs, (ms) => `${ms.toFixed(1)} ms`)],
    ["Lost", maybe(facts.packetsLost, (lost) => `${lost} of ${lost + (facts.packetsReceived ?? 0)} packets`)],
    ["First frame", maybe(facts.postToFirstFrameMs, (ms) => `${ms.toFixed(0)} ms after the request`)],
  ];
}
