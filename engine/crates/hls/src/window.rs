//! Bookkeeping: parts into segments, segments into a window of bounded length and size.

use crate::snapshot::Snapshot;
use crate::{InitName, MAX_SEGMENT_TICKS, PARTS_LISTED_S, SEGMENT_TARGET_TICKS, TIMESCALE_HZ};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// One part: a chunk of the muxer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub bytes: Bytes,
    pub duration_ticks: u64,
    /// Starts with a keyframe.
    pub independent: bool,
}

/// How much a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBounds {
    /// Media listed in the playlist.
    pub listed_ticks: u64,
    /// Bytes of all segments that can still be fetched. Beyond it the oldest go early, but never the newest
    /// [`MIN_SEGMENTS`].
    pub bytes: usize,
}

impl Default for WindowBounds {
    /// One minute: seeking back a little is possible, and a player that slept finds its place. 64 MiB hold
    /// a minute at 8.9 Mb/s.
    fn default() -> Self {
        WindowBounds { listed_ticks: 60 * TIMESCALE_HZ, bytes: 64 << 20 }
    }
}

/// Fewer than these would leave a player that stays three target durations behind without a segment.
const MIN_SEGMENTS: usize = 6;

/// While there is no segment to play yet, the first one is not held up by a long keyframe interval: 2.2 s.
const MAX_FIRST_SEGMENT_TICKS: u64 = SEGMENT_TARGET_TICKS * 11 / 10;

/// Segments no longer listed can be fetched for this much media more. RFC 8216bis section 6.2.2 asks for
/// the length of the playlist; a live player that is a minute late has to jump anyway, and the memory
/// would double.
const UNLISTED_TICKS: u64 = PARTS_LISTED_S * TIMESCALE_HZ;

#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub msn: u64,
    pub init: InitName,
    pub discontinuity: bool,
    /// RFC 3339, of its first part.
    pub program_date_time: String,
    /// Index of `parts[0]` among all parts of the window.
    pub first_part: u64,
    pub parts: Vec<Part>,
    pub duration_ticks: u64,
    /// All parts together, once the segment is complete; the parts are then slices of it.
    pub whole: Option<Bytes>,
}

impl Segment {
    fn complete(mut self) -> Segment {
        let mut whole = BytesMut::with_capacity(self.parts.iter().map(|part| part.bytes.len()).sum());
        self.parts.iter().for_each(|part| whole.extend_from_slice(&part.bytes));
        let whole = whole.freeze();
        let mut at = 0;
        for part in &mut self.parts {
            let end = at + part.bytes.len();
            part.bytes = whole.slice(at..end);
            at = end;
        }
        self.whole = Some(whole);
        self
    }

    fn bytes(&self) -> usize {
        self.whole.as_ref().map_or(0, Bytes::len)
    }
}

const SECONDS_PER_HOUR: u64 = 3600;

/// The state behind one stream's media playlist. See the crate's documentation.
pub struct Window {
    bounds: WindowBounds,
    first_msn: u64,
    next_msn: u64,
    next_part: u64,
    /// Discontinuity tags that have left the playlist, plus the start value.
    discontinuity_sequence: u64,
    inits: Vec<(InitName, Bytes)>,
    /// The next segment does not continue the last one.
    discontinuity: bool,
    /// No longer listed, oldest first.
    unlisted: VecDeque<Arc<Segment>>,
    listed: VecDeque<Arc<Segment>>,
    open: Option<Segment>,
    /// The publication is over: no next part is promised.
    ended: bool,
}

impl Window {
    /// `first_msn` must be larger than any media sequence number of an earlier process: seconds since
    /// 2020-01-01 are, as less than one segment is cut a second. Discontinuity sequence numbers start at its hours:
    /// beyond those of an earlier process unless publishers came back more than once an hour, and small enough for
    /// hls.js, which keeps arrays indexed by them and takes seconds per part once they have 10^8 places.
    pub fn new(first_msn: u64, bounds: WindowBounds) -> Window {
        Window {
            bounds,
            first_msn,
            next_msn: first_msn,
            next_part: 0,
            discontinuity_sequence: first_msn / SECONDS_PER_HOUR,
            inits: Vec::new(),
            discontinuity: false,
            unlisted: VecDeque::new(),
            listed: VecDeque::new(),
            open: None,
            ended: false,
        }
    }

    /// What follows needs this init segment, and does not continue what came before.
    pub fn set_init(&mut self, name: InitName, bytes: Bytes) {
        self.discontinuity();
        self.inits.push((name, bytes));
        self.forget_inits();
        self.ended = false;
    }

