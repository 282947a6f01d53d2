use super::super::test_support::{hex, mutate};
use super::*;

// testsrc2 through libx264 of FFmpeg 5.1: -profile:v high (B-frames), 1280x720, 30 fps.
const SPS_HIGH_720P: &str = "6764001facd9405005bb01100000030010000003 03c0f1831960";
const PPS_HIGH: &str = "68ebe3cb22c0";
// -tune zerolatency -profile:v baseline, 640x360, 30 fps.
const SPS_BASELINE_360P: &str = "6742c01ed900a02ff9701100000300010000030 03c8f162e48";
// 1920x1080: coded as 1088 lines and cropped.
const SPS_HIGH_1080P: &str = "67640028acd940780227e5c0440000030004000003 00f03c60c658";

fn config() -> AvcConfig {
    AvcConfig::from_parameter_sets(&[hex(SPS_HIGH_720P).into()], &[hex(PPS_HIGH).into()]).unwrap()
}

#[test]
fn reads_the_parameter_sets_of_x264() {
    let high = parse_sps(&hex(SPS_HIGH_720P)).unwrap();
    assert_eq!((high.profile_idc, high.level_idc), (100, 31));
    assert_eq!((high.width, high.height), (1280, 720));
    assert_eq!(high.max_num_reorder_frames, Some(2));
    assert_eq!(high.reorders(), Some(true));
    assert_eq!(high.frame_rate, Some(30.0));
    let baseline = parse_sps(&hex(SPS_BASELINE_360P)).unwrap();
    assert_eq!((baseline.width, baseline.height), (640, 360));
    assert_eq!((baseline.profile_idc, baseline.constraint_flags), (66, 0xc0));
    assert_eq!(baseline.reorders(), Some(false));
    let cropped = parse_sps(&hex(SPS_HIGH_1080P)).unwrap();
    assert_eq!((cropped.width, cropped.height), (1920, 1080));
}

#[test]
fn reordering_without_vui_is_settled_only_where_the_specification_settles_it() {
    let mut info = parse_sps(&hex(SPS_HIGH_720P)).unwrap();
    info.max_num_reorder_frames = None;
    assert_eq!(info.reorders(), None);
    info.pic_order_cnt_type = 2;
    assert_eq!(info.reorders(), Some(false));
}

#[test]
fn avcc_round_trips_with_chroma_fields() {
    let record = config().to_bytes();
    assert_eq!(&record[..6], &[1, 0x64, 0, 0x1f, 0xff, 0xe1]);
    assert_eq!(&record[record.len() - 4..], &[0xfd, 0xf8, 0xf8, 0]);
    assert_eq!(AvcConfig::parse(&record).unwrap(), config());
    assert_eq!(codec_string(&record).unwrap(), "avc1.64001f");
}

#[test]
fn impossible_sizes_and_counts_are_refused() {
    // Baseline, then all Exp-Golomb fields one short of 2^31: the picture would be 2^35 pixels wide.
    let mut bomb = vec![0x67, 66, 0, 30];
    bomb.extend([0b1111_1000, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 0xc0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(parse_sps(&bomb).is_err());
    assert_eq!(AvcConfig::from_parameter_sets(&[], &[]), Err(CodecError::Missing { structure: "SPS" }));
    assert!(AvcConfig::parse(&[1, 100, 0, 31, 0xff, 0xe0, 0]).is_err());
}

#[test]
fn slice_types_are_read() {
    // first_mb_in_slice 0, slice_type 7 (I), 5 (P), 6 (B), each as ue(v).
    assert_eq!(slice_type(&[0x65, 0b1000_1000, 0x80]), Some(SliceType::I));
    assert_eq!(slice_type(&[0x41, 0b1001_1000, 0x80]), Some(SliceType::P));
    assert_eq!(slice_type(&[0x01, 0b1001_1100, 0x80]), Some(SliceType::B));
    assert_eq!(slice_type(&[0x67, 0x88]), None);
    assert_eq!(slice_type(&[0x65]), None);
}

#[test]
fn a_picture_is_sorted_out_of_its_access_unit() {
    let (sps, pps) = (hex(SPS_HIGH_720P), hex(PPS_HIGH));
    let idr = [0x65, 0x88, 0x80, 1];
    let found = picture([&[9u8, 0x10][..], &sps, &pps, &[6, 5], &idr, &[12, 0xff]]);
    assert_eq!((found.sps.len(), found.pps.len(), found.keyframe), (1, 1, true));
    assert_eq!(found.data, length_prefixed([&[6u8, 5][..], &idr]));
    assert!(is_keyframe(&found.data));
    assert!(picture([&sps[..], &pps]).data.is_empty());
}

#[test]
fn damaged_input_never_panics() {
    for seed in [SPS_HIGH_720P, SPS_BASELINE_360P, SPS_HIGH_1080P] {
        mutate(&hex(seed), 20_000, |bytes| {
            if let Ok(info) = parse_sps(bytes) {
                assert!(info.width <= 8192 && info.height <= 8192);
            }
        });
    }
    mutate(&config().to_bytes(), 20_000, |bytes| {
        if let Ok(config) = AvcConfig::parse(bytes) {
            let _ = config.codec_string();
            config.to_bytes();
        }
    });
    mutate(&[0x65, 0x88, 0x80, 0, 0, 3, 1], 20_000, |bytes| {
        slice_type(bytes);
        picture(nals(bytes).filter_map(Result::ok));
        picture(split_annexb(bytes));
    });
}
