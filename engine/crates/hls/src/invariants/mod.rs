//! Checks recorded media playlists against RFC 8216bis, and decode times against each other.
//!
//! A [`Checker`] takes the playlists of one stream in the order they were received, across publisher
//! reconnects and server restarts. Each call returns what is wrong with that playlist by itself or
//! compared to the ones before.

mod history;
mod media;
mod parse;
mod single;

pub use history::Checker;
pub use media::{MediaSpan, check_media};
pub use parse::{ParseError, ParsedPart, ParsedPlaylist, ParsedSegment, parse};

/// Something a playlist history must not show.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    #[error("the playlist cannot be read: {0}")]
    Unreadable(#[from] ParseError),

    // One playlist.
    #[error("EXTINF {duration_s} of {uri} rounds to more than the target duration {target_s}")]
    SegmentTooLong { uri: String, duration_s: f64, target_s: u64 },
    #[error("part {uri} lasts {duration_s} s, the part target is {target_s} s")]
    PartTooLong { uri: String, duration_s: f64, target_s: f64 },
    #[error("part {uri} lasts {duration_s} s, less than 85 % of {target_s} s, and does not end a segment")]
    PartTooShort { uri: String, duration_s: f64, target_s: f64 },
    #[error("the parts of {uri} last {parts_s} s, its EXTINF says {segment_s} s")]
    PartSum { uri: String, parts_s: f64, segment_s: f64 },
    #[error("PART-HOLD-BACK is {hold_back_s} s, at least three part targets of {target_s} s are needed")]
    HoldBack { hold_back_s: f64, target_s: f64 },
    #[error("CAN-SKIP-UNTIL is {skip_until_s} s, at least six target durations of {target_s} s are needed")]
    SkipUntil { skip_until_s: f64, target_s: u64 },
    #[error("{tag} is missing")]
    TagMissing { tag: &'static str },
    #[error("{uri} has no EXT-X-MAP before it")]
    NoMap { uri: String },
    #[error("the init segment changes to {map} without a discontinuity")]
    MapWithoutDiscontinuity { map: String },

    // Against earlier playlists.
    #[error("the media sequence went back from {from} to {to}")]
    MediaSequenceBack { from: u64, to: u64 },
    #[error("the newest segment went back from {from} to {to}")]
    NewestBack { from: u64, to: u64 },
    #[error("the target duration changed from {from} to {to}")]
    TargetDurationChanged { from: u64, to: u64 },
    #[error("the part target changed from {from} to {to}")]
    PartTargetChanged { from: f64, to: f64 },
    #[error("the discontinuity sequence is {found} where {expected} was expected")]
    DiscontinuitySequence { expected: u64, found: u64 },
    #[error("segment {msn} was {before} and is now {now}")]
    SegmentChanged { msn: u64, before: String, now: String },
    #[error("{uri} was segment {before} and is now {now}")]
    UriReused { uri: String, before: u64, now: u64 },
    #[error("part {index} of segment {msn} was {before} and is now {now}")]
    PartChanged { msn: u64, index: usize, before: String, now: String },
    #[error("the next part was hinted as {hinted} and is {found}")]
    HintBroken { hinted: String, found: String },
    #[error("{skipped} segments are skipped that were never seen in full")]
    SkippedUnknown { skipped: u64 },

    // Media.
    #[error("track {track}: decode time goes back from {from_s} s to {to_s} s at {uri}")]
    DecodeTimeBack { track: u32, uri: String, from_s: f64, to_s: f64 },
    #[error("track {track}: decode time jumps from {from_s} s to {to_s} s at {uri}")]
    DecodeTimeGap { track: u32, uri: String, from_s: f64, to_s: f64 },
}
