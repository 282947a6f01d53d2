//! The cut rule and the timeline, on synthetic units.

mod support;

use mp4_atom::{DecodeMaybe, Moof};
use std::collections::HashMap;
use support::{Muxed, plain_tracks, unit};
use tallylight_fmp4::{Chunk, Muxer, PART_TARGET_TICKS};
use tallylight_media::{AccessUnit, TrackId};

/// Video of `frame_rate` with a keyframe every `gop` frames and AAC, interleaved as an RTMP publisher does.
struct Publisher {
    frame_rate: f64,
    gop: usize,
    video: bool,
    audio: bool,
    /// Publishers count from anywhere.
    origin_s: f64,
}

impl Publisher {
    fn new(frame_rate: f64, gop: usize) -> Publisher {
        Publisher { frame_rate, gop, video: true, audio: true, origin_s: 12.0 }
    }

    fn units(&self, from_s: f64, until_s: f64) -> Vec<AccessUnit> {
        let mut units: Vec<(f64, AccessUnit)> = Vec::new();
        let indices = |rate: f64| (from_s * rate).ceil() as usize..(until_s * rate).ceil() as usize;
        if self.video {
            for index in indices(self.frame_rate) {
                let at = index as f64 / self.frame_rate;
                // Whole milliseconds, as RTMP carries them.
                let dts = ((at + self.origin_s) * 1000.0).floor() as i64 * 90;
                units.push((at, unit(TrackId::VIDEO, dts, dts, index % self.gop == 0, &[0; 100])));
            }
        }
        if self.audio {
            for index in indices(48_000.0 / 1024.0) {
                let at = index as f64 * 1024.0 / 48_000.0;
                let dts = ((at + self.origin_s) * 1000.0).floor() as i64 * 48;
                units.push((at, unit(TrackId::AUDIO, dts, dts, true, &[0; 10])));
            }
        }
        units.sort_by(|a, b| a.0.total_cmp(&b.0));
        units.into_iter().map(|(_, unit)| unit).collect()
    }
}

fn mux(publisher: &Publisher, units: impl IntoIterator<Item = AccessUnit>) -> Muxed {
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(plain_tracks(publisher.video, publisher.audio, 1)).expect("tracks");
    units.into_iter().for_each(|unit| muxer.push(unit));
    muxer.end();
    muxed.drain(&mut muxer);
    muxed
}

/// Decode times, per track: (first, end) of each chunk, in ticks of the track.
fn spans(chunks: &[Chunk]) -> HashMap<u32, Vec<(u64, u64)>> {
    let mut spans: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for chunk in chunks {
        let moof = Moof::decode_maybe(&mut &chunk.bytes[..]).expect("a moof").expect("a whole moof");
        for traf in &moof.traf {
            let start = traf.tfdt.as_ref().expect("a tfdt").base_media_decode_time;
            let length: u64 = traf.trun[0].samples.iter().map(|sample| u64::from(sample.duration.unwrap())).sum();
            spans.entry(traf.tfhd.track_id).or_default().push((start, start + length));
        }
    }
    spans
}

fn assert_contiguous(muxed: &Muxed) {
    for pair in muxed.chunks.windows(2) {
        assert_eq!(pair[0].start_ticks + pair[0].duration_ticks, pair[1].start_ticks);
    }
    for (track, spans) in spans(&muxed.chunks) {
        for pair in spans.windows(2) {
            assert_eq!(pair[0].1, pair[1].0, "track {track}: tfdt does not continue");
        }
    }
}

#[test]
fn parts_obey_the_target_at_every_usual_frame_rate() {
    for (frame_rate, gop) in [
        (24.0, 48),
        (24_000.0 / 1001.0, 48),
        (25.0, 50),
        (25.0, 250),
        (30.0, 30),
        (30.0, 60),
        (30.0, 250),
        (30_000.0 / 1001.0, 60),
        (50.0, 100),
        (60.0, 120),
        (60.0, 250),
        (15.0, 30),
        (10.0, 20),
        (5.0, 10),
    ] {
        for audio in [true, false] {
            let publisher = Publisher { audio, ..Publisher::new(frame_rate, gop) };
            let muxed = mux(&publisher, publisher.units(0.0, 20.0));
            assert_contiguous(&muxed);
            let before_last = &muxed.chunks[..muxed.chunks.len() - 1];
            for (chunk, next) in before_last.iter().zip(&muxed.chunks[1..]) {
                let ticks = chunk.duration_ticks;
                assert!(ticks <= PART_TARGET_TICKS, "{frame_rate} Hz: a part of {} s", chunk.duration_s());
                // The last part before a keyframe may be short (it ends a segment), and the one before it if
                // that avoids a sliver.
                let near_keyframe = next.independent
                    || muxed.chunks.iter().any(|c| {
                        c.independent
                            && c.start_ticks > chunk.start_ticks
                            && c.start_ticks <= chunk.start_ticks + 2 * PART_TARGET_TICKS
                    });
                assert!(near_keyframe || ticks * 100 >= PART_TARGET_TICKS * 85, "{frame_rate} Hz: {ticks} ticks");
            }
        }
    }
}

