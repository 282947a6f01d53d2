import type { LiveState, VideoTrack } from "../src/api/types";

export const VIDEO: VideoTrack = {
  id: 1,
  kind: "video",
  codec: "H264",
  codec_string: "avc1.64001f",
  width: 1280,
  height: 720,
  has_b_frames: false,
  bitrate_bps: 2_500_000,
  frame_rate: 30,
  keyframe_interval_s: 2,
};

const playable = { playable: true, code: null, reason: null, fix: null };

/** A healthy stream on air, with changes. */
export function liveState(changes: Partial<LiveState> = {}): LiveState {
  return {
    stream: "main",
    state: "on_air",
    media_age_ms: 20,
    last_end: null,
    epoch: 1,
    viewers: 3,
    started_at: "2026-11-25T00:00:00Z",
    stream_type: "RTMP_STREAM",
    tracks: [
      VIDEO,
      {
        id: 2,
        kind: "audio",
        codec: "AAC",
        codec_string: "mp4a.40.2",
        sample_rate_hz: 48000,
        channels: 2,
        bitrate_bps: 128_000,
      },
    ],
    webrtc: playable,
    hls: playable,
    ...changes,
  };
}

export function offAir(lastEnd: string | null = null): LiveState {
  return liveState({ state: "off_air", epoch: null, tracks: [], last_end: lastEnd, media_age_ms: null });
}

export const NO_B_FRAMES = {
  playable: false,
  code: "b_frames",
  reason: "The encoder sends B-frames.",
  fix: "Set bframes=0.",
};
