//! From RTMP timestamps to one timeline in milliseconds that does not wrap and does not jump.
//!
//! Each track continues from its own last timestamp by the wrapping difference. A difference that cannot be
//! true (far back, or far ahead of the clock on the wall) is a jump: the track then follows the other one, if
//! that has jumped to the same place already, else it goes on one step after the newest unit. So the offset
//! between audio and video is kept over a jump that both make, and one wrong timestamp heals by itself.

use std::time::{Duration, Instant};
use tallylight_media::Kind;

/// A track steps back by this much only when its clock was set anew; less is disorder within the encoder.
const BACKWARD_TOLERANCE_MS: i64 = 500;
/// How far ahead of the arrival clock a track may go: encoders leave out this much when the uplink is jammed.
const FORWARD_TOLERANCE_MS: i64 = 10_000;
/// How far apart the two tracks of one encoder may be: FFmpeg interleaves within ten seconds.
const INTERLEAVE_TOLERANCE_MS: i64 = 10_000;
/// Assumed distance of two units before one was seen (25 pictures a second), and its bounds.
const DEFAULT_STEP_MS: i64 = 40;
const MAX_STEP_MS: i64 = 1_000;

/// Where one track's clock stands.
#[derive(Clone, Copy)]
struct Anchor {
    /// The timestamp as sent, and its place on the timeline.
    timestamp_ms: u32,
    place_ms: i64,
    arrived_at: Instant,
    /// Distance of its last two units.
    step_ms: i64,
}

impl Anchor {
    /// The place of `timestamp_ms` if this clock simply went on.
    fn continued(&self, timestamp_ms: u32) -> i64 {
        let difference = timestamp_ms.wrapping_sub(self.timestamp_ms) as i32; // two's complement: wraps at 2^32
        self.place_ms + i64::from(difference)
    }

    fn latest_plausible(&self, arrived_at: Instant) -> i64 {
        self.place_ms + FORWARD_TOLERANCE_MS + milliseconds(arrived_at.saturating_duration_since(self.arrived_at))
    }
}

#[derive(Default)]
pub(super) struct Timeline {
    video: Option<Anchor>,
    audio: Option<Anchor>,
}

impl Timeline {
    /// Places one unit. The first of all is at 0; a unit of the other track may lie before it.
    pub(super) fn place(&mut self, kind: Kind, timestamp_ms: u32, arrived_at: Instant) -> i64 {
        let (own, other) = match kind {
            Kind::Video => (self.video, self.audio),
            Kind::Audio => (self.audio, self.video),
        };
        let place_ms = find_place(own, other, timestamp_ms, arrived_at);
        let step_ms = own.map_or(DEFAULT_STEP_MS, |own| match place_ms - own.place_ms {
            step @ 1..=MAX_STEP_MS => step,
            _ => own.step_ms,
        });
        let anchor = Some(Anchor { timestamp_ms, place_ms, arrived_at, step_ms });
        match kind {
            Kind::Video => self.video = anchor,
            Kind::Audio => self.audio = anchor,
        }
        place_ms
    }
}