    /// What follows does not continue what came before.
    pub fn discontinuity(&mut self) {
        self.close();
        self.discontinuity = self.next_msn > self.first_msn;
    }

    /// Forgets all media, for a stream that has been off the air for long. Numbers go on where they were.
    pub fn forget(&mut self) {
        self.end();
        self.discontinuity_sequence += self.listed.iter().filter(|segment| segment.discontinuity).count() as u64;
        self.listed.clear();
        self.unlisted.clear();
        self.inits.clear();
    }

    /// The publication is over. Its last segment is complete; the playlist stays without an end tag, as a
    /// publisher may come back.
    pub fn end(&mut self) {
        self.close();
        self.ended = true;
    }

    /// Adds a part. `program_date_time` is its time in RFC 3339, used when it begins a segment.
    /// Parts before the first init segment are ignored.
    pub fn push(&mut self, part: Part, program_date_time: String) {
        let Some(init) = self.inits.last().map(|(name, _)| *name) else { return };
        let longest = if self.listed.is_empty() { MAX_FIRST_SEGMENT_TICKS } else { MAX_SEGMENT_TICKS };
        if self.open.as_ref().is_some_and(|open| starts_segment(open, &part, longest)) {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Segment {
            msn: self.next_msn,
            init,
            discontinuity: std::mem::take(&mut self.discontinuity),
            program_date_time,
            first_part: self.next_part,
            parts: Vec::new(),
            duration_ticks: 0,
            whole: None,
        });
        open.duration_ticks += part.duration_ticks;
        open.parts.push(part);
        self.next_part += 1;
    }

    /// What everybody may see now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            first_msn: self.first_msn,
            next_part: self.next_part,
            discontinuity_sequence: self.discontinuity_sequence,
            unlisted: self.unlisted.iter().cloned().collect(),
            listed: self.listed.iter().cloned().chain(self.open.clone().map(Arc::new)).collect(),
            inits: self.inits.clone(),
            next_msn: self.next_msn,
            ended: self.ended,
            discontinuity_next: self.discontinuity,
            texts: Default::default(),
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.next_msn += 1;
        self.listed.push_back(Arc::new(open.complete()));
        self.evict();
        self.forget_inits();
    }

    fn evict(&mut self) {
        let ticks = |segments: &VecDeque<Arc<Segment>>| segments.iter().map(|s| s.duration_ticks).sum::<u64>();
        while let Some(oldest) = self.listed.front() {
            let rest = ticks(&self.listed) - oldest.duration_ticks;
            let too_long = rest >= self.bounds.listed_ticks;
            let too_large = self.bytes() > self.bounds.bytes && self.unlisted.is_empty();
            if self.listed.len() <= MIN_SEGMENTS || !(too_long || too_large) {
                break;
            }
            self.discontinuity_sequence += u64::from(oldest.discontinuity);
            self.unlisted.extend(self.listed.pop_front());
            self.trim_unlisted();
        }
        self.trim_unlisted();
    }

    fn trim_unlisted(&mut self) {
        while let Some(oldest) = self.unlisted.front() {
            let rest = self.unlisted.iter().map(|s| s.duration_ticks).sum::<u64>() - oldest.duration_ticks;
            if rest < UNLISTED_TICKS && self.bytes() <= self.bounds.bytes {
                break;
            }
            self.unlisted.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        self.unlisted.iter().chain(&self.listed).map(|segment| segment.bytes()).sum()
    }

    /// Keeps the init segments that something still needs, and the newest.
    fn forget_inits(&mut self) {
        let newest = self.inits.last().map(|(name, _)| *name);
        let (unlisted, listed, open) = (&self.unlisted, &self.listed, &self.open);
        self.inits.retain(|(name, _)| {
            let needed = |segment: &Arc<Segment>| segment.init == *name;
            Some(*name) == newest
                || unlisted.iter().any(needed)
                || listed.iter().any(needed)
                || open.as_ref().is_some_and(|segment| segment.init == *name)
        });
    }
}

/// Whether `next` begins a new segment after `open`.
fn starts_segment(open: &Segment, next: &Part, longest: u64) -> bool {
    let began_without_keyframe = open.parts.first().is_some_and(|part| !part.independent);
    let may_end = began_without_keyframe || open.duration_ticks >= SEGMENT_TARGET_TICKS;
    (next.independent && may_end) || open.duration_ticks + next.duration_ticks > longest
}