#[test]
fn every_keyframe_starts_a_chunk() {
    let publisher = Publisher::new(30.0, 15);
    let muxed = mux(&publisher, publisher.units(0.0, 6.0));
    assert_eq!(muxed.chunks.iter().filter(|chunk| chunk.independent).count(), 12);
    assert!(muxed.chunks[0].independent);
}

#[test]
fn every_unit_comes_out_once() {
    let publisher = Publisher::new(30.0, 60);
    let units = publisher.units(0.0, 6.0);
    let muxed = mux(&publisher, units.clone());
    let out: u64 = muxed.chunks.iter().map(|chunk| chunk.access_units).sum();
    assert!(out <= units.len() as u64 && out + 2 >= units.len() as u64, "{out} of {}", units.len());
}

#[test]
fn audio_alone_is_cut_by_its_own_time() {
    let publisher = Publisher { video: false, ..Publisher::new(30.0, 60) };
    let muxed = mux(&publisher, publisher.units(0.0, 6.0));
    assert_contiguous(&muxed);
    assert!(muxed.chunks.len() > 30 && muxed.chunks.iter().all(|chunk| chunk.independent));
    assert!(muxed.chunks.iter().all(|chunk| chunk.duration_ticks <= PART_TARGET_TICKS));
}

#[test]
fn a_publisher_that_returns_continues_the_timeline() {
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    for (epoch, origin_s) in [(1, 5.0), (2, 0.0), (3, 90_000.0)] {
        let publisher = Publisher { origin_s, ..Publisher::new(30.0, 60) };
        muxer.set_tracks(plain_tracks(true, true, epoch)).expect("tracks");
        publisher.units(0.0, 3.1).into_iter().for_each(|unit| muxer.push(unit));
        muxer.end();
    }
    muxed.drain(&mut muxer);
    assert_eq!((muxed.inits.len(), muxed.ends), (3, 3));
    for pair in muxed.chunks.windows(2) {
        assert_eq!(pair[0].start_ticks + pair[0].duration_ticks, pair[1].start_ticks);
    }
    for spans in spans(&muxed.chunks).values() {
        assert!(spans.windows(2).all(|pair| pair[1].0 + 2048 >= pair[0].1), "decode times go back");
    }
}

#[test]
fn repeated_parameter_sets_change_nothing() {
    let publisher = Publisher::new(30.0, 60);
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    for second in 0..6 {
        muxer.set_tracks(plain_tracks(true, true, 1)).expect("tracks");
        publisher.units(second.into(), f64::from(second) + 1.0).into_iter().for_each(|unit| muxer.push(unit));
    }
    muxed.drain(&mut muxer);
    assert_eq!((muxed.inits.len(), muxed.discontinuities), (1, 0));
    assert_contiguous(&muxed);
}

#[test]
fn a_clock_that_jumps_makes_a_discontinuity_and_no_huge_part() {
    for jump_s in [3600.0, -3600.0] {
        let publisher = Publisher { origin_s: 4000.0, ..Publisher::new(30.0, 60) };
        let after = Publisher { origin_s: 4000.0 + jump_s, ..Publisher::new(30.0, 60) };
        let units = publisher.units(0.0, 5.0).into_iter().chain(after.units(5.0, 12.0));
        let muxed = mux(&publisher, units);
        assert!((1..=2).contains(&muxed.discontinuities), "{} discontinuities", muxed.discontinuities);
        assert!(muxed.chunks.iter().all(|chunk| chunk.duration_ticks <= PART_TARGET_TICKS));
        let total: f64 = muxed.chunks.iter().map(Chunk::duration_s).sum();
        assert!((9.5..12.1).contains(&total), "{total} s");
    }
}

#[test]
fn missing_audio_becomes_silence() {
    let publisher = Publisher::new(30.0, 60);
    let units = publisher.units(0.0, 20.0);
    let origin = (publisher.origin_s * 48_000.0) as i64;
    let hole = origin + 3 * 48_000..origin + 15 * 48_000;
    let muxed = mux(&publisher, units.into_iter().filter(|u| u.track == TrackId::VIDEO || !hole.contains(&u.dts)));
    assert_contiguous(&muxed);
    let audio = &spans(&muxed.chunks)[&2];
    let (start, end) = (audio[0].0, audio[audio.len() - 1].1);
    assert!(end - start > 19 * 48_000, "the audio track has {} ticks", end - start);
    assert_eq!(muxed.discontinuities, 0);
}

