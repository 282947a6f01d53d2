//! What everybody may see of a stream at one moment; immutable and shared.

use crate::playlist::render;
use crate::window::Segment;
use crate::{InitName, Resource};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// The answer to "give me this resource".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Ready(Bytes),
    /// It is the part promised next: wait for the next snapshot.
    Wait,
    /// Never existed, or is too old.
    Missing,
}

/// One state of a [`crate::Window`].
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) first_msn: u64,
    /// Index of the part that comes next.
    pub(crate) next_part: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) unlisted: Vec<Arc<Segment>>,
    /// The last one may be incomplete.
    pub(crate) listed: Vec<Arc<Segment>>,
    pub(crate) inits: Vec<(InitName, Bytes)>,
    /// Media sequence number of the segment that is incomplete or comes next.
    pub(crate) next_msn: u64,
    pub(crate) ended: bool,
    /// The next part does not continue the last one.
    pub(crate) discontinuity_next: bool,
    pub(crate) texts: Texts,
}

/// Playlists rendered from a snapshot, when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    full: OnceLock<Bytes>,
    delta: OnceLock<Bytes>,
}

impl Snapshot {
    /// There is a complete segment. Before that a playlist is no use: hls.js takes one without segments for
    /// an error.
    pub fn is_playable(&self) -> bool {
        self.listed.first().is_some_and(|segment| segment.whole.is_some())
    }

    /// The init segment of the newest media.
    pub fn newest_init(&self) -> Option<InitName> {
        self.listed.last().map(|segment| segment.init)
    }

    /// No publisher is on.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Media sequence number of the first listed segment.
    pub fn media_sequence(&self) -> u64 {
        self.listed.first().map_or(self.next_msn, |segment| segment.msn)
    }

    /// The media playlist; with `skip` its delta update (RFC 8216bis section 6.2.5.1). Rendered once.
    pub fn playlist(&self, skip: bool) -> Bytes {
        let cell = if skip { &self.texts.delta } else { &self.texts.full };
        cell.get_or_init(|| render(self, skip).into()).clone()
    }

    /// Bytes of a resource that is not a playlist.
    pub fn find(&self, resource: Resource) -> Found {
        match resource {
            Resource::Multivariant | Resource::Media => Found::Missing,
            Resource::Init(name) => {
                let init = self.inits.iter().find(|(known, _)| *known == name);
                init.map_or(Found::Missing, |(_, bytes)| Found::Ready(bytes.clone()))
            }
            Resource::Segment(msn) => {
                let segment = self.segments().find(|segment| segment.msn == msn);
                segment.and_then(|segment| segment.whole.clone()).map_or(Found::Missing, Found::Ready)
            }
            Resource::Part { window, .. } if window != self.first_msn => Found::Missing,
            Resource::Part { index, .. } if index == self.next_part && !self.ended => Found::Wait,
            Resource::Part { index, .. } => {
                let part = self.segments().find_map(|segment| {
                    let offset = usize::try_from(index.checked_sub(segment.first_part)?).ok()?;
                    segment.parts.get(offset)
                });
                part.map_or(Found::Missing, |part| Found::Ready(part.bytes.clone()))
            }
        }
    }

    /// Highest and mean bit rate of the complete segments, as RFC 8216bis section 4.4.6.2 defines
    /// `BANDWIDTH` and `AVERAGE-BANDWIDTH`; None before the first.
    pub fn bandwidth_bps(&self) -> Option<(u64, u64)> {
        let sizes = self.listed.iter().filter_map(|s| Some((s.whole.as_ref()?.len() as u64, s.duration_ticks.max(1))));
        let rate = |(bytes, ticks): (u64, u64)| bytes * 8 * crate::TIMESCALE_HZ / ticks;
        // Segments of less than half the target say little about the rate.
        let peak = sizes.clone().filter(|(_, ticks)| *ticks * 2 >= crate::SEGMENT_TARGET_TICKS).map(rate).max();
        let sum = sizes.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
        Some((peak.unwrap_or(rate(sum)), rate(sum)))
    }

    fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.unlisted.iter().chain(&self.listed)
    }
}
