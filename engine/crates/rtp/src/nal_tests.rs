use crate::Packetizer;
use crate::test_support::*;
use bytes::Bytes;
use tallylight_media::Codec;
use tallylight_media::codec::nal::length_prefixed;

/// The NAL units in H.264 payloads, as RFC 6184 section 5 describes them.
fn depacketize_h264(payloads: &[Bytes]) -> Vec<Vec<u8>> {
    let mut nals = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => nals.extend(aggregated(&payload[1..])),
            28 => {
                if payload[1] & 0x80 != 0 {
                    open = Some(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                let nal = open.as_mut().expect("a fragment starts first");
                nal.extend_from_slice(&payload[2..]);
                if payload[1] & 0x40 != 0 {
                    nals.extend(open.take());
                }
            }
            _ => nals.push(payload.to_vec()),
        }
    }
    assert!(open.is_none(), "the last fragment ends its unit");
    nals
}

/// The NAL units in H.265 payloads, as RFC 7798 section 4.4 describes them.
fn depacketize_h265(payloads: &[Bytes]) -> Vec<Vec<u8>> {
    let mut nals = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        match payload[0] >> 1 & 0x3f {
            48 => nals.extend(aggregated(&payload[2..])),
            49 => {
                if payload[2] & 0x80 != 0 {
                    open = Some(vec![payload[0] & 0x81 | (payload[2] & 0x3f) << 1, payload[1]]);
                }
                let nal = open.as_mut().expect("a fragment starts first");
                nal.extend_from_slice(&payload[3..]);
                if payload[2] & 0x40 != 0 {
                    nals.extend(open.take());
                }
            }
            _ => nals.push(payload.to_vec()),
        }
    }
    assert!(open.is_none(), "the last fragment ends its unit");
    nals
}

fn aggregated(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut nals = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (nal, after) = after.split_at(u16::from_be_bytes(*length).into());
        nals.push(nal.to_vec());
        rest = after;
    }
    nals
}

fn packetize(codec: Codec, nals: &[&[u8]], keyframe: bool, max: usize) -> Vec<Bytes> {
    let mut out = Vec::new();
    let data = length_prefixed(nals.iter().copied());
    Packetizer::new(codec).packetize(&unit(&data, keyframe), &config(codec), max, &mut out).unwrap();
    assert!(out.iter().all(|payload| payload.len() <= max));
    out
}

#[test]
fn h264_round_trips_for_every_length() {
    for len in 1..700 {
        let slice = picture_bytes(&[0x41, 0x9a], len);
        let payloads = packetize(Codec::H264, &[&slice], false, 100);
        assert_equal_sizes(&payloads, 100);
        assert_eq!(depacketize_h264(&payloads), [slice]);
    }
}

#[test]
fn h265_round_trips_for_every_length() {
    for len in 2..700 {
        let slice = picture_bytes(&[0x03, 0x0a], len);
        let payloads = packetize(Codec::H265, &[&slice], false, 100);
        assert_equal_sizes(&payloads, 100);
        assert_eq!(depacketize_h265(&payloads), [slice]);
    }
}

#[test]
fn a_keyframe_brings_its_parameter_sets_in_one_payload() {
    let (sei, idr) = ([0x06u8, 5, 1, 0x80], picture_bytes(&[0x65, 0x88], 5000));
    let payloads = packetize(Codec::H264, &[&sei, &idr], true, 1188);
    assert_eq!(depacketize_h264(&payloads), [hex(H264_SPS), hex(H264_PPS), sei.to_vec(), idr]);
    // STAP-A, then five fragments of equal size.
    assert_eq!((payloads[0][0], payloads.len()), (0x78, 6));
    assert_equal_sizes(&payloads[1..], 1188);

    let idr = picture_bytes(&[0x26, 1], 5000);
    let payloads = packetize(Codec::H265, &[&idr], true, 1188);
    assert_eq!(depacketize_h265(&payloads), [hex(H265_VPS), hex(H265_SPS), hex(H265_PPS), idr]);
    assert_eq!(payloads[0][..2], [0x60, 1]);
    assert_equal_sizes(&payloads[1..], 1188);
}

#[test]
fn small_slices_share_a_payload_and_large_ones_do_not() {
    let slices: Vec<Vec<u8>> = [40, 30, 300, 20, 98, 10].map(|len| picture_bytes(&[0x41, 0x9a], len)).to_vec();
    let borrowed: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
    let payloads = packetize(Codec::H264, &borrowed, false, 100);
    assert_eq!(depacketize_h264(&payloads), slices);
    // 40 and 30 together; 300 in four; 20; 98 too large for company; 10.
    assert_eq!(payloads.len(), 1 + 4 + 1 + 1 + 1);
}

#[test]
fn a_new_configuration_is_taken_up() {
    let mut packetizer = Packetizer::new(Codec::H264);
    let key = unit(&length_prefixed([&[0x65u8, 0x88, 1][..]]), true);
    let mut config = config(Codec::H264);
    let mut out = Vec::new();
    packetizer.packetize(&key, &config, 1188, &mut out).unwrap();
    let mut sps = hex(H264_SPS);
    sps[3] = 40;
    let sets = ([Bytes::from(sps.clone())], [Bytes::from(hex(H264_PPS))]);
    config.extradata = super::AvcConfig::from_parameter_sets(&sets.0, &sets.1).unwrap().to_bytes();
    packetizer.packetize(&key, &config, 1188, &mut out).unwrap();
    assert_eq!(depacketize_h264(&out[1..])[0], sps);
}

#[test]
fn damaged_units_never_panic_and_never_break_the_bound() {
    let data = length_prefixed([&[0x41u8, 0x9a, 1, 2][..], &picture_bytes(&[0x65, 0x88], 300)]);
    for codec in [Codec::H264, Codec::H265] {
        let (config, mut packetizer) = (config(codec), Packetizer::new(codec));
        mutate(&data, 20_000, |bytes| {
            let mut out = Vec::new();
            let _ = packetizer.packetize(&unit(bytes, bytes.len() % 2 == 0), &config, 100, &mut out);
            assert!(out.iter().all(|payload| !payload.is_empty() && payload.len() <= 100));
        });
    }
}
