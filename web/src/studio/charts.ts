import { html, nothing, type TemplateResult } from "lit";
import { sparkline } from "../components/sparkline";
import { bitrate } from "../format";
import type { Series } from "./sending_controller";

/** Above this packets are missed by viewers; below it retransmission hides the loss. */
const LOSS_WARN = 0.02;
/** The round trip from which a lost packet comes back too late to be shown in time. */
const ROUND_TRIP_WARN_MS = 300;
const KEYFRAME_WARN_S = 4;
/** Advice to encoders, and what browsers keep to about. */
const KEYFRAME_HEALTHY_S = 2;
const FRAMES_WARN_SHARE = 0.8;

/** What was chosen under Source; null when another encoder sends, whose choices nobody told us. */
export interface Wanted {
  bitrateBps: number;
  /** Null for a screen, which gives a picture when something on it moves. */
  framesPerSecond: number | null;
}

/** The last minute of everything that is measured about the broadcast, each with the value it should keep near. */
export function charts(series: Series, wanted: Wanted | null): TemplateResult | typeof nothing {
  const last = (values: readonly number[]): number => values.at(-1) ?? 0;
  if (series.bitrateBps.length === 0) return nothing;
  const bps = last(series.bitrateBps);
  const frames = last(series.framesPerSecond);
  const wantedFrames = wanted?.framesPerSecond ?? null;
  const slow = wantedFrames !== null && frames < FRAMES_WARN_SHARE * wantedFrames;
  return html`<div class="charts" id="charts">
    ${sparkline("BITRATE", bitrate(bps), series.bitrateBps, "ok", wanted?.bitrateBps ?? null)}
    ${sparkline("FRAMES", `${frames.toFixed(1)} fps`, series.framesPerSecond, slow ? "warn" : "ok", wantedFrames)}
    ${keyframes(series.keyframeIntervalS)}
    ${measured("LOSS", series.lossShare, (share) => `${(100 * share).toFixed(1)} %`, LOSS_WARN)}
    ${measured("ROUND TRIP", series.roundTripMs, (ms) => `${ms.toFixed(0)} ms`, ROUND_TRIP_WARN_MS)}
  </div>`;
}

function keyframes(values: readonly (number | null)[]): TemplateResult {
  const known = values.filter((value) => value !== null);
  const seconds = known.at(-1) ?? 0;
  const shown = seconds > 0 ? `every ${seconds.toFixed(1)} s` : "measuring";
  return sparkline("KEYFRAMES", shown, known, seconds > KEYFRAME_WARN_S ? "warn" : "ok", KEYFRAME_HEALTHY_S);
}

/** A value of the network between this browser and the server; nothing for encoders that do not report it. */
function measured(
  title: string,
  values: readonly (number | null)[],
  words: (value: number) => string,
  warnAbove: number,
): TemplateResult | typeof nothing {
  const known = values.filter((value) => value !== null);
  const now = known.at(-1);
  if (now === undefined) return nothing;
  return sparkline(title, words(now), known, now > warnAbove ? "warn" : "info", null);
}
