use super::*;
use crate::test_support::{H264_PPS, H264_SPS, H265_PPS, H265_SPS, H265_VPS, hex, mutate};

fn annexb(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

#[test]
fn h264_starts_at_its_first_keyframe_and_repeats_are_no_change() {
    let mut assembler = Assembler::new(Codec::H264);
    let (sps, pps, idr, p) = (hex(H264_SPS), hex(H264_PPS), [0x65u8, 0x88, 1], [0x41u8, 0x9a, 1]);
    assert_eq!(assembler.push(&annexb(&[&p])), Ok(None));
    assert_eq!(assembler.push(&annexb(&[&sps, &pps])), Ok(None));
    let first = assembler.push(&annexb(&[&idr])).unwrap().unwrap();
    assert!(first.keyframe && first.config_changed);
    assert_eq!(first.data, h264::length_prefixed([&idr[..]]));
    let config = assembler.config().unwrap();
    assert_eq!((config.width, config.height, config.has_b_frames), (1280, 720, true));
    for frame in [annexb(&[&p]), annexb(&[&sps, &pps, &idr])] {
        assert!(!assembler.push(&frame).unwrap().unwrap().config_changed);
    }
    let mut other = sps.clone();
    other[3] = 40;
    assert!(assembler.push(&annexb(&[&other, &pps, &idr])).unwrap().unwrap().config_changed);
}

#[test]
fn a_b_slice_settles_reordering_once() {
    let mut assembler = Assembler::new(Codec::H264);
    // Main profile without VUI, 64x48.
    let sps = [0x4d, 0x40, 0x1e, 0b1111_0110, 0b0101_0000, 0b1101_1000];
    let sps = [&[0x67][..], &sps].concat();
    assert_eq!(h264::parse_sps(&sps).unwrap().reorders(), None);
    let (pps, idr, b) = (hex(H264_PPS), [0x65u8, 0x88, 1], [0x01u8, 0b1001_1100, 0x80]);
    assembler.push(&annexb(&[&sps, &pps, &idr])).unwrap().unwrap();
    assert!(!assembler.config().unwrap().has_b_frames);
    assert!(assembler.push(&annexb(&[&b])).unwrap().unwrap().config_changed);
    assert!(assembler.config().unwrap().has_b_frames);
    for frame in [annexb(&[&b]), annexb(&[&sps, &pps, &idr])] {
        assert!(!assembler.push(&frame).unwrap().unwrap().config_changed);
    }
}

#[test]
fn h265_needs_all_three_sets() {
    let mut assembler = Assembler::new(Codec::H265);
    let (vps, sps, pps, idr) = (hex(H265_VPS), hex(H265_SPS), hex(H265_PPS), [0x26u8, 1, 0xaf]);
    assert_eq!(assembler.push(&annexb(&[&sps, &pps, &idr])), Ok(None));
    let first = assembler.push(&annexb(&[&vps, &idr])).unwrap().unwrap();
    assert!(first.keyframe && first.config_changed);
    let config = assembler.config().unwrap();
    assert_eq!((config.width, config.height, config.has_b_frames), (320, 180, false));
}

#[test]
fn vp8_vp9_and_av1_take_their_size_from_the_keyframe() {
    let frames = [
        (Codec::Vp8, "1062009d012a4001b40000", "31000000"),
        (Codec::Vp9, "824983420013f00b3604", "8600"),
        (Codec::Av1, "0a0b000000043cfeccfff98040 320310 00a3", "320330 00a3"),
    ];
    for (codec, key, inter) in frames {
        let mut assembler = Assembler::new(codec);
        assert_eq!(assembler.push(&hex(inter)), Ok(None), "{codec:?}");
        let first = assembler.push(&hex(key)).unwrap().unwrap();
        assert!(first.keyframe && first.config_changed);
        let config = assembler.config().unwrap();
        assert_eq!((config.width, config.height), (320, 180), "{codec:?}");
        let second = assembler.push(&hex(inter)).unwrap().unwrap();
        assert!(!second.keyframe && !second.config_changed);
        assert!(!assembler.push(&hex(key)).unwrap().unwrap().config_changed);
    }
}

#[test]
fn opus_is_announced_with_its_first_packet() {
    let mut assembler = Assembler::new(Codec::Opus);
    let first = assembler.push(&[0xfc, 1, 2]).unwrap().unwrap();
    assert!(first.config_changed && first.keyframe);
    assert!(!assembler.push(&[0xf8, 1]).unwrap().unwrap().config_changed);
    assert!(assembler.push(&[0xff]).is_err());
}

#[test]
fn refusals_are_named() {
    assert_eq!(Assembler::new(Codec::Aac).push(&[1]), Err(AssembleError::CodecWithoutRtp(Codec::Aac)));
    let large = vec![0; MAX_FRAME_BYTES + 1];
    assert_eq!(Assembler::new(Codec::Vp8).push(&large), Err(AssembleError::TooLarge { size: MAX_FRAME_BYTES + 1 }));
}

#[test]
fn damaged_frames_never_panic() {
    let (sps, pps) = (hex(H264_SPS), hex(H264_PPS));
    let h264 = annexb(&[&sps, &pps, &[0x65, 0x88, 1]]);
    let h265 = annexb(&[&hex(H265_VPS), &hex(H265_SPS), &hex(H265_PPS), &[0x26, 1, 0xaf]]);
    let seeds = [
        (Codec::H264, h264),
        (Codec::H265, h265),
        (Codec::Vp8, hex("1062009d012a4001b40000")),
        (Codec::Vp9, hex("824983420013f00b3604")),
        (Codec::Av1, hex("0a0b000000043cfeccfff98040 32031000a3")),
        (Codec::Opus, hex("fc0102")),
    ];
    for (codec, seed) in seeds {
        let mut assembler = Assembler::new(codec);
        mutate(&seed, 10_000, |bytes| {
            let _ = assembler.push(bytes);
        });
    }
}
