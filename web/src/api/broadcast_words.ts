/** Broadcasts in words. Pure. */
import { duration } from "../format";
import type { Broadcast } from "./broadcasts";

/** How it ended, by the codes of src/tallylight/streams/sentences.py, as part of a line; the ordinary end says nothing. */
const ENDS: Record<string, string> = {
  finished: "",
  connection_lost: "the connection broke",
  stalled: "its picture stopped",
  replaced: "another publisher took its place",
  taken_over: "another device took over",
  removed: "taken off the air",
  key_rotated: "its key was changed",
  protocol_error: "the encoder sent something unreadable",
  shutdown: "the server was shut down",
  engine_lost: "the media engine was restarted",
  engine_away: "the media engine did not answer",
};

const SOURCES: Record<string, string> = { RTMP_STREAM: "RTMP", WEBRTC_STREAM: "WebRTC" };

/** "lasted 1:14:02", "on air for 3:20", "3:20, waiting for its publisher". */
export function lengthText(broadcast: Broadcast, nowMs: number): string {
  // Ended, it lasted until its last media, not until somebody noticed.
  const untilMs = broadcast.status === "ON_AIR" ? nowMs : Date.parse(broadcast.last_media_at);
  const lasted = duration((untilMs - Date.parse(broadcast.started_at)) / 1000);
  if (broadcast.status === "ON_AIR") return `on air for ${lasted}`;
  return broadcast.status === "RECONNECTING" ? `${lasted}, waiting for its publisher` : `lasted ${lasted}`;
}

/** "no viewers", "1 viewer at most, 0.3 on average", "128 viewers at most, 42 on average". */
export function audienceText(broadcast: Broadcast): string {
  const { peak_viewers: peak, average_viewers: average } = broadcast;
  if (peak === 0) return "no viewers";
  const most = `${peak.toLocaleString("en")} ${peak === 1 ? "viewer" : "viewers"} at most`;
  const mean = average < 10 ? average.toFixed(1) : Math.round(average).toLocaleString("en");
  return `${most}, ${mean} on average`;
}

/** All that there is to tell: length, audience, how it came and, when it was not the ordinary one, its end. */
export function broadcastText(broadcast: Broadcast, nowMs: number): string {
  const reason = broadcast.end_reason ?? "";
  const end = broadcast.status === "ENDED" ? (ENDS[reason] ?? reason) : "";
  const source = SOURCES[broadcast.stream_type] ?? broadcast.stream_type;
  return [lengthText(broadcast, nowMs), audienceText(broadcast), source, end].filter(Boolean).join(" · ");
}
