//! Fragmented MP4: the one muxer of the server.
//!
//! Access units of one stream go in, in decode order per track ([`Muxer::push`]). Out come
//! ([`Muxer::poll`]) an [`InitSegment`] for each set of tracks and [`Chunk`]s: one `moof` + `mdat` of at
//! most [`PART_TARGET_TICKS`] with everything the tracks have for that span. LL-HLS parts and segments,
//! recordings and taps are these same chunks, grouped differently.
//!
//! The muxer owns one timeline that only grows, over publisher reconnects and timestamp jumps.
//! It does no I/O and reads no clock. Internally every position is in [`TIMESCALE_HZ`] ticks; tracks
//! keep their own timescale inside the boxes.

mod audio;
mod chunk;
mod init;
mod lane;
mod muxer;
mod sample_entry;

pub use chunk::{Chunk, ChunkError};
pub use init::{InitError, InitSegment};
pub use muxer::{Muxer, Output};

/// Ticks per second of the muxer's timeline. 90 kHz is the clock of all our video tracks, so cuts
/// before a picture are exact.
pub const TIMESCALE_HZ: u32 = 90_000;

/// No chunk of a stream with at least five pictures a second, or with audio, is longer: 200 ms.
pub const PART_TARGET_TICKS: u64 = 18_000;

/// Without a keyframe, a chunk is cut before the first picture that starts 185 to 200 ms after the chunk
/// did, and at 185 ms if none does. That is possible at any frame rate without passing the target, and
/// above 85 % of it (RFC 8216bis section 4.4.4.9). 185 ms leave no sliver before the keyframe of the
/// usual intervals of 1, 2, 3, 4 and 4.17 s (OBS: 250 frames at 60 Hz).
pub const PART_CUT_TICKS: u64 = 16_650;

/// `ticks` of a clock of `from_hz` in ticks of `to_hz`, rounded down (towards minus infinity).
pub(crate) fn rescale(ticks: i64, from_hz: u32, to_hz: u32) -> i64 {
    let scaled = (i128::from(ticks) * i128::from(to_hz)).div_euclid(i128::from(from_hz.max(1)));
    scaled.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64
}
