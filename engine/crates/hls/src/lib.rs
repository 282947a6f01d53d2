//! LL-HLS without I/O: which parts and segments a playlist shows, its text, and who waits for what.
//!
//! [`Part`]s and init segments go into a [`Window`]; it groups parts into segments and forgets old ones.
//! [`Window::snapshot`] is what everybody may see now: an immutable [`Snapshot`] that renders playlists,
//! finds the bytes of a [`Resource`] and decides about blocking reloads. [`multivariant`] writes the entry
//! playlist. [`invariants`] checks recorded playlists against the specification; it shares no code
//! with the writer.
//!
//! Source: draft-pantos-hls-rfc8216bis-16, called RFC 8216bis below.

pub mod invariants;
mod multivariant;
mod playlist;
mod reload;
mod resource;
mod snapshot;
mod window;

pub use multivariant::{Variant, multivariant};
pub use reload::{BadReload, Reload, ReloadQuery};
pub use resource::{InitName, Resource};
pub use snapshot::{Found, Snapshot};
pub use window::{Part, Window, WindowBounds};

/// Ticks per second of all durations here.
pub const TIMESCALE_HZ: u64 = 90_000;

/// A segment ends before the first keyframe at or after this much media: the keyframe interval asked of
/// encoders. 2 s.
pub const SEGMENT_TARGET_TICKS: u64 = 2 * TIMESCALE_HZ;

/// `EXT-X-TARGETDURATION`: 4 s. It must bound every segment and must not change (RFC 8216bis section
/// 6.2.1), whatever keyframe interval the next publisher brings. Four seconds hold one group of pictures
/// of every usual setting (1, 2, 4 s; OBS's "auto" at 60 Hz: 250 frames, 4.17 s); longer groups are cut by
/// time. A larger value would only make players without low-latency support wait longer: they stay
/// three target durations behind.
pub const TARGET_DURATION_S: u64 = 4;

/// No segment is longer: 4.4 s, which still rounds to [`TARGET_DURATION_S`] (the rule is about the
/// rounded duration). A segment that is cut here goes on without a keyframe, and the one after it is cut
/// at the next keyframe, so that every group of pictures begins a segment.
pub const MAX_SEGMENT_TICKS: u64 = TIMESCALE_HZ * 44 / 10;

/// `PART-TARGET`: 200 ms, as the muxer cuts.
pub const PART_TARGET_S: f64 = 0.2;

/// `PART-HOLD-BACK`: three part targets (RFC 8216bis section 4.4.3.8).
pub const PART_HOLD_BACK_S: f64 = 3.0 * PART_TARGET_S;

/// `CAN-SKIP-UNTIL`: six target durations, the least allowed (RFC 8216bis section 4.4.3.8).
pub const CAN_SKIP_UNTIL_S: u64 = 6 * TARGET_DURATION_S;

/// Parts are listed for the last three target durations (RFC 8216bis section 4.4.4.9).
pub const PARTS_LISTED_S: u64 = 3 * TARGET_DURATION_S;

/// A blocking request waits at most three target durations (RFC 8216bis section 6.2.5.2).
pub const MAX_HOLD_S: u64 = 3 * TARGET_DURATION_S;
