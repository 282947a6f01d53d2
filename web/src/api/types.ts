/** Shapes of the engine's and the control plane's answers (docs/engine-api.md). Units are in the names. */

export interface VideoTrack {
  id: number;
  kind: "video";
  codec: string;
  codec_string: string;
  width: number;
  height: number;
  has_b_frames: boolean;
  bitrate_bps: number;
  frame_rate: number;
  keyframe_interval_s: number;
}

export interface AudioTrack {
  id: number;
  kind: "audio";
  codec: string;
  codec_string: string;
  sample_rate_hz: number;
  channels: number;
  bitrate_bps: number;
}

export type Track = VideoTrack | AudioTrack;

/** Whether a transport can carry the stream; `reason` and `fix` are sentences for people. */
export interface Playability {
  playable: boolean;
  code: string | null;
  reason: string | null;
  fix: string | null;
}

/** Data of one `state` event of `/live/NAME/events`. */
export interface LiveState {
  stream: string;
  state: "on_air" | "no_media" | "off_air";
  media_age_ms: number | null;
  last_end: string | null;
  epoch: number | null;
  viewers: number;
  started_at: string | null;
  stream_type: string | null;
  tracks: Track[];
  webrtc: Playability;
  hls: Playability;
}

export type Visibility = "public" | "unlisted" | "private";

/** One element of `GET /api/streams`. Fields the pages do not read are left out. */
export interface StreamStatus {
  name: string;
  title?: string | null;
  description?: string | null;
  visibility?: Visibility;
  status: "ON_AIR" | "OFF_AIR";
  stream_type: string | null;
  /** The publisher's session. */
  session?: string | null;
  started_at: string | null;
  uptime_s: number | null;
  tracks?: Track[];
  viewers?: Record<string, number> | number | null;
  playback?: Record<"webrtc" | "hls", Playability>;
  /** Path of a still of the newest keyframe, another one for each picture; null while there is none. */
  poster?: string | null;
  /** What whoever asked may do with it. */
  may?: { edit: boolean; watch: boolean };
  /** The account it belongs to, null for nobody's; told to those who may edit, like all below. */
  owner?: string | null;
  key_created_at?: string | null;
}

/** RFC 9457 problem document. */
export interface Problem {
  title: string;
  status: number;
  code: string;
  detail: string;
}