fn find_place(own: Option<Anchor>, other: Option<Anchor>, timestamp_ms: u32, arrived_at: Instant) -> i64 {
    let earliest = own.map_or(i64::MIN, |own| own.place_ms - BACKWARD_TOLERANCE_MS);
    if let Some(own) = own {
        let place = own.continued(timestamp_ms);
        if (earliest..=own.latest_plausible(arrived_at)).contains(&place) {
            return place;
        }
    }
    if let Some(other) = other {
        let place = other.continued(timestamp_ms);
        let earliest = earliest.max(other.place_ms - INTERLEAVE_TOLERANCE_MS);
        if (earliest..=other.latest_plausible(arrived_at)).contains(&place) {
            return place;
        }
    }
    match (own, other) {
        (Some(own), other) => (own.place_ms + own.step_ms).max(other.map_or(i64::MIN, |other| other.place_ms)),
        (None, Some(other)) => other.place_ms,
        (None, None) => 0,
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeline fed in real time: arrival follows `at_ms`.
    struct Feed {
        timeline: Timeline,
        start: Instant,
    }

    impl Feed {
        fn new() -> Feed {
            Feed { timeline: Timeline::default(), start: Instant::now() }
        }

        fn place(&mut self, kind: Kind, timestamp_ms: u32, at_ms: u64) -> i64 {
            self.timeline.place(kind, timestamp_ms, self.start + Duration::from_millis(at_ms))
        }
    }

    #[test]
    fn starts_at_zero_and_goes_over_the_wrap() {
        let mut feed = Feed::new();
        for i in 0..200u32 {
            let timestamp = (u32::MAX - 1000).wrapping_add(i * 40);
            assert_eq!(feed.place(Kind::Video, timestamp, u64::from(i) * 40), i64::from(i) * 40);
        }
    }

    #[test]
    fn two_wraps_do_not_confuse_it() {
        let mut feed = Feed::new();
        // 2^32 ms twice, in steps of 20 minutes (arrival in step with it).
        let step = 20 * 60 * 1000u64;
        for i in 0..(2 * (1u64 << 32) / step + 5) {
            assert_eq!(feed.place(Kind::Audio, (i * step) as u32, i * step), (i * step) as i64);
        }
    }

    #[test]
    fn the_second_track_keeps_its_offset() {
        let mut feed = Feed::new();
        assert_eq!(feed.place(Kind::Audio, 5000, 0), 0);
        assert_eq!(feed.place(Kind::Video, 4980, 0), -20);
        assert_eq!(feed.place(Kind::Audio, 5021, 21), 21);
    }

    #[test]
    fn jumps_close_up_and_keep_audio_and_video_together() {
        for jump in [3_600_000i64, -3_600_000, 1 << 31, 30_000] {
            let mut feed = Feed::new();
            let base = 10_000_000i64;
            let mut last = (0, 0);
            for i in 0..200i64 {
                let offset = if i < 100 { base } else { base + jump };
                let at = (i * 20) as u64;
                let video = feed.place(Kind::Video, (offset + i * 20) as u32, at);
                let audio = feed.place(Kind::Audio, (offset + i * 20 + 7) as u32, at);
                assert_eq!(audio - video, 7, "jump {jump} at {i}");
                assert!(i == 0 || (0..=40).contains(&(video - last.0)), "jump {jump} at {i}");
                last = (video, audio);
            }
            // 199 steps of 20 ms; the jump itself may have cost or won one interval.
            assert!((last.0 - 199 * 20).abs() <= 40, "jump {jump}: {}", last.0);
        }
    }

    #[test]
    fn a_small_reset_of_a_young_stream_is_a_jump_too() {
        let mut feed = Feed::new();
        for i in 0..75u32 {
            feed.place(Kind::Video, i * 40, u64::from(i) * 40);
            feed.place(Kind::Audio, i * 40, u64::from(i) * 40);
        }
        let video = feed.place(Kind::Video, 0, 3000);
        assert!((2960..=3040).contains(&video));
        assert_eq!(feed.place(Kind::Audio, 10, 3010), video + 10);
    }

    #[test]
    fn one_wrong_timestamp_heals() {
        let mut feed = Feed::new();
        for i in 0..100u32 {
            let video = feed.place(Kind::Video, if i == 50 { 77 } else { 900_000 + i * 40 }, u64::from(i) * 40);
            let audio = feed.place(Kind::Audio, 900_000 + i * 40, u64::from(i) * 40);
            assert_eq!((video, audio), (i64::from(i) * 40, i64::from(i) * 40));
        }
    }

    #[test]
    fn a_track_may_pause_as_long_as_it_likes() {
        let mut feed = Feed::new();
        feed.place(Kind::Audio, 0, 0);
        for i in 0..15_000u32 {
            feed.place(Kind::Video, i * 40, u64::from(i) * 40);
        }
        assert_eq!(feed.place(Kind::Audio, 600_000, 600_000), 600_000);
        // Also when a file is pushed faster than it plays.
        let mut feed = Feed::new();
        feed.place(Kind::Audio, 0, 0);
        for i in 0..15_000u32 {
            feed.place(Kind::Video, i * 40, 1);
        }
        assert_eq!(feed.place(Kind::Audio, 600_000, 2), 600_000);
    }

    #[test]
    fn a_whole_encoder_pause_keeps_its_length() {
        let mut feed = Feed::new();
        feed.place(Kind::Video, 1000, 0);
        assert_eq!(feed.place(Kind::Video, 61_000, 60_000), 60_000);
    }
}
