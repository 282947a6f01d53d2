//! What comes out is read by ffmpeg and ffprobe without a warning, with every picture at its time.

mod support;

use support::{Source, encoded, mux, run};
use tallylight_media::TrackId;

fn decoded_frames(bytes: &[u8], kind: &str) -> usize {
    let map = format!("0:{kind}");
    let listing = run("ffmpeg", &["-v", "warning", "-xerror", "-i", "-", "-map", &map, "-f", "framemd5", "-"], bytes);
    listing.lines().filter(|line| !line.starts_with('#')).count()
}

/// Presentation times of one track in seconds, in decode order.
fn packet_times(bytes: &[u8], kind: &str) -> Vec<f64> {
    let arguments =
        ["-v", "warning", "-select_streams", kind, "-show_entries", "packet=pts_time", "-of", "csv=p=0", "-i", "-"];
    let listing = run("ffprobe", &arguments, bytes);
    listing.lines().map(|line| line.trim_end_matches(',').parse().expect("a time")).collect()
}

fn check(source: &Source) {
    let muxed = mux(source);
    let bytes = muxed.bytes();
    assert_eq!(decoded_frames(&bytes, "v"), source.count(TrackId::VIDEO));
    // The last chunk ends with the last picture; of the audio beyond it nothing can be shown.
    let audio = decoded_frames(&bytes, "a");
    assert!(audio + 12 > source.count(TrackId::AUDIO), "{audio} audio frames of {}", source.count(TrackId::AUDIO));

    let first = source.units.iter().find(|unit| unit.track == TrackId::VIDEO).expect("video").dts;
    for (kind, track, timescale) in [("v", TrackId::VIDEO, 90_000.0), ("a", TrackId::AUDIO, 48_000.0)] {
        let sent = source.units.iter().filter(|unit| unit.track == track);
        let sent = sent.map(|unit| unit.pts as f64 / timescale - first as f64 / 90_000.0).filter(|time| *time >= 0.0);
        for (sent, got) in sent.zip(packet_times(&bytes, kind)) {
            // Audio is joined seamlessly, video keeps the publisher's times.
            let tolerance = if kind == "v" { 1e-5 } else { 2e-3 };
            assert!((sent - got).abs() < tolerance, "{kind}: sent {sent}, got {got}");
        }
    }
}

#[test]
fn plain_pictures() {
    check(&encoded("30", &["-g", "60", "-bf", "0"]));
}

#[test]
fn b_frames_keep_their_times() {
    let source = encoded("30", &["-g", "60", "-bf", "2", "-preset", "medium"]);
    assert!(source.units.iter().any(|unit| unit.pts != unit.dts), "the encoder made no B-frames");
    check(&source);
}

#[test]
fn ntsc_rates() {
    check(&encoded("30000/1001", &["-g", "60", "-bf", "0"]));
}

#[test]
fn a_damaged_chunk_is_noticed() {
    let muxed = mux(&encoded("30", &["-g", "60"]));
    let mut bytes = muxed.bytes();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4000].fill(0x55);
    let outcome = std::panic::catch_unwind(|| decoded_frames(&bytes, "v"));
    assert!(outcome.is_err(), "ffmpeg accepts anything: the other tests prove nothing");
}
