import type { Broadcast } from "../api/broadcasts";
import type { LiveState, StreamStatus } from "../api/types";
import { duration, secondsSince, viewerCount, watching } from "../format";

/** Time on air and who watches: "14:02 · 128 watching, with you (120 WebRTC, 8 HLS), at most 140". Pure. */
export function liveLine(
  server: LiveState | null,
  viewers: StreamStatus["viewers"],
  broadcast: Pick<Broadcast, "started_at" | "peak_viewers"> | null,
  nowMs: number,
): string {
  if (!server || server.state === "off_air") return "";
  // A broadcast is older than its publisher after a break.
  const uptime = secondsSince(broadcast?.started_at ?? server.started_at, nowMs);
  const peak = broadcast?.peak_viewers ?? 0;
  const most = peak > server.viewers ? `, at most ${peak.toLocaleString("en")}` : "";
  const people = `${watching(server.viewers)}, with you${byTransport(viewers)}${most}`;
  return [uptime === null ? null : duration(uptime), people].filter(Boolean).join(" · ");
}

/** Only worth the room when both kinds are there. */
function byTransport(viewers: StreamStatus["viewers"]): string {
  if (typeof viewers !== "object" || viewers === null) return "";
  const { webrtc = 0, hls = 0 } = viewers;
  return webrtc > 0 && hls > 0 && viewerCount(viewers) > 0 ? ` (${webrtc} WebRTC, ${hls} HLS)` : "";
}
