use super::super::test_support::{Recording, aac_config, record};
use super::*;
use opus::Decoder;

/// A tone that starts at this moment after silence: its onset is the click whose place is measured.
const ONSET_S: f64 = 0.5;
const TONE: &str = "if(gte(t,0.5),0.5*sin(2*PI*1000*t),0)";

/// Transcodes a recording, each frame at `pts(index)` in ticks of its rate.
fn transcode(recording: &Recording, pts: impl Fn(i64) -> i64) -> Vec<OpusPacket> {
    let mut transcoder = Transcoder::new(&aac_config(recording)).unwrap();
    let mut packets = Vec::new();
    for (index, frame) in recording.frames.iter().enumerate() {
        transcoder.push(pts(index as i64), frame, &mut packets).unwrap();
    }
    packets
}

/// What a player hears: pairs of time in 48 kHz ticks and sample of the first channel.
fn play(packets: &[OpusPacket], channels: u8) -> Vec<(i64, f32)> {
    let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
    let mut decoder = Decoder::new(CLOCK_RATE_HZ, layout).unwrap();
    let mut heard = Vec::new();
    for packet in packets {
        let mut samples = vec![0.0; PACKET_SAMPLES * usize::from(channels)];
        assert_eq!(decoder.decode_float(&packet.data, &mut samples, false).unwrap(), PACKET_SAMPLES);
        let first_channel = samples.chunks(channels.into()).map(|frame| frame[0]);
        heard.extend((packet.pts..).zip(first_channel));
    }
    heard
}

/// Root mean square of the samples between two times.
fn loudness(heard: &[(i64, f32)], from: i64, to: i64) -> f32 {
    let part: Vec<f32> = heard.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, sample)| *sample).collect();
    assert!(!part.is_empty());
    (part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32).sqrt()
}

/// Time of the first millisecond that has half the loudness of the tone.
fn onset(heard: &[(i64, f32)]) -> i64 {
    let (first, last) = (heard[0].0, heard[heard.len() - 1].0);
    (first..last).step_by(12).find(|at| loudness(heard, *at, at + 48) > 0.18).expect("a tone")
}

#[test]
fn sound_keeps_its_energy_and_its_time() {
    for (rate, channels) in [(48_000, 2), (48_000, 1), (44_100, 2), (44_100, 1), (32_000, 2), (96_000, 2), (22_050, 1)]
    {
        let recording = record(TONE, rate, channels);
        let packets = transcode(&recording, |index| index * 1024);
        assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 960), "{rate} {channels}");
        let heard = play(&packets, channels);
        // The AAC encoder puts one frame of priming before the signal.
        let expected = ((ONSET_S + 1024.0 / f64::from(rate)) * 48_000.0) as i64;
        let error_ms = (onset(&heard) - expected) as f64 / 48.0;
        assert!(error_ms.abs() < 2.0, "{rate} Hz, {channels} channels: {error_ms} ms off");
        let tone = loudness(&heard, expected + 4800, expected + 24_000);
        // 0.5 / sqrt(2); FFmpeg writes mono and stereo at the same level.
        assert!((tone - 0.3535).abs() < 0.02, "{rate} {channels}: {tone}");
        assert!(loudness(&heard, 0, expected - 4800) < 0.001);
    }
}

#[test]
fn packets_come_out_within_one_packet_of_what_went_in() {
    let recording = record(TONE, 44_100, 2);
    let mut transcoder = Transcoder::new(&aac_config(&recording)).unwrap();
    let mut packets = Vec::new();
    for (index, frame) in recording.frames.iter().enumerate() {
        transcoder.push(index as i64 * 1024, frame, &mut packets).unwrap();
        let end_in = rescale((index as i64 + 1) * 1024, 44_100);
        let end_out = packets.last().map_or(-transcoder.delay, |packet| packet.pts + 960);
        // 40 ms is the bound; the look-ahead and the resampler take 10 ms of it.
        assert!(end_in - end_out < 40 * 48, "{} ticks behind", end_in - end_out);
    }
}

