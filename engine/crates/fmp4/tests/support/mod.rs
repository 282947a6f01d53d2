//! Media for tests: made by ffmpeg, read from FLV (the timestamps RTMP publishers send, in milliseconds).
#![allow(dead_code)] // each test binary uses a part

use bytes::Bytes;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use tallylight_fmp4::{Chunk, InitSegment, Muxer, Output};
use tallylight_media::{AccessUnit, Codec, Track, TrackConfig, TrackId, TrackSet};

pub struct Source {
    pub tracks: Vec<Track>,
    pub units: Vec<AccessUnit>,
}

impl Source {
    pub fn set(&self, epoch: u64) -> Arc<TrackSet> {
        let tracks = self.tracks.iter().cloned().map(Arc::new).collect();
        Arc::new(TrackSet { epoch, version: 1, tracks })
    }

    pub fn count(&self, track: TrackId) -> usize {
        self.units.iter().filter(|unit| unit.track == track).count()
    }
}

/// Six seconds of H.264 and AAC from ffmpeg. `x264` are options like `-bf 2`.
pub fn encoded(frame_rate: &str, x264: &[&str]) -> Source {
    let picture = format!("testsrc2=size=320x180:rate={frame_rate}:duration=6");
    let flv = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=f=440:r=48000:d=6"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
        .args(x264)
        .args(["-c:a", "aac", "-ac", "2", "-b:a", "96k", "-f", "flv", "-"])
        .output()
        .expect("ffmpeg is needed by this test");
    assert!(flv.status.success(), "{}", String::from_utf8_lossy(&flv.stderr));
    parse_flv(&flv.stdout)
}

/// FLV tags (Adobe's specification, version 10.1, annex E): enough for H.264 and AAC.
fn parse_flv(flv: &[u8]) -> Source {
    let (mut tracks, mut units) = (Vec::new(), Vec::new());
    let mut at = 13;
    while at + 11 < flv.len() {
        let tag = &flv[at..];
        let size = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        let milliseconds = i64::from(u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]));
        let body = &tag[11..11 + size];
        match (tag[0], body.get(1)) {
            (9, Some(0)) => tracks.push(video_track(&body[5..])),
            (9, Some(1)) => {
                let composition = i64::from(i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8);
                let dts = milliseconds * 90;
                units.push(unit(TrackId::VIDEO, dts + composition * 90, dts, body[0] >> 4 == 1, &body[5..]));
            }
            (8, Some(0)) => tracks.push(audio_track(&body[2..])),
            (8, Some(1)) => {
                let dts = milliseconds * 48;
                units.push(unit(TrackId::AUDIO, dts, dts, true, &body[2..]));
            }
            _ => {}
        }
        at += 11 + size + 4;
    }
    Source { tracks, units }
}

pub fn unit(track: TrackId, pts: i64, dts: i64, keyframe: bool, data: &[u8]) -> AccessUnit {
    AccessUnit { track, pts, dts, keyframe, data: Bytes::copy_from_slice(data), arrived_at: Instant::now() }
}

fn video_track(extradata: &[u8]) -> Track {
    Track {
        id: TrackId::VIDEO,
        config: TrackConfig { width: 320, height: 180, ..config(Codec::H264, 90_000, extradata) },
    }
}

pub fn audio_track(extradata: &[u8]) -> Track {
    Track {
        id: TrackId::AUDIO,
        config: TrackConfig { sample_rate_hz: 48_000, channels: 2, ..config(Codec::Aac, 48_000, extradata) },
    }
}

pub fn config(codec: Codec, timescale_hz: u32, extradata: &[u8]) -> TrackConfig {
    TrackConfig {
        codec,
        timescale_hz,
        extradata: Bytes::copy_from_slice(extradata),
        width: 0,
        height: 0,
        sample_rate_hz: 0,
        channels: 0,
        has_b_frames: false,
    }
}

/// AAC-LC, 48 kHz, stereo.
pub const AAC_STEREO: [u8; 2] = [0x11, 0x90];
/// A Baseline `avcC` with stubs of one SPS and one PPS.
pub const AVCC: [u8; 17] = [1, 0x42, 0, 0x0c, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0, 0x0c, 1, 0, 2, 0x68, 0xce];

/// H.264 and AAC tracks without a decoder behind them.
pub fn plain_tracks(video: bool, audio: bool, epoch: u64) -> Arc<TrackSet> {
    let mut tracks = Vec::new();
    if video {
        tracks.push(Arc::new(video_track(&AVCC)));
    }
    if audio {
        tracks.push(Arc::new(audio_track(&AAC_STEREO)));
    }
    Arc::new(TrackSet { epoch, version: 1, tracks })
}

#[derive(Default)]
pub struct Muxed {
    pub inits: Vec<InitSegment>,
    pub chunks: Vec<Chunk>,
    pub discontinuities: usize,
    pub ends: usize,
}

impl Muxed {
    pub fn drain(&mut self, muxer: &mut Muxer) {
        while let Some(output) = muxer.poll() {
            match output {
                Output::Init(init) => self.inits.push(init),
                Output::Discontinuity => self.discontinuities += 1,
                Output::Chunk(chunk) => self.chunks.push(chunk),
                Output::End => self.ends += 1,
            }
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.inits[0].bytes.to_vec();
        self.chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
        bytes
    }
}

/// Everything of one publication through one muxer.
pub fn mux(source: &Source) -> Muxed {
    let (mut muxer, mut muxed) = (Muxer::new(), Muxed::default());
    muxer.set_tracks(source.set(1)).expect("tracks that fit into MP4");
    for unit in &source.units {
        muxer.push(unit.clone());
    }
    muxer.end();
    muxed.drain(&mut muxer);
    assert_eq!(muxer.errors(), 0);
    muxed
}

/// Runs a command with `input` on its stdin; returns its stdout. Anything on stderr is a failure.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the child's output");
    writer.join().expect("the writer").expect("the child reads everything");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
