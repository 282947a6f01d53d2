//! One encoded picture or audio frame, and the items a subscriber reads.

use crate::{EndReason, TrackId, TrackSet};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// One encoded picture or audio frame, cheap to clone (the bytes are shared).
///
/// `data` by codec: H264 and H265 NAL units each behind a 4-byte big-endian length, without parameter
/// sets and access unit delimiters (those live in `TrackConfig::extradata`); AV1 one temporal unit in
/// the low-overhead format (every OBU has a size field), without temporal delimiters; VP8, VP9, AAC
/// (no ADTS) and Opus the bare frame.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    pub track: TrackId,
    /// Presentation and decoding time in ticks of the track's timescale, on the stream's timeline:
    /// zero is the same moment for all tracks of an epoch. `dts` never goes back within a track and epoch.
    pub pts: i64,
    pub dts: i64,
    /// A decoder can start here. Always true for audio.
    pub keyframe: bool,
    pub data: Bytes,
    /// When its last byte reached this server (monotonic).
    pub arrived_at: Instant,
}

/// What a subscriber reads, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// The tracks from here on. Always comes before the first unit, and again when they change.
    Tracks(Arc<TrackSet>),
    Unit(AccessUnit),
    /// This subscriber was too slow: units were dropped, what follows starts at a keyframe.
    Gap {
        dropped: u64,
    },
    /// The publication is over. A later publisher continues on the same subscription with `Tracks`.
    End(EndReason),
}