#[test]
fn jitter_below_the_tolerance_changes_nothing() {
    let recording = record(TONE, 44_100, 2);
    // RTMP counts milliseconds.
    let packets = transcode(&recording, |index| (index * 1024 * 1000 / 44_100) * 44_100 / 1000);
    assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 960));
}

#[test]
fn a_gap_moves_the_timeline_and_the_sound_with_it() {
    let recording = record(TONE, 48_000, 2);
    let gap = 5 * 48_000;
    let packets = transcode(&recording, |index| if index < 10 { index * 1024 } else { index * 1024 + gap });
    let jumps: Vec<i64> =
        packets.windows(2).map(|pair| pair[1].pts - pair[0].pts).filter(|step| *step != 960).collect();
    assert_eq!(jumps.len(), 1);
    assert!((jumps[0] - gap).abs() <= 960 * 2, "{}", jumps[0]);
    let expected = (ONSET_S * 48_000.0) as i64 + 1024 + gap;
    let heard = play(&packets, 2);
    let after: Vec<(i64, f32)> = heard.into_iter().filter(|(at, _)| *at > gap).collect();
    assert!((onset(&after) - expected).abs() < 3 * 48);
}

#[test]
fn frames_whose_time_is_taken_are_dropped() {
    let recording = record(TONE, 48_000, 2);
    // From the tenth on, each frame says it is 200 ms earlier.
    let packets = transcode(&recording, |index| if index < 10 { index * 1024 } else { index * 1024 - 9600 });
    assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 960));
    let expected = (ONSET_S * 48_000.0) as i64 + 1024 - 9600;
    assert!((onset(&play(&packets, 2)) - expected).abs() <= TOLERANCE + 3 * 48);
    // A new timeline far back: the count goes on, sound included.
    let packets = transcode(&recording, |index| if index < 10 { 480_000 + index * 1024 } else { index * 1024 });
    assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 960));
    assert!(packets.len() > recording.frames.len());
}

#[test]
fn damaged_frames_are_errors_and_time_goes_on() {
    let recording = record(TONE, 44_100, 2);
    let mut transcoder = Transcoder::new(&aac_config(&recording)).unwrap();
    let (mut packets, mut errors, mut state) = (Vec::new(), 0, 1u32);
    for round in 0..2000 {
        let mut frame = recording.frames[round % recording.frames.len()].clone();
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % frame.len();
            frame[at] ^= (state >> 24) as u8;
        }
        errors += u32::from(transcoder.push(round as i64 * 1024, &frame, &mut packets).is_err());
    }
    assert!(errors > 0);
    assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 960));
    let mut clean = Vec::new();
    for (index, frame) in recording.frames.iter().enumerate() {
        transcoder.push((2000 + index as i64) * 1024, frame, &mut clean).unwrap();
    }
    let end = clean[clean.len() - 1].pts;
    assert!((loudness(&play(&clean, 2), end - 9600, end) - 0.3535).abs() < 0.02);
}

#[test]
fn tracks_that_cannot_be_transcoded_are_refused_by_name() {
    let mut config = aac_config(&record(TONE, 48_000, 2));
    config.extradata = AudioSpecificConfig::lc_bytes(48_000, 6).unwrap();
    assert!(matches!(Transcoder::new(&config), Err(TranscodeError::Channels { channels: 6 })));
    // AAC Main.
    config.extradata = Bytes::from_static(&[0x09, 0x90]);
    assert!(matches!(Transcoder::new(&config), Err(TranscodeError::Unsupported { .. })));
    config.extradata = Bytes::new();
    assert!(matches!(Transcoder::new(&config), Err(TranscodeError::Configuration(_))));
}

#[test]
fn extreme_times_are_survived() {
    let recording = record(TONE, 48_000, 2);
    let mut transcoder = Transcoder::new(&aac_config(&recording)).unwrap();
    let mut packets = Vec::new();
    for pts in [i64::MIN, 0, i64::MAX, -1, i64::MAX, i64::MIN] {
        for frame in &recording.frames[..3] {
            transcoder.push(pts, frame, &mut packets).unwrap();
        }
    }
    assert!(packets.windows(2).all(|pair| pair[1].pts > pair[0].pts));
}
