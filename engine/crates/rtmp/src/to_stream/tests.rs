//! Whole publications as encoders send them.

use super::*;
use tallylight_media::Codec;
use tallylight_media::codec::h264::AvcConfig;

/// Parameter sets of libx264: high profile 1280x720, its VUI says two reorder frames.
const SPS_REORDERED: &[u8] =
    b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x83\x19\x60";
/// Baseline, 640x360: never reordered.
const SPS_BASELINE: &[u8] =
    b"\x67\x42\xc0\x1e\xd9\x00\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x3c\x8f\x16\x2e\x48";
/// Main profile 320x192 without a VUI: only the pictures tell.
const SPS_WITHOUT_VUI: &[u8] = b"\x67\x4d\x00\x1e\x96\x54\x0a\x0c\x80";
const PPS: &[u8] = b"\x68\xeb\xe3\xcb\x22\xc0";
const OTHER_PPS: &[u8] = b"\x68\xeb\xe3\xcb\x22\xc8";
const AAC_48K_STEREO: &[u8] = b"\xaf\0\x11\x90";
/// Slices by their type: IDR (I), P and B.
const IDR: &[u8] = b"\x65\x88\x84\x00\x10";
const P: &[u8] = b"\x41\x9a\x24\x6c";

fn avcc(sps: &[u8]) -> AvcConfig {
    AvcConfig::from_parameter_sets(&[Bytes::copy_from_slice(sps)], &[Bytes::from_static(PPS)]).unwrap()
}

fn nal(nal: &[u8]) -> Vec<u8> {
    [&(nal.len() as u32).to_be_bytes()[..], nal].concat()
}

/// One publication pushed message by message.
struct Publisher {
    to_stream: ToStream,
    now: Instant,
}

impl Publisher {
    fn new() -> Publisher {
        Publisher { to_stream: ToStream::new(), now: Instant::now() }
    }

    fn declare(&mut self, declares_video: bool, declares_audio: bool) {
        self.to_stream.push_metadata(Metadata { declares_video, declares_audio });
    }

    fn take(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.to_stream.next_output()).collect()
    }

    fn video(&mut self, timestamp_ms: u32, body: &[u8]) -> Vec<Output> {
        self.to_stream.push_video(timestamp_ms, Bytes::copy_from_slice(body), self.now).unwrap();
        self.take()
    }

    fn audio(&mut self, timestamp_ms: u32, body: &[u8]) -> Vec<Output> {
        self.to_stream.push_audio(timestamp_ms, Bytes::copy_from_slice(body), self.now).unwrap();
        self.take()
    }

    fn avc_configuration(&mut self, sps: &[u8]) -> Vec<Output> {
        self.video(0, &[b"\x17\0\0\0\0", &avcc(sps).to_bytes()[..]].concat())
    }

    fn picture(&mut self, timestamp_ms: u32, offset_ms: u8, nals: &[&[u8]]) -> Vec<Output> {
        let first = if nals.contains(&IDR) { 0x17 } else { 0x27 };
        let data: Vec<u8> = nals.iter().flat_map(|one| nal(one)).collect();
        self.video(timestamp_ms, &[&[first, 1, 0, 0, offset_ms][..], &data].concat())
    }

    fn aac(&mut self, timestamp_ms: u32) -> Vec<Output> {
        self.audio(timestamp_ms, b"\xaf\x01aac")
    }
}

fn tracks(output: &Output) -> &[Track] {
    match output {
        Output::Tracks(tracks) => tracks,
        Output::Unit(unit) => panic!("a unit: {unit:?}"),
    }
}

fn unit(output: &Output) -> &AccessUnit {
    match output {
        Output::Unit(unit) => unit,
        Output::Tracks(tracks) => panic!("tracks: {tracks:?}"),
    }
}

/// Track and dts of each unit; announcements are left out.
fn units(outputs: &[Output]) -> Vec<(TrackId, i64)> {
    let only_units = outputs.iter().filter(|output| matches!(output, Output::Unit(_)));
    only_units.map(|output| (unit(output).track, unit(output).dts)).collect()
}

fn codecs(output: &Output) -> Vec<Codec> {
    tracks(output).iter().map(|track| track.config.codec).collect()
}

