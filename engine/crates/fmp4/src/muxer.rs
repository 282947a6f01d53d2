//! From access units to chunks: runs, the cut rule, and what happens when a track stays away.

use crate::chunk::{Run, write_fragment};
use crate::lane::{Accepted, Lane};
use crate::{Chunk, InitError, InitSegment, PART_CUT_TICKS, PART_TARGET_TICKS, TIMESCALE_HZ};
use std::collections::VecDeque;
use std::sync::Arc;
use tallylight_media::{AccessUnit, TrackSet};

/// A step of the publisher's clock further than this past everything known (3 s) is not waited for in the
/// timeline: players would stand still. It becomes a discontinuity, at the next keyframe.
const MAX_GAP_TICKS: i64 = 3 * TIMESCALE_HZ as i64;
/// A unit this far behind its own track (10 s) means that the publisher's clock was set back.
const MAX_BACK_TICKS: i64 = 10 * TIMESCALE_HZ as i64;
/// Video this far behind the audio (1.5 s) is taken to stand still, and chunks go on with audio alone.
/// Longer than the 1 s between pictures of a shared screen at rest.
const VIDEO_PATIENCE_TICKS: i64 = TIMESCALE_HZ as i64 * 3 / 2;
/// Audio this far behind the video (1 s) is replaced by silence. Longer than any interleaving distance
/// seen from encoders.
const AUDIO_PATIENCE_TICKS: i64 = TIMESCALE_HZ as i64;
/// Audio alone for this long (3 s) before the first keyframe starts the timeline without a picture.
const FIRST_PICTURE_PATIENCE_TICKS: i64 = 3 * TIMESCALE_HZ as i64;
/// Audio units kept while waiting for the first keyframe: 3 s of the shortest usual frame (10 ms).
const MAX_EARLY_UNITS: usize = 300;
/// A chunk is cut early beyond these: 200 ms at 320 Mb/s, and five thousand units a second.
const MAX_CHUNK_BYTES: usize = 8 << 20;
const MAX_CHUNK_UNITS: usize = 1024;

/// What the muxer hands out, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// What follows needs this init segment; a discontinuity unless it is the first.
    Init(InitSegment),
    /// What follows does not continue what came before, although the tracks are the same.
    Discontinuity,
    Chunk(Chunk),
    /// The publication is over; everything it sent has been handed out.
    End,
}

/// The muxer of one stream. See the crate's documentation.
#[derive(Default)]
pub struct Muxer {
    tracks: Option<Arc<TrackSet>>,
    lanes: Vec<Lane>,
    running: bool,
    /// The video stands still and audio alone drives the cuts.
    video_absent: bool,
    /// Audio from before the first keyframe, some of which may lie after it.
    early: VecDeque<AccessUnit>,
    /// Start of the next chunk, in [`TIMESCALE_HZ`] ticks; the end of everything handed out.
    cut: u64,
    /// Up to here there was nothing to put into a chunk since `cut` (slow video without audio).
    empty_until: u64,
    sequence: u32,
    outputs: VecDeque<Output>,
    dropped: u64,
    errors: u64,
}

impl Muxer {
    pub fn new() -> Muxer {
        Muxer::default()
    }

    /// The next thing to hand out, or None until more is pushed.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sets what the following units are. The same tracks again (parameter sets repeated) change nothing;
    /// tracks that cannot be written leave the muxer without tracks, and units are dropped.
    pub fn set_tracks(&mut self, tracks: Arc<TrackSet>) -> Result<(), InitError> {
        let same = self.tracks.as_ref().is_some_and(|now| now.epoch == tracks.epoch && now.tracks == tracks.tracks);
        if same {
            return Ok(());
        }
        self.finish_run();
        self.tracks = None;
        self.lanes.clear();
        let init = InitSegment::new(tracks.clone())?;
        self.lanes = tracks.tracks.iter().map(|track| Lane::new(track.clone())).collect();
        self.tracks = Some(tracks);
        self.outputs.push_back(Output::Init(init));
        Ok(())
    }

    /// Takes one unit of a track of the current set.
    pub fn push(&mut self, unit: AccessUnit) {
        let Some(index) = self.lanes.iter().position(|lane| lane.track.id == unit.track) else {
            self.dropped += 1;
            return;
        };
        if self.running && self.jumped(index, &unit) {
            self.discontinuity();
        }
        if !self.running {
            self.try_start(index, unit);
        } else {
            self.accept(index, unit);
            self.cut_chunks();
        }
    }

    /// Units were lost here: what follows does not continue what came before.
    pub fn discontinuity(&mut self) {
        if self.running {
            self.finish_run();
            self.outputs.push_back(Output::Discontinuity);
        }
    }

