//! From milliseconds on the timeline to a track's ticks.

/// Audio time comes in whole milliseconds while frames last 21.33 or 23.22: as long as a frame lies this near
/// to where the last one ended, it starts exactly there. Beyond it the sender's clock is right, ours is not.
const SNAP_MS: i64 = 10;

/// Makes decoding times of one track that never go back.
#[derive(Default)]
pub(super) struct TrackClock {
    timescale_hz: u32,
    last_dts: Option<i64>,
    /// Where the last audio frame ended.
    next_dts: Option<i64>,
}

impl TrackClock {
    /// Decoding time in ticks for a unit at `place_ms`; `duration` in ticks when it is known exactly (audio).
    pub(super) fn dts(&mut self, place_ms: i64, timescale_hz: u32, duration: Option<u32>) -> i64 {
        self.set_timescale(timescale_hz);
        let wanted = ticks(place_ms, timescale_hz);
        let snapped = match (self.next_dts, duration) {
            (Some(next), Some(_)) if (wanted - next).abs() <= ticks(SNAP_MS, timescale_hz) => next,
            _ => wanted,
        };
        let dts = snapped.max(self.last_dts.map_or(0, |last| last + 1));
        self.last_dts = Some(dts);
        self.next_dts = duration.map(|duration| dts + i64::from(duration));
        dts
    }

    /// A new sample rate: what was counted so far is converted.
    fn set_timescale(&mut self, timescale_hz: u32) {
        let old = std::mem::replace(&mut self.timescale_hz, timescale_hz);
        if old != timescale_hz {
            self.last_dts = self.last_dts.map(|last| last * i64::from(timescale_hz) / i64::from(old.max(1)));
            self.next_dts = None;
        }
    }
}

/// Rounded to the nearest tick.
pub(super) fn ticks(milliseconds: i64, timescale_hz: u32) -> i64 {
    (milliseconds * i64::from(timescale_hz) + 500).div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_frames_follow_each_other_without_a_gap() {
        let mut clock = TrackClock::default();
        for i in 0..100_000i64 {
            let place_ms = i * 1024 * 1000 / 44_100;
            assert_eq!(clock.dts(place_ms, 44_100, Some(1024)), i * 1024);
        }
    }

    #[test]
    fn a_real_gap_is_kept() {
        let mut clock = TrackClock::default();
        clock.dts(0, 48_000, Some(1024));
        assert_eq!(clock.dts(500, 48_000, Some(1024)), 24_000);
    }

    #[test]
    fn time_never_goes_back_nor_below_zero() {
        let mut clock = TrackClock::default();
        assert_eq!(clock.dts(-20, 90_000, None), 0);
        assert_eq!(clock.dts(-20, 90_000, None), 1);
        assert_eq!(clock.dts(40, 90_000, None), 3600);
        assert_eq!(clock.dts(30, 90_000, None), 3601);
        assert_eq!(clock.dts(80, 90_000, None), 7200);
    }

    #[test]
    fn a_new_sample_rate_goes_on_from_the_same_moment() {
        let mut clock = TrackClock::default();
        clock.dts(10_000, 48_000, Some(1024));
        assert_eq!(clock.dts(10_021, 24_000, Some(1024)), 240_504);
    }
}