#[test]
fn declared_tracks_are_announced_before_the_first_frame() {
    let mut publisher = Publisher::new();
    publisher.declare(true, true);
    assert!(publisher.avc_configuration(SPS_REORDERED).is_empty());
    let outputs = publisher.audio(0, AAC_48K_STEREO);
    let [video, audio] = tracks(&outputs[0]) else { panic!("two tracks") };
    assert_eq!((video.id, video.config.codec, video.config.timescale_hz), (TrackId::VIDEO, Codec::H264, 90_000));
    assert_eq!((video.config.width, video.config.height, video.config.has_b_frames), (1280, 720, true));
    assert_eq!(video.config.extradata, avcc(SPS_REORDERED).to_bytes());
    assert_eq!((audio.id, audio.config.codec, audio.config.timescale_hz), (TrackId::AUDIO, Codec::Aac, 48_000));
    assert_eq!((audio.config.sample_rate_hz, audio.config.channels), (48_000, 2));
    assert_eq!(&audio.config.extradata[..], b"\x11\x90");
    let outputs = publisher.picture(5000, 40, &[IDR]);
    let first = unit(&outputs[0]);
    assert_eq!((first.pts, first.dts, first.keyframe), (3600, 0, true));
    assert_eq!(first.data[..], nal(IDR));
    assert_eq!(units(&publisher.aac(5000)), [(TrackId::AUDIO, 0)]);
    assert_eq!(units(&publisher.aac(5021)), [(TrackId::AUDIO, 1024)]);
}

#[test]
fn without_metadata_the_second_track_is_waited_for_and_no_frame_is_lost() {
    let mut publisher = Publisher::new();
    publisher.audio(0, AAC_48K_STEREO);
    for i in 0..10 {
        assert!(publisher.aac(100 + i * 21).is_empty());
    }
    let mut outputs = publisher.avc_configuration(SPS_BASELINE);
    assert_eq!(codecs(&outputs[0]), [Codec::H264, Codec::Aac]);
    outputs.extend(publisher.picture(90, 0, &[IDR]));
    outputs.extend(publisher.picture(130, 0, &[P]));
    let units = units(&outputs);
    assert_eq!(units.iter().filter(|(track, _)| *track == TrackId::AUDIO).count(), 10);
    assert_eq!(units.iter().filter(|(track, _)| *track == TrackId::VIDEO).count(), 2);
}

#[test]
fn one_track_alone_is_announced_after_half_a_second_of_media() {
    let mut publisher = Publisher::new();
    publisher.audio(0, AAC_48K_STEREO);
    let mut at = 0;
    let outputs = loop {
        let outputs = publisher.aac(at);
        if !outputs.is_empty() {
            break outputs;
        }
        at += 21;
    };
    assert_eq!(at, 504);
    assert_eq!(codecs(&outputs[0]), [Codec::Aac]);
    assert_eq!(outputs.len(), 1 + 25);
}

#[test]
fn a_late_second_track_is_announced_again() {
    let mut publisher = Publisher::new();
    publisher.declare(false, true);
    assert_eq!(codecs(&publisher.audio(0, AAC_48K_STEREO)[0]), [Codec::Aac]);
    publisher.aac(0);
    let outputs = publisher.avc_configuration(SPS_BASELINE);
    assert_eq!(codecs(&outputs[0]), [Codec::H264, Codec::Aac]);
    assert!(publisher.picture(20, 0, &[P]).is_empty(), "video starts at a keyframe");
    assert_eq!(units(&publisher.picture(60, 0, &[IDR])), [(TrackId::VIDEO, 5400)]);
}

#[test]
fn video_starts_at_its_first_keyframe() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    publisher.avc_configuration(SPS_BASELINE);
    assert!(publisher.picture(0, 0, &[P]).is_empty());
    assert_eq!(units(&publisher.picture(40, 0, &[IDR])), [(TrackId::VIDEO, 3600)]);
}

#[test]
fn frames_without_a_configuration_are_errors_and_not_fatal() {
    let mut publisher = Publisher::new();
    let now = publisher.now;
    let error = publisher.to_stream.push_video(0, Bytes::from_static(b"\x17\x01\0\0\0\0\0\0\x01\x65"), now);
    assert_eq!(error, Err(ToStreamError::NoConfiguration));
    let error = publisher.to_stream.push_audio(0, Bytes::from_static(b"\xaf\x01aac"), now).unwrap_err();
    assert!(!error.is_fatal());
    let broken = Bytes::from_static(b"\x17\0\0\0\0\x01\x64\x00\x1f\xff\xe0\0");
    assert!(publisher.to_stream.push_video(0, broken, now).unwrap_err().is_fatal());
}

