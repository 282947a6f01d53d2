//! Helpers of this crate's tests.

use bytes::Bytes;
use std::time::Instant;
use tallylight_media::codec::{h264::AvcConfig, h265::HevcConfig};
use tallylight_media::{AccessUnit, Codec, TrackConfig, TrackId};

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

// Parameter sets of testsrc2 through libx264 (1280x720) and libx265 (320x180).
pub const H264_SPS: &str = "6764001facd9405005bb011000000300100000030 3c0f1831960";
pub const H264_PPS: &str = "68ebe3cb22c0";
pub const H265_VPS: &str = "40010c01ffff016000000300900000030000030 03c92809 0";
pub const H265_SPS: &str = "42010101600000030090000003000003003ca00a080b9f7964a924caf0168080000003008000000f04";
pub const H265_PPS: &str = "4401c172b46240";

pub fn config(codec: Codec) -> TrackConfig {
    let set = |text: &str| [Bytes::from(hex(text))];
    let extradata = match codec {
        Codec::H264 => AvcConfig::from_parameter_sets(&set(H264_SPS), &set(H264_PPS)).unwrap().to_bytes(),
        Codec::H265 => {
            HevcConfig::from_parameter_sets(&set(H265_VPS), &set(H265_SPS), &set(H265_PPS)).unwrap().to_bytes()
        }
        _ => Bytes::new(),
    };
    TrackConfig {
        codec,
        timescale_hz: 90_000,
        extradata,
        width: 0,
        height: 0,
        sample_rate_hz: 0,
        channels: 0,
        has_b_frames: false,
    }
}

pub fn unit(data: &[u8], keyframe: bool) -> AccessUnit {
    let data = Bytes::copy_from_slice(data);
    AccessUnit { track: TrackId::VIDEO, pts: 0, dts: 0, keyframe, data, arrived_at: Instant::now() }
}

/// `start`, then numbers up to `len` bytes: a picture in which every byte out of place shows.
pub fn picture_bytes(start: &[u8], len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|index| (index % 251) as u8 + 1).collect();
    let used = start.len().min(len);
    bytes[..used].copy_from_slice(&start[..used]);
    bytes
}

/// All but the last are equal, none is above `max`, the last is not larger.
pub fn assert_equal_sizes(payloads: &[Bytes], max: usize) {
    let first = payloads[0].len();
    let (last, others) = payloads.split_last().unwrap();
    assert!(first <= max && last.len() <= first, "{first} {}", last.len());
    assert!(others.iter().all(|payload| payload.len() == first));
}

/// Calls `parse` with `rounds` damaged copies of `seed`; the damage is the same in every run.
pub fn mutate(seed: &[u8], rounds: u32, mut parse: impl FnMut(&[u8])) {
    for length in 0..=seed.len() {
        parse(&seed[..length]);
    }
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below.max(1)
    };
    for _ in 0..rounds {
        let mut copy = seed.to_vec();
        for _ in 0..=random(4) {
            if copy.is_empty() {
                break;
            }
            let at = random(copy.len());
            match random(4) {
                0 => copy[at] ^= 1 << random(8),
                1 => copy[at] = random(256) as u8,
                2 => copy.truncate(at),
                _ => copy.extend_from_within(at..),
            }
        }
        parse(&copy);
    }
}
