//! Recordings for the transcoder's tests, made by FFmpeg (a requirement of the whole test suite).

use bytes::Bytes;
use std::process::Command;
use tallylight_media::codec::aac::AudioSpecificConfig;
use tallylight_media::{Codec, TrackConfig};

/// One second of AAC-LC.
pub struct Recording {
    pub sample_rate_hz: u32,
    pub channels: u8,
    pub frames: Vec<Vec<u8>>,
}

/// Encodes an FFmpeg `aevalsrc` expression, the same on every channel.
pub fn record(expression: &str, sample_rate_hz: u32, channels: u8) -> Recording {
    let expressions = vec![expression; channels.into()].join("|");
    let source = format!("aevalsrc='{expressions}':s={sample_rate_hz}:d=1");
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", &source])
        .args(["-c:a", "aac", "-b:a", "160k", "-f", "adts", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frames = split_adts(&output.stdout);
    assert!(frames.len() > 20);
    Recording { sample_rate_hz, channels, frames }
}

pub fn aac_config(recording: &Recording) -> TrackConfig {
    let (sample_rate_hz, channels) = (recording.sample_rate_hz, recording.channels);
    TrackConfig {
        codec: Codec::Aac,
        timescale_hz: sample_rate_hz,
        extradata: AudioSpecificConfig::lc_bytes(sample_rate_hz, channels).expect("a standard rate"),
        width: 0,
        height: 0,
        sample_rate_hz,
        channels,
        has_b_frames: false,
    }
}

pub fn opus_config() -> TrackConfig {
    TrackConfig {
        codec: Codec::Opus,
        timescale_hz: 48_000,
        extradata: Bytes::new(),
        width: 0,
        height: 0,
        sample_rate_hz: 48_000,
        channels: 2,
        has_b_frames: false,
    }
}

/// Raw frames out of an ADTS file: 7 bytes of header without a checksum.
fn split_adts(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while data.len() > 7 {
        assert_eq!((data[0], data[1] & 0xf1), (0xff, 0xf1), "ADTS without checksum");
        let length = usize::from(data[3] & 3) << 11 | usize::from(data[4]) << 3 | usize::from(data[5]) >> 5;
        frames.push(data[7..length].to_vec());
        data = &data[length..];
    }
    frames
}
