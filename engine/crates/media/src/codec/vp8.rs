//! VP8 frame headers (RFC 6386 section 9.1).

use super::{CodecError, picture_size};

/// Whether the frame is a key frame; false for an empty one.
pub fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|tag| tag & 1 == 0)
}

/// Width and height in pixels of a key frame, None for an inter frame.
pub fn key_frame_size(frame: &[u8]) -> Result<Option<(u32, u32)>, CodecError> {
    if frame.is_empty() {
        return Err(CodecError::Missing { structure: "VP8 frame" });
    }
    if !is_keyframe(frame) {
        return Ok(None);
    }
    let header = frame.first_chunk::<10>().ok_or(CodecError::Truncated { structure: "VP8 key frame" })?;
    if header[3..6] != [0x9d, 0x01, 0x2a] {
        let value = u64::from(header[3]) << 16 | u64::from(header[4]) << 8 | u64::from(header[5]);
        return Err(CodecError::Unsupported { field: "VP8 start code", value });
    }
    // The upper two bits are an upscaling hint for the player.
    let edge = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]) & 0x3fff);
    picture_size(edge(header[6], header[7]), edge(header[8], header[9])).map(Some)
}

/// RFC 6381 codec string.
pub fn codec_string() -> String {
    "vp8".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{hex, mutate};
    use super::*;

    // First bytes of testsrc2 320x180 through libvpx.
    const KEY: &str = "1062009d012a4001b4000007088585";

    #[test]
    fn reads_the_key_frame_of_libvpx() {
        assert_eq!(key_frame_size(&hex(KEY)), Ok(Some((320, 180))));
        assert_eq!(key_frame_size(&[0x31, 1, 2]), Ok(None));
        assert!(key_frame_size(&hex(KEY)[..9]).is_err());
        assert!(key_frame_size(&[]).is_err());
    }

    #[test]
    fn damaged_input_never_panics() {
        mutate(&hex(KEY), 20_000, |bytes| {
            let _ = key_frame_size(bytes);
        });
    }
}