#[test]
fn unsupported_video_is_fatal_and_unsupported_sound_is_left_out() {
    let mut publisher = Publisher::new();
    let now = publisher.now;
    let error = publisher.to_stream.push_video(0, Bytes::from_static(b"\x12\0"), now).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("H.264"), "{error}");
    assert!(publisher.to_stream.push_video(0, Bytes::from_static(b"\x91vvc1x"), now).unwrap_err().is_fatal());
    assert!(!publisher.to_stream.push_audio(0, Bytes::from_static(b"\x2f\xff"), now).unwrap_err().is_fatal());
    assert!(!publisher.to_stream.push_audio(0, Bytes::from_static(b"\x91ac-3x"), now).unwrap_err().is_fatal());
}

#[test]
fn parameter_sets_and_delimiters_leave_the_frames() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    publisher.avc_configuration(SPS_BASELINE);
    let outputs =
        publisher.picture(0, 0, &[b"\x09\xf0", SPS_BASELINE, SPS_BASELINE, PPS, b"\x06\x05\x01\x00\x80", IDR]);
    assert_eq!(outputs.len(), 1, "known parameter sets are no change");
    assert_eq!(unit(&outputs[0]).data[..], [nal(b"\x06\x05\x01\x00\x80"), nal(IDR)].concat());
    assert!(publisher.picture(40, 0, &[b"\x09\xf0"]).is_empty(), "no picture, no unit");
}

#[test]
fn short_length_fields_are_rewritten() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    let record = AvcConfig { nal_length_size: 2, ..avcc(SPS_BASELINE) }.to_bytes();
    let outputs = publisher.video(0, &[b"\x17\0\0\0\0", &record[..]].concat());
    assert_eq!(tracks(&outputs[0])[0].config.extradata, avcc(SPS_BASELINE).to_bytes());
    let outputs = publisher.video(0, &[b"\x17\x01\0\0\0\0\x05", IDR].concat());
    assert_eq!(unit(&outputs[0]).data[..], nal(IDR));
}

#[test]
fn new_parameter_sets_in_a_keyframe_are_a_new_configuration() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    publisher.avc_configuration(SPS_BASELINE);
    publisher.picture(0, 0, &[IDR]);
    let outputs = publisher.picture(40, 0, &[SPS_REORDERED, OTHER_PPS, IDR]);
    let config = &tracks(&outputs[0])[0].config;
    assert_eq!((config.width, config.height, config.has_b_frames), (1280, 720, true));
    let expected = AvcConfig::from_parameter_sets(&[SPS_REORDERED.into()], &[OTHER_PPS.into()]).unwrap();
    assert_eq!(config.extradata, expected.to_bytes());
    assert!(unit(&outputs[1]).keyframe);
}

#[test]
fn a_configuration_storm_ends_the_publication() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    let mut changes = 0;
    let error = loop {
        let record = avcc([SPS_BASELINE, SPS_REORDERED][changes % 2]).to_bytes();
        let body = Bytes::from([b"\x17\0\0\0\0", &record[..]].concat());
        match publisher.to_stream.push_video(0, body, publisher.now) {
            Ok(()) => changes += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, changes as u32), (ToStreamError::ConfigurationStorm, MAX_ANNOUNCEMENTS));
}

#[test]
fn where_the_sps_is_silent_the_pictures_tell_of_reordering() {
    // Composition offsets in ms of five pictures at 0, 40, 80, 120, 160 ms, and what they mean.
    for (offsets, reordered) in [([0, 0, 0, 0, 0], false), ([40, 40, 40, 40, 40], false), ([80, 160, 40, 0, 80], true)]
    {
        let mut publisher = Publisher::new();
        publisher.declare(true, false);
        assert!(publisher.avc_configuration(SPS_WITHOUT_VUI).is_empty());
        let mut outputs = Vec::new();
        for (i, offset) in offsets.into_iter().enumerate() {
            outputs.extend(publisher.picture(i as u32 * 40, offset, &[if i == 0 { IDR } else { P }]));
        }
        assert_eq!(tracks(&outputs[0])[0].config.has_b_frames, reordered, "{offsets:?}");
        assert_eq!(outputs.len(), 6, "{offsets:?}: one announcement and every picture");
        let times: Vec<_> = outputs[1..].iter().map(|output| unit(output).pts - unit(output).dts).collect();
        assert_eq!(times, offsets.map(|offset| i64::from(offset) * 90));
    }
}

