//! VP9 uncompressed frame headers (VP9 bitstream specification section 6.2).

use super::{BitReader, CodecError, picture_size};

/// What the server needs of an uncompressed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub profile: u8,
    pub keyframe: bool,
    /// Set for key frames.
    pub key: Option<KeyFrame>,
}

/// Format of a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFrame {
    pub width: u32,
    pub height: u32,
    pub bit_depth: u8,
    pub subsampling_x: bool,
    pub subsampling_y: bool,
    pub full_range: bool,
}

impl FrameHeader {
    pub fn parse(frame: &[u8]) -> Result<FrameHeader, CodecError> {
        let mut reader = BitReader::new(frame, "VP9 frame header");
        let r = &mut reader;
        let marker = r.bits(2)?;
        if marker != 2 {
            return Err(CodecError::Unsupported { field: "frame_marker", value: marker.into() });
        }
        let profile = u8::from(r.flag()?) | u8::from(r.flag()?) << 1;
        if profile == 3 && r.flag()? {
            return Err(CodecError::Unsupported { field: "profile", value: 4 });
        }
        let show_existing_frame = r.flag()?;
        if show_existing_frame || r.flag()? {
            return Ok(FrameHeader { profile, keyframe: false, key: None });
        }
        // show_frame, error_resilient_mode
        r.skip(2)?;
        let sync = r.bits(24)?;
        if sync != 0x49_83_42 {
            return Err(CodecError::Unsupported { field: "frame_sync_code", value: sync.into() });
        }
        Ok(FrameHeader { profile, keyframe: true, key: Some(parse_key(r, profile)?) })
    }
}

/// color_config() and frame_size() of a key frame.
fn parse_key(r: &mut BitReader, profile: u8) -> Result<KeyFrame, CodecError> {
    const CS_RGB: u32 = 7;
    let bit_depth = match profile >= 2 {
        true => 10 + 2 * u8::from(r.flag()?),
        false => 8,
    };
    let odd_profile = profile & 1 == 1;
    let (mut subsampling_x, mut subsampling_y) = (!odd_profile, !odd_profile);
    let full_range;
    if r.bits(3)? == CS_RGB {
        full_range = true;
        (subsampling_x, subsampling_y) = (false, false);
        r.skip(usize::from(odd_profile))?;
    } else {
        full_range = r.flag()?;
        if odd_profile {
            (subsampling_x, subsampling_y) = (r.flag()?, r.flag()?);
            r.skip(1)?;
        }
    }
    let (width, height) = (u64::from(r.bits(16)?) + 1, u64::from(r.bits(16)?) + 1);
    let (width, height) = picture_size(width, height)?;
    Ok(KeyFrame { width, height, bit_depth, subsampling_x, subsampling_y, full_range })
}

/// Whether the frame is a key frame; false for anything unreadable.
pub fn is_keyframe(frame: &[u8]) -> bool {
    FrameHeader::parse(frame).is_ok_and(|header| header.keyframe)
}

/// Level (10 times its number) whose picture size and, at 60 pictures a second, sample rate hold a picture
/// (VP9 levels and limits, "Levels" table).
pub fn level(width: u32, height: u32) -> u8 {
    const LEVELS: [(u8, u64, u64); 14] = [
        (10, 36_864, 829_440),
        (11, 73_728, 2_764_800),
        (20, 122_880, 4_608_000),
        (21, 245_760, 9_216_000),
        (30, 552_960, 20_736_000),
        (31, 983_040, 36_864_000),
        (40, 2_228_224, 83_558_400),
        (41, 2_228_224, 160_432_128),
        (50, 8_912_896, 311_951_360),
        (51, 8_912_896, 588_251_136),
        (52, 8_912_896, 1_176_502_272),
        (60, 35_651_584, 1_176_502_272),
        (61, 35_651_584, 2_353_004_544),
        (62, 35_651_584, 4_706_009_088),
    ];
    let size = u64::from(width) * u64::from(height);
    LEVELS.iter().find(|(_, picture, rate)| size <= *picture && size * 60 <= *rate).map_or(62, |(level, ..)| *level)
}

/// `vp09.PP.LL.DD` (VP9 in ISOBMFF, codecs parameter).
pub fn codec_string(profile: u8, bit_depth: u8, width: u32, height: u32) -> String {
    format!("vp09.{profile:02}.{:02}.{bit_depth:02}", level(width, height))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{hex, mutate};
    use super::*;

    // First bytes of testsrc2 320x180 through libvpx-vp9.
    const KEY: &str = "824983420013f00b36043824 1c184a00";

    #[test]
    fn reads_the_key_frame_of_libvpx() {
        let header = FrameHeader::parse(&hex(KEY)).unwrap();
        let key = header.key.unwrap();
        assert_eq!((header.profile, key.width, key.height, key.bit_depth), (0, 320, 180, 8));
        assert!(key.subsampling_x && key.subsampling_y);
        assert!(is_keyframe(&hex(KEY)));
        // frame_type 1 is an inter frame.
        assert!(!is_keyframe(&[0x86, 0]));
        assert_eq!(codec_string(0, 8, 320, 180), "vp09.00.20.08");
        assert_eq!(codec_string(0, 8, 1920, 1080), "vp09.00.41.08");
    }

    #[test]
    fn damaged_input_never_panics() {
        mutate(&hex(KEY), 20_000, |bytes| {
            if let Ok(FrameHeader { key: Some(key), .. }) = FrameHeader::parse(bytes) {
                assert!(key.width <= 8192 && key.height <= 8192);
            }
        });
    }
}