#[test]
fn video_that_stands_still_does_not_stop_the_audio() {
    let publisher = Publisher::new(30.0, 60);
    let origin = (publisher.origin_s * 90_000.0) as i64;
    let hole = origin + 5 * 90_000..origin + 15 * 90_000;
    let units = publisher.units(0.0, 20.0).into_iter();
    let muxed = mux(&publisher, units.filter(|u| u.track == TrackId::AUDIO || !hole.contains(&u.dts)));
    assert_contiguous(&muxed);
    assert!(muxed.chunks.iter().all(|chunk| chunk.duration_ticks <= PART_TARGET_TICKS));
    let total: f64 = muxed.chunks.iter().map(Chunk::duration_s).sum();
    assert!((19.5..20.1).contains(&total), "{total} s");
}

#[test]
fn a_pause_of_everything_keeps_the_parts_short() {
    for pause_s in [0.3, 0.9, 1.4, 2.9] {
        let publisher = Publisher::new(30.0, 60);
        let paused = |unit: &AccessUnit| {
            let timescale = if unit.track == TrackId::VIDEO { 90_000.0 } else { 48_000.0 };
            let at = unit.dts as f64 / timescale - publisher.origin_s;
            (5.1..5.1 + pause_s).contains(&at)
        };
        let muxed = mux(&publisher, publisher.units(0.0, 12.0).into_iter().filter(|unit| !paused(unit)));
        assert_contiguous(&muxed);
        assert_eq!(muxed.discontinuities, 0);
        let longest = muxed.chunks.iter().map(|chunk| chunk.duration_ticks).max();
        assert!(longest <= Some(PART_TARGET_TICKS), "after a pause of {pause_s} s: {longest:?} ticks");
    }
}

#[test]
fn lost_units_make_a_discontinuity_at_the_next_keyframe() {
    let publisher = Publisher::new(30.0, 60);
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(plain_tracks(true, true, 1)).expect("tracks");
    publisher.units(0.0, 3.0).into_iter().for_each(|unit| muxer.push(unit));
    muxer.discontinuity();
    publisher.units(4.0, 6.0).into_iter().for_each(|unit| muxer.push(unit));
    muxed.drain(&mut muxer);
    assert_eq!(muxed.discontinuities, 1);
    let total: f64 = muxed.chunks.iter().map(Chunk::duration_s).sum();
    assert!((4.5..5.1).contains(&total), "{total} s of 3 s and 2 s");
}

#[test]
fn slow_video_with_audio_keeps_its_parts_short() {
    let publisher = Publisher::new(1.0, 5);
    let muxed = mux(&publisher, publisher.units(0.0, 20.0));
    assert_contiguous(&muxed);
    assert!(muxed.chunks.iter().all(|chunk| chunk.duration_ticks <= PART_TARGET_TICKS));
}

#[test]
fn slow_video_alone_makes_no_empty_chunks() {
    let publisher = Publisher { audio: false, ..Publisher::new(1.0, 5) };
    let muxed = mux(&publisher, publisher.units(0.0, 20.0));
    assert_contiguous(&muxed);
    assert_eq!(muxed.chunks.iter().map(|chunk| chunk.access_units).sum::<u64>(), 20);
}

#[test]
fn nothing_comes_out_before_the_first_keyframe() {
    let publisher = Publisher::new(30.0, 60);
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(plain_tracks(true, true, 1)).expect("tracks");
    publisher.units(0.5, 1.9).into_iter().for_each(|unit| muxer.push(unit));
    muxed.drain(&mut muxer);
    assert!(muxed.chunks.is_empty() && muxer.wants_keyframe());
    publisher.units(1.9, 4.0).into_iter().for_each(|unit| muxer.push(unit));
    muxed.drain(&mut muxer);
    assert!(muxed.chunks[0].independent && !muxer.wants_keyframe());
}

#[test]
fn audio_starts_alone_when_no_picture_comes() {
    let publisher = Publisher { video: false, ..Publisher::new(30.0, 60) };
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(plain_tracks(true, true, 1)).expect("tracks");
    publisher.units(0.0, 5.0).into_iter().for_each(|unit| muxer.push(unit));
    muxed.drain(&mut muxer);
    assert!(!muxed.chunks.is_empty());
}

#[test]
fn a_standing_clock_cannot_fill_memory() {
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(plain_tracks(true, false, 1)).expect("tracks");
    for index in 0..20_000 {
        muxer.push(unit(TrackId::VIDEO, 0, 0, index == 0, &[0; 2000]));
    }
    muxed.drain(&mut muxer);
    let out: u64 = muxed.chunks.iter().map(|chunk| chunk.access_units).sum();
    assert!(out > 18_000, "{out} units came out");
}

#[test]
fn tracks_without_a_configuration_are_refused_in_words() {
    let mut set = (*plain_tracks(true, true, 1)).clone();
    set.tracks[1] = std::sync::Arc::new(support::audio_track(&[]));
    let refusal = Muxer::new().set_tracks(std::sync::Arc::new(set)).expect_err("no AudioSpecificConfig");
    assert!(refusal.to_string().starts_with("the AAC configuration"), "{refusal}");
}
