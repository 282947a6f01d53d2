//! What a track is: its codec, its clock and what a decoder must know before the first access unit.

use bytes::Bytes;
use std::sync::Arc;

/// A codec this server can carry. Names are the ones shown to people and used in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    H264,
    H265,
    Av1,
    Vp8,
    Vp9,
    Aac,
    Opus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Video,
    Audio,
}

impl Codec {
    pub fn kind(self) -> Kind {
        match self {
            Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => Kind::Video,
            Codec::Aac | Codec::Opus => Kind::Audio,
        }
    }

    /// The name in the API and on pages.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Av1 => "AV1",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Aac => "AAC",
            Codec::Opus => "Opus",
        }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::Audio => "audio",
        }
    }
}

/// Number of a track within its stream; also its `track_ID` in fMP4 (so it starts at 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u8);

impl TrackId {
    /// The one video track of a stream.
    pub const VIDEO: TrackId = TrackId(1);
    /// The audio track the publisher sends.
    pub const AUDIO: TrackId = TrackId(2);
    /// Opus made by the engine from the publisher's AAC, for WebRTC viewers.
    pub const AUDIO_OPUS: TrackId = TrackId(3);
}

/// Everything that must be known to decode a track.
///
/// `extradata` by codec, always without any container header:
/// H264 `AVCDecoderConfigurationRecord` (avcC body), H265 `HEVCDecoderConfigurationRecord` (hvcC body),
/// AV1 `AV1CodecConfigurationRecord` (av1C body), VP9 and VP8 empty, AAC `AudioSpecificConfig`,
/// Opus `OpusHead` as in Ogg (RFC 7845 section 5.1, 19 bytes for mono and stereo).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackConfig {
    pub codec: Codec,
    /// Ticks per second of `pts` and `dts`: 90,000 for video, the sample rate for audio (48,000 for Opus).
    pub timescale_hz: u32,
    pub extradata: Bytes,
    /// Video only, pixels after cropping; 0 when not known (VP8/VP9 before the first keyframe).
    pub width: u32,
    pub height: u32,
    /// Audio only.
    pub sample_rate_hz: u32,
    pub channels: u8,
    /// Video only: the encoder may send pictures out of display order. WebRTC cannot carry that.
    pub has_b_frames: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    pub id: TrackId,
    pub config: TrackConfig,
}

impl Track {
    pub fn kind(&self) -> Kind {
        self.config.codec.kind()
    }
}

/// The tracks of one publication at one moment. A change (late second track, new resolution) is a new
/// set with a higher `version`; a new publisher is a new `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSet {
    pub epoch: u64,
    pub version: u32,
    pub tracks: Vec<Arc<Track>>,
}

impl TrackSet {
    pub fn video(&self) -> Option<&Arc<Track>> {
        self.tracks.iter().find(|t| t.kind() == Kind::Video)
    }

    /// The publisher's own audio track (not the engine's Opus copy).
    pub fn audio(&self) -> Option<&Arc<Track>> {
        self.tracks.iter().find(|t| t.kind() == Kind::Audio)
    }

    pub fn get(&self, id: TrackId) -> Option<&Arc<Track>> {
        self.tracks.iter().find(|t| t.id == id)
    }
}