    /// Ends the publication: what is known is handed out. The next tracks continue the timeline.
    pub fn end(&mut self) {
        if self.tracks.is_none() {
            return;
        }
        self.finish_run();
        self.tracks = None;
        self.lanes.clear();
        self.outputs.push_back(Output::End);
    }

    /// Nothing can be handed out before the next keyframe: ask the publisher for one.
    pub fn wants_keyframe(&self) -> bool {
        !self.running && self.video().is_some()
    }

    /// Units that were not muxed: before the first keyframe, of no known track, or too late.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Chunks that could not be written.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    fn jumped(&self, index: usize, unit: &AccessUnit) -> bool {
        let lane = &self.lanes[index];
        let position = lane.position(unit);
        let front = self.lanes.iter().map(Lane::front).max().unwrap_or(0);
        position > front.saturating_add(MAX_GAP_TICKS) || position < lane.front().saturating_sub(MAX_BACK_TICKS)
    }

    /// A run starts with a keyframe; without a video track, or when no picture comes, with audio.
    fn try_start(&mut self, index: usize, unit: AccessUnit) {
        let lane = &self.lanes[index];
        let ticks = |unit: &AccessUnit| lane.to_timeline(unit.dts);
        if lane.video && !unit.keyframe {
            self.dropped += 1;
            return;
        }
        let base = ticks(&unit);
        if lane.video || self.video().is_none() {
            self.start_run(base);
            self.accept(index, unit);
            for early in std::mem::take(&mut self.early) {
                self.accept_early(early, base);
            }
            self.cut_chunks();
            return;
        }
        let oldest = self.early.front().map_or(base, ticks);
        self.early.push_back(unit);
        if base - oldest >= FIRST_PICTURE_PATIENCE_TICKS {
            self.start_run(oldest);
            self.video_absent = true;
            for early in std::mem::take(&mut self.early) {
                self.accept_early(early, oldest);
            }
            self.cut_chunks();
        } else if self.early.len() > MAX_EARLY_UNITS {
            self.early.pop_front();
            self.dropped += 1;
        }
    }

    fn accept_early(&mut self, unit: AccessUnit, base: i64) {
        match self.lanes.iter().position(|lane| lane.track.id == unit.track) {
            Some(index) if self.lanes[index].to_timeline(unit.dts) >= base => self.accept(index, unit),
            _ => self.dropped += 1,
        }
    }

    fn start_run(&mut self, base: i64) {
        for lane in &mut self.lanes {
            lane.start(base, self.cut);
        }
        self.empty_until = self.cut;
        self.video_absent = false;
        self.running = true;
    }

    fn accept(&mut self, index: usize, unit: AccessUnit) {
        let lane = &mut self.lanes[index];
        let video = lane.video;
        if lane.accept(unit) == Accepted::TooLate {
            self.dropped += 1;
        }
        if video {
            self.video_absent = false;
        }
    }

    /// Hands out what is known and ends the run; the timeline continues after its last sample.
    fn finish_run(&mut self) {
        self.dropped += self.early.len() as u64;
        self.early.clear();
        if !std::mem::replace(&mut self.running, false) {
            return;
        }
        for lane in &mut self.lanes {
            lane.close_pending(None);
        }
        // The driving track's end is the run's end; audio beyond it is at most one frame of a few chunks.
        let front = self.driver().map_or(0, |index| self.lanes[index].front());
        while let Some(boundary) = self.boundary(front) {
            self.cut_at(boundary);
        }
        self.cut_at(front);
        self.cut = self.cut.max(self.empty_until);
        self.dropped += self.lanes.iter().map(|lane| lane.queued().0 as u64).sum::<u64>();
    }

    fn cut_chunks(&mut self) {
        self.notice_standing_video();
        loop {
            let Some(driver) = self.driver() else { return };
            let front = self.lanes[driver].front();
            let Some(boundary) = self.boundary(front) else { return };
            if self.is_empty_before(boundary) && self.video().is_some() && self.lanes.len() > 1 {
                // No picture begins here (slow video, or nothing arrived for a while): the audio fills the span.
                if front < boundary + AUDIO_PATIENCE_TICKS {
                    return;
                }
                self.fill_missing_audio(boundary);
            }
            self.cut_at(boundary);
        }
    }

    fn is_empty_before(&self, boundary: i64) -> bool {
        self.lanes.iter().all(|lane| lane.next_start().is_none_or(|start| start >= boundary))
    }

    /// The track whose progress cuts chunks.
    fn driver(&self) -> Option<usize> {
        let video = self.lanes.iter().position(|lane| lane.video);
        let audio = self.lanes.iter().position(|lane| !lane.video);
        if self.video_absent { audio.or(video) } else { video.or(audio) }
    }

    fn video(&self) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.video)
    }

    fn notice_standing_video(&mut self) {
        let audio = self.lanes.iter().filter(|lane| !lane.video).map(Lane::front).max();
        let Some(audio) = audio else { return };
        let Some(video) = self.lanes.iter_mut().find(|lane| lane.video) else { return };
        if !self.video_absent && audio - video.front() > VIDEO_PATIENCE_TICKS && video.has_pending() {
            video.close_pending(Some(audio));
            self.video_absent = true;
        }
    }

    /// Where the chunk that starts at `cut` ends, if everything before that is known (`front`).
    fn boundary(&self, front: i64) -> Option<i64> {
        let start = self.empty_until.max(self.cut) as i64;
        let cell_end = start + PART_CUT_TICKS as i64;
        let longest = start + PART_TARGET_TICKS as i64;
        let video = self.video();
        let keyframe = video.and_then(|lane| lane.next_keyframe(start)).filter(|at| *at <= front);
        match keyframe {
            Some(keyframe) if keyframe <= longest => Some(keyframe),
            _ if front < cell_end => self.overfull().then_some(front).filter(|front| *front > start),
            Some(keyframe) => {
                // Without a picture between here and the keyframe, a sliver would follow: end one picture earlier.
                let sliver = keyframe - cell_end < PART_CUT_TICKS as i64
                    && video.is_some_and(|lane| lane.last_start(cell_end, keyframe).is_none());
                let earlier = video.and_then(|lane| lane.last_start(start + 1, cell_end));
                Some(if sliver { earlier.unwrap_or(cell_end) } else { cell_end })
            }
            // Right before a picture where that is possible: no sample then reaches over the edge.
            None => Some(if front <= longest { front } else { cell_end }),
        }
    }

    fn overfull(&self) -> bool {
        let (units, bytes) = self.lanes.iter().map(Lane::queued).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        units > MAX_CHUNK_UNITS || bytes > MAX_CHUNK_BYTES
    }

    /// Hands out everything before `boundary` as one chunk; an empty span joins the next chunk.
    fn cut_at(&mut self, boundary: i64) {
        let Ok(end) = u64::try_from(boundary) else { return };
        if end <= self.cut {
            return;
        }
        self.fill_missing_audio(boundary - AUDIO_PATIENCE_TICKS);
        let mut runs = Vec::with_capacity(self.lanes.len());
        for lane in &mut self.lanes {
            let samples = lane.take_before(boundary);
            if !samples.is_empty() {
                runs.push(Run { track_id: u32::from(lane.track.id.0), video: lane.video, samples });
            }
        }
        if runs.is_empty() {
            self.empty_until = end;
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        match self.chunk(&runs, end) {
            Some(chunk) => self.outputs.push_back(Output::Chunk(chunk)),
            None => self.errors += 1,
        }
        self.cut = end;
        self.empty_until = end;
    }

    /// Replaces audio that did not come by silence, up to `until`.
    fn fill_missing_audio(&mut self, until: i64) {
        let now = self.lanes.iter().find_map(Lane::first_arrival);
        let Some(now) = now else { return };
        if self.video().is_some() {
            for lane in &mut self.lanes {
                lane.fill_until(until, now);
            }
        }
    }

    fn chunk(&self, runs: &[Run], end: u64) -> Option<Chunk> {
        let bytes = write_fragment(self.sequence, runs).ok()?;
        let samples = || runs.iter().flat_map(|run| &run.samples);
        let received = || samples().filter(|sample| sample.source_pts.is_some());
        let video = runs.iter().find(|run| run.video);
        let first_pts = |run: &Run| {
            let lane = self.lanes.iter().find(|lane| u32::from(lane.track.id.0) == run.track_id)?;
            run.samples.iter().map(|sample| lane.to_timeline(sample.pts)).min()
        };
        Some(Chunk {
            bytes,
            epoch: self.tracks.as_ref()?.epoch,
            start_ticks: self.cut,
            duration_ticks: end - self.cut,
            independent: match video {
                Some(run) => run.samples.first().is_some_and(|sample| sample.keyframe),
                None => self.video().is_none(),
            },
            first_pts_ticks: runs.iter().filter_map(first_pts).min()?,
            access_units: received().count() as u64,
            media_bytes: received().map(|sample| sample.data.len() as u64).sum(),
            keyframes: video.map_or(0, |run| run.samples.iter().filter(|sample| sample.keyframe).count() as u64),
            last_source_pts: received().last().and_then(|sample| sample.source_pts),
            arrived_at: samples().map(|sample| sample.arrived_at).min()?,
        })
    }
}
