//! One track inside the muxer: from the publisher's timestamps to contiguous samples on our timeline.

use crate::audio::{frame_ticks, silence};
use crate::{TIMESCALE_HZ, rescale};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tallylight_media::{AccessUnit, Kind, Track};

/// Duration of a run's only picture, when nothing tells it: 1/30 s.
const LONE_PICTURE_TICKS: u32 = TIMESCALE_HZ / 30;

/// Audio that begins less than 1/5 s after the run's first picture just begins there.
const LATE_START_PER_SECOND: u32 = 5;

/// An access unit with its place on the muxer's timeline, in ticks of its track.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub dts: i64,
    pub pts: i64,
    /// The publisher's own pts; None for silence put in by us.
    pub source_pts: Option<i64>,
    pub duration: u32,
    pub keyframe: bool,
    pub data: Bytes,
    pub arrived_at: Instant,
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    Placed,
    /// Its place was already filled with silence.
    TooLate,
}

pub(crate) struct Lane {
    pub track: Arc<Track>,
    pub video: bool,
    /// What turns the publisher's ticks into ours.
    offset: i64,
    /// Where the next sample goes: the end of the last one, or the start of `pending`.
    next_dts: i64,
    /// A picture whose duration its successor will tell.
    pending: Option<Sample>,
    ready: VecDeque<Sample>,
    ready_bytes: usize,
    last_duration: Option<u32>,
}

impl Lane {
    pub fn new(track: Arc<Track>) -> Lane {
        let video = track.kind() == Kind::Video;
        Lane {
            track,
            video,
            offset: 0,
            next_dts: 0,
            pending: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            last_duration: None,
        }
    }

    /// Begins a run: `base` of the publisher's clock is `start` on ours (both in [`TIMESCALE_HZ`] ticks).
    pub fn start(&mut self, base: i64, start: u64) {
        let start = rescale(start as i64, TIMESCALE_HZ, self.timescale());
        self.offset = start - rescale(base, TIMESCALE_HZ, self.timescale());
        self.next_dts = start;
        self.pending = None;
        self.ready.clear();
        self.ready_bytes = 0;
        self.last_duration = None;
    }

    /// Where a unit's dts lies on our timeline, in [`TIMESCALE_HZ`] ticks.
    pub fn position(&self, unit: &AccessUnit) -> i64 {
        self.to_timeline(unit.dts.saturating_add(self.offset))
    }

    /// Everything before this is known, in [`TIMESCALE_HZ`] ticks.
    pub fn front(&self) -> i64 {
        self.to_timeline(self.next_dts)
    }

    pub fn queued(&self) -> (usize, usize) {
        (self.ready.len(), self.ready_bytes)
    }

    /// When the first of the queued units arrived.
    pub fn first_arrival(&self) -> Option<Instant> {
        self.known().next().map(|sample| sample.arrived_at)
    }

    pub fn accept(&mut self, unit: AccessUnit) -> Accepted {
        let known = (!self.video).then(|| frame_ticks(&self.track.config, &unit.data)).flatten();
        let sample = Sample {
            dts: unit.dts.saturating_add(self.offset),
            pts: unit.pts.saturating_add(self.offset),
            source_pts: Some(unit.pts),
            duration: known.unwrap_or(0),
            keyframe: unit.keyframe,
            data: unit.data,
            arrived_at: unit.arrived_at,
        };
        match known {
            Some(duration) => self.place_frame(sample, i64::from(duration)),
            None => {
                self.place_picture(sample);
                Accepted::Placed
            }
        }
    }

    /// Audio with a known frame length: joined seamlessly to the frame before, so that rounding by the
    /// publisher's protocol (RTMP: milliseconds) is not heard.
    fn place_frame(&mut self, mut sample: Sample, duration: i64) -> Accepted {
        let early_by = self.next_dts - sample.dts;
        if early_by > 2 * duration {
            return Accepted::TooLate;
        }
        let first = self.last_duration.is_none();
        if first && -early_by < i64::from(self.timescale() / LATE_START_PER_SECOND) {
            self.next_dts = self.next_dts.max(sample.dts);
        } else if -early_by > duration {
            self.fill_with_silence(sample.dts, sample.arrived_at);
            if sample.dts - self.next_dts > duration {
                self.next_dts = sample.dts;
            }
        }
        sample.dts = self.next_dts;
        sample.pts = sample.dts;
        self.next_dts += duration;
        self.push_ready(sample);
        Accepted::Placed
    }

