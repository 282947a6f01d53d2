//! Every codec but H.264 through the muxer: encoded by ffmpeg into its own MP4, taken apart, muxed by us, decoded.

mod support;

use mp4_atom::{Atom, Codec as Entry, DecodeMaybe, Header, Moof, Moov, ReadFrom, Trak};
use std::process::Command;
use support::{Source, config, encoded, mux, run, unit};
use tallylight_media::codec::opus::OpusHead;
use tallylight_media::{AccessUnit, Codec, Track, TrackConfig, TrackId};

/// Two seconds of 25 pictures each; `arguments` choose the encoders.
fn from_mp4(arguments: &[&str]) -> Source {
    let mp4 = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=2"])
        .args(["-f", "lavfi", "-i", "sine=f=440:r=48000:d=2", "-ac", "2", "-pix_fmt", "yuv420p"])
        .args(arguments)
        .args(["-strict", "experimental", "-movflags", "frag_keyframe+empty_moov+default_base_moof+delay_moov"])
        .args(["-use_editlist", "0", "-f", "mp4", "-"])
        .output()
        .expect("ffmpeg is needed by this test");
    assert!(mp4.status.success(), "{}", String::from_utf8_lossy(&mp4.stderr));
    take_apart(&mp4.stdout)
}

fn take_apart(mp4: &[u8]) -> Source {
    let (mut tracks, mut units, mut at) = (Vec::new(), Vec::new(), 0);
    while at < mp4.len() {
        let header = Header::read_from(&mut &mp4[at..]).expect("a box");
        let end = at + 8 + header.size.expect("a sized box");
        if header.kind == Moov::KIND {
            let moov = Moov::decode_maybe(&mut &mp4[at..end]).expect("a moov").expect("a whole moov");
            tracks = moov.trak.iter().map(track).collect();
        } else if header.kind == Moof::KIND {
            let moof = Moof::decode_maybe(&mut &mp4[at..end]).expect("a moof").expect("a whole moof");
            units.extend(moof.traf.iter().flat_map(|traf| samples(traf, &mp4[at..])));
        }
        at = end;
    }
    let timescale = |id: TrackId| tracks.iter().find(|track| track.id == id).map_or(1, |t| t.config.timescale_hz);
    units.sort_by_key(|unit| unit.dts * 1_000_000 / i64::from(timescale(unit.track)));
    Source { tracks, units }
}

fn samples(traf: &mp4_atom::Traf, from_moof: &[u8]) -> Vec<AccessUnit> {
    let id = TrackId(traf.tfhd.track_id as u8);
    let mut dts = traf.tfdt.as_ref().map_or(0, |tfdt| tfdt.base_media_decode_time as i64);
    let mut units = Vec::new();
    for trun in &traf.trun {
        let mut at = trun.data_offset.expect("an offset") as usize;
        for sample in trun.samples.iter() {
            let size = sample.size.or(traf.tfhd.default_sample_size).expect("a size") as usize;
            let flags = sample.flags.or(traf.tfhd.default_sample_flags).unwrap_or(0);
            let keyframe = id == TrackId::AUDIO || flags & 0x0001_0000 == 0;
            units.push(unit(id, dts + sample.cts.unwrap_or(0), dts, keyframe, &from_moof[at..at + size]));
            at += size;
            dts += i64::from(sample.duration.or(traf.tfhd.default_sample_duration).expect("a duration"));
        }
    }
    units
}

fn track(trak: &Trak) -> Track {
    let body = |atom: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        atom(&mut bytes);
        bytes
    };
    let (codec, extradata) = match &trak.mdia.minf.stbl.stsd.codecs[0] {
        Entry::Hvc1(entry) => (Codec::H265, body(&|out| entry.hvcc.encode_body(out).expect("hvcC"))),
        Entry::Av01(entry) => (Codec::Av1, body(&|out| entry.av1c.encode_body(out).expect("av1C"))),
        Entry::Vp09(_) => (Codec::Vp9, Vec::new()),
        Entry::Opus(entry) => {
            (Codec::Opus, OpusHead::new(entry.dops.output_channel_count, entry.dops.pre_skip).to_bytes().to_vec())
        }
        other => panic!("not a codec of this test: {other:?}"),
    };
    let config = config(codec, trak.mdia.mdhd.timescale, &extradata);
    let id = TrackId(trak.tkhd.track_id as u8);
    Track { id, config: TrackConfig { width: 160, height: 96, sample_rate_hz: 48_000, channels: 2, ..config } }
}

fn decoded(bytes: &[u8], kind: &str) -> usize {
    let map = format!("0:{kind}");
    let listing = run("ffmpeg", &["-v", "warning", "-xerror", "-i", "-", "-map", &map, "-f", "framemd5", "-"], bytes);
    listing.lines().filter(|line| !line.starts_with('#')).count()
}

fn check(video: &[&str], codec: Codec) {
    let source = from_mp4(&[video, &["-c:a", "libopus"]].concat());
    assert_eq!(source.tracks[0].config.codec, codec);
    let muxed = mux(&source);
    assert_eq!(decoded(&muxed.bytes(), "v"), 50);
    assert!(decoded(&muxed.bytes(), "a") > 90);
}

#[test]
fn hevc_with_b_frames_and_opus() {
    check(&["-c:v", "libx265", "-x265-params", "log-level=none:keyint=25", "-tag:v", "hvc1"], Codec::H265);
}

#[test]
fn av1_and_opus() {
    check(&["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "25"], Codec::Av1);
}

#[test]
fn vp9_and_opus() {
    check(&["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"], Codec::Vp9);
}

/// Takes one second out of the audio; what is put in decodes, and it is silent.
fn check_silence(mut source: Source) {
    let timescale =
        i64::from(source.tracks.iter().find(|t| t.id == TrackId::AUDIO).expect("audio").config.timescale_hz);
    let hole = timescale / 2..timescale * 3 / 2;
    source.units.retain(|unit| unit.track == TrackId::VIDEO || !hole.contains(&unit.dts));
    let bytes = mux(&source).bytes();
    let silent = "silencedetect=noise=-60dB:duration=0.7,ametadata=print:file=-";
    let found = run(
        "ffmpeg",
        &["-v", "warning", "-xerror", "-i", "-", "-map", "0:a", "-af", silent, "-f", "null", "-"],
        &bytes,
    );
    assert!(found.contains("silence_start"), "{found}");
}

#[test]
fn a_hole_in_aac_is_silent() {
    check_silence(encoded("25", &["-g", "50", "-bf", "0"]));
}

#[test]
fn a_hole_in_opus_is_silent() {
    check_silence(from_mp4(&["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]));
}
