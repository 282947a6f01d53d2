import type { AudioTrack, StreamStatus, Track, VideoTrack } from "./api/types";

/** "2.48 Mb/s", "128 kb/s". */
export function bitrate(bps: number): string {
  if (bps >= 1_000_000) return `${(bps / 1_000_000).toFixed(2)} Mb/s`;
  return `${Math.round(bps / 1000)} kb/s`;
}

/** "1:14:02" or "14:02"; hours appear only when there are any. */
export function duration(totalSeconds: number): string {
  const seconds = Math.max(0, Math.floor(totalSeconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** "12 s", "3 min", "2 h": an age inside a sentence. */
export function age(totalSeconds: number): string {
  const seconds = Math.max(0, Math.round(totalSeconds));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** "12 s ago", "9 days ago"; null when the time is absent or unreadable. */
export function ago(at: string | null, nowMs: number): string | null {
  const seconds = secondsSince(at, nowMs);
  if (seconds === null) return null;
  return seconds < 2 * 86_400 ? `${age(seconds)} ago` : `${Math.round(seconds / 86_400)} days ago`;
}

/** "311 MB", "61.0 GB": decimal, as disks are sold. */
export function bytes(count: number): string {
  if (count >= 1e12) return `${(count / 1e12).toFixed(1)} TB`;
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} GB`;
  return count >= 1e6 ? `${Math.round(count / 1e6)} MB` : `${Math.round(count / 1e3)} kB`;
}

/** "0.21 s behind". */
export function behind(latencyMs: number): string {
  const seconds = latencyMs / 1000;
  return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s behind`;
}

/** "1 viewer", "128 watching". */
export function watching(count: number): string {
  return `${count.toLocaleString("en")} watching`;
}

const CODEC_NAMES: Record<string, string> = {
  H264: "H.264",
  H265: "HEVC",
  HEVC: "HEVC",
  AV1: "AV1",
  VP8: "VP8",
  VP9: "VP9",
  AAC: "AAC",
  OPUS: "Opus",
};

/** The name people know a codec by: "H264" gives "H.264". */
export function codecName(codec: string): string {
  return CODEC_NAMES[codec.toUpperCase()] ?? codec;
}

export function videoTrack(tracks: readonly Track[]): VideoTrack | null {
  return tracks.find((track): track is VideoTrack => track.kind === "video") ?? null;
}

export function audioTrack(tracks: readonly Track[]): AudioTrack | null {
  return tracks.find((track): track is AudioTrack => track.kind === "audio") ?? null;
}

/** How viewers name the transports. */
export function transportName(transport: "webrtc" | "hls" | null): string {
  if (transport === "webrtc") return "WebRTC";
  return transport === "hls" ? "low-latency HLS" : "";
}

/** "1280x720, 30 fps"; empty without video. */
export function pictureLine(tracks: readonly Track[]): string {
  const video = videoTrack(tracks);
  const parts: string[] = [];
  if (video && video.width > 0) parts.push(`${video.width}x${video.height}`);
  if (video && video.frame_rate > 0) parts.push(`${Math.round(video.frame_rate)} fps`);
  return parts.join(", ");
}

/**
 * "1280x720, 30 fps, H.264 + Opus over WebRTC". What arrives by WebRTC is always Opus: the engine converts other audio.
 */
export function tracksLine(tracks: readonly Track[], transport: "webrtc" | "hls" | null): string {
  const video = videoTrack(tracks);
  const audio = audioTrack(tracks);
  const parts = [pictureLine(tracks)].filter(Boolean);
  const codecs = [video?.codec, transport === "webrtc" && audio ? "Opus" : audio?.codec]
    .filter((codec): codec is string => Boolean(codec))
    .map(codecName);
  if (codecs.length > 0) parts.push(codecs.join(" + "));
  const line = parts.join(", ");
  return line !== "" && transport ? `${line} over ${transportName(transport)}` : line;
}

/** Total viewers of a status: the engine counts them per transport. */
export function viewerCount(viewers: StreamStatus["viewers"]): number {
  if (typeof viewers === "number") return viewers;
  return Object.values(viewers ?? {}).reduce((sum, count) => sum + (Number.isFinite(count) ? count : 0), 0);
}

/** Seconds since an RFC 3339 time, never negative; null when it is absent or unreadable. */
export function secondsSince(startedAt: string | null, nowMs: number): number | null {
  if (!startedAt) return null;
  const started = Date.parse(startedAt);
  return Number.isNaN(started) ? null : Math.max(0, (nowMs - started) / 1000);
}