    fn place_picture(&mut self, mut sample: Sample) {
        if let Some(mut pending) = self.pending.take() {
            let duration = (sample.dts - pending.dts).clamp(1, i64::from(u32::MAX));
            pending.duration = duration as u32;
            self.next_dts = pending.dts + duration;
            self.push_ready(pending);
        }
        sample.dts = self.next_dts;
        if !self.video {
            sample.pts = sample.dts;
        }
        self.pending = Some(sample);
    }

    /// Fills the audio up to `until` (ticks of this track) with whole silent frames, where the codec has one.
    fn fill_with_silence(&mut self, until: i64, now: Instant) {
        let Some((data, duration)) = silence(&self.track.config) else { return };
        while self.next_dts + i64::from(duration) <= until {
            let dts = self.next_dts;
            self.next_dts += i64::from(duration);
            self.push_ready(Sample {
                dts,
                pts: dts,
                source_pts: None,
                duration,
                keyframe: true,
                data: data.clone(),
                arrived_at: now,
            });
        }
    }

    /// Fills audio that stays away with silence up to `until` ([`TIMESCALE_HZ`] ticks).
    pub fn fill_until(&mut self, until: i64, now: Instant) {
        if !self.video && self.pending.is_none() {
            self.fill_with_silence(rescale(until, TIMESCALE_HZ, self.timescale()), now);
        }
    }

    /// Gives the picture that waits for its successor an end now, at `end` ([`TIMESCALE_HZ`] ticks) or
    /// else as long as the one before. What follows continues from there.
    pub fn close_pending(&mut self, end: Option<i64>) {
        let Some(mut pending) = self.pending.take() else { return };
        let lone =
            self.last_duration.unwrap_or(rescale(LONE_PICTURE_TICKS.into(), TIMESCALE_HZ, self.timescale()) as u32);
        let duration = match end {
            Some(end) => rescale(end, TIMESCALE_HZ, self.timescale()) - pending.dts,
            None => i64::from(lone),
        };
        pending.duration = duration.clamp(1, i64::from(u32::MAX)) as u32;
        self.next_dts = pending.dts + i64::from(pending.duration);
        self.push_ready(pending);
    }

    /// Start of the next sample that can be taken ([`TIMESCALE_HZ`] ticks).
    pub fn next_start(&self) -> Option<i64> {
        self.ready.front().map(|sample| self.to_timeline(sample.dts))
    }

    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Start of the first keyframe after `after`, as far as known ([`TIMESCALE_HZ`] ticks).
    pub fn next_keyframe(&self, after: i64) -> Option<i64> {
        self.known().filter(|sample| sample.keyframe).map(|sample| self.to_timeline(sample.dts)).find(|at| *at > after)
    }

    /// Start of the last sample that begins in `from..until` ([`TIMESCALE_HZ`] ticks).
    pub fn last_start(&self, from: i64, until: i64) -> Option<i64> {
        self.known().map(|sample| self.to_timeline(sample.dts)).filter(|at| (from..until).contains(at)).last()
    }

    /// Takes the samples that begin before `boundary` ([`TIMESCALE_HZ`] ticks).
    pub fn take_before(&mut self, boundary: i64) -> Vec<Sample> {
        let count = self.ready.iter().take_while(|sample| self.to_timeline(sample.dts) < boundary).count();
        let taken: Vec<Sample> = self.ready.drain(..count).collect();
        self.ready_bytes -= taken.iter().map(|sample| sample.data.len()).sum::<usize>();
        taken
    }

    fn known(&self) -> impl Iterator<Item = &Sample> {
        self.ready.iter().chain(&self.pending)
    }

    fn push_ready(&mut self, sample: Sample) {
        self.last_duration = Some(sample.duration);
        self.ready_bytes += sample.data.len();
        self.ready.push_back(sample);
    }

    pub fn to_timeline(&self, ticks: i64) -> i64 {
        rescale(ticks, self.timescale(), TIMESCALE_HZ)
    }

    fn timescale(&self) -> u32 {
        self.track.config.timescale_hz.max(1)
    }
}