#[test]
fn reordering_seen_later_is_announced() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    publisher.avc_configuration(SPS_WITHOUT_VUI);
    for i in 0..10 {
        publisher.picture(i * 40, 0, &[if i == 0 { IDR } else { P }]);
    }
    publisher.picture(400, 120, &[P]);
    let outputs = publisher.picture(440, 0, &[P]);
    assert!(tracks(&outputs[0])[0].config.has_b_frames);
    assert_eq!(units(&outputs).len(), 1, "no new keyframe is needed");
    assert_eq!(publisher.avc_configuration(SPS_WITHOUT_VUI).len(), 0, "the repeated configuration changes nothing");
}

#[test]
fn absurd_composition_offsets_are_left_out() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    publisher.avc_configuration(SPS_BASELINE);
    for extreme in [[0x7f, 0xff, 0xff], [0x80, 0, 0]] {
        let outputs = publisher.video(0, &[&[0x17, 1], &extreme[..], &nal(IDR)].concat());
        assert_eq!(unit(&outputs[0]).pts, unit(&outputs[0]).dts);
    }
}

#[test]
fn opus_comes_with_its_head_or_gets_one() {
    let mut publisher = Publisher::new();
    publisher.declare(false, true);
    let head = tallylight_media::codec::opus::OpusHead::new(1, 500).to_bytes();
    let outputs = publisher.audio(0, &[b"\x90Opus", &head[..]].concat());
    let config = &tracks(&outputs[0])[0].config;
    assert_eq!((config.codec, config.timescale_hz, config.channels), (Codec::Opus, 48_000, 1));
    assert_eq!(config.extradata, head);
    let mut publisher = Publisher::new();
    publisher.declare(false, true);
    assert!(publisher.audio(0, b"\x90Opus").is_empty());
    let mut outputs = publisher.audio(0, b"\x91Opus\xfc\xff\xfe");
    let config = &tracks(&outputs[0])[0].config;
    assert_eq!((config.channels, config.extradata.len()), (2, 19));
    outputs.extend(publisher.audio(21, b"\x91Opus\xfc\xff\xfe"));
    assert_eq!(units(&outputs), [(TrackId::AUDIO, 0), (TrackId::AUDIO, 960)]);
}

#[test]
fn av1_and_vp9_need_no_configuration_record() {
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    let key = b"\x12\x00\x0a\x0b\x00\x00\x00\x04\x3c\xfe\xcc\xff\xf9\x80\x40\x32\x04\x14\x00\xa3\x70";
    let outputs = publisher.video(0, &[b"\x91av01", &key[..]].concat());
    let config = &tracks(&outputs[0])[0].config;
    assert_eq!((config.codec, config.width, config.height), (Codec::Av1, 320, 180));
    assert!(unit(&outputs[1]).keyframe);
    assert_eq!(unit(&outputs[1]).data[..], key[2..], "without the temporal delimiter");
    let mut publisher = Publisher::new();
    publisher.declare(true, false);
    let outputs = publisher.video(0, b"\x91vp09\x82\x49\x83\x42\x00\x13\xf0\x0b\x34");
    let config = &tracks(&outputs[0])[0].config;
    assert_eq!((config.codec, config.width, config.height), (Codec::Vp9, 320, 180));
    assert_eq!(units(&outputs).len(), 1);
}

#[test]
fn the_wrap_of_two_to_the_thirty_two_is_not_seen() {
    let mut publisher = Publisher::new();
    publisher.declare(true, true);
    publisher.avc_configuration(SPS_BASELINE);
    publisher.audio(0, AAC_48K_STEREO);
    let start = u32::MAX - 100;
    for i in 0..20u32 {
        let video = publisher.picture(start.wrapping_add(i * 40), 0, &[IDR]);
        assert_eq!(units(&video), [(TrackId::VIDEO, i64::from(i) * 3600)]);
        let audio = publisher.aac(start.wrapping_add(i * 40));
        assert_eq!(units(&audio).len(), 1);
        assert!((unit(&audio[0]).dts - i64::from(i) * 1920).abs() <= 480);
    }
}

#[test]
fn waiting_frames_are_bounded() {
    let mut publisher = Publisher::new();
    publisher.declare(true, true);
    publisher.avc_configuration(SPS_BASELINE);
    let mut pushed = 0;
    let outputs = loop {
        // All at the same millisecond: media time alone would never end the waiting.
        let outputs = publisher.picture(0, 0, &[IDR]);
        pushed += 1;
        if !outputs.is_empty() {
            break outputs;
        }
    };
    assert_eq!(pushed, MAX_WAITING_UNITS);
    assert_eq!(outputs.len(), 1 + MAX_WAITING_UNITS);
}
