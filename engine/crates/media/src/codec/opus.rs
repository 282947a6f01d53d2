//! Opus headers: `OpusHead` (RFC 7845 section 5.1) and packet durations (RFC 6716 section 3.1).

use super::CodecError;
use bytes::{BufMut, Bytes, BytesMut};

/// Opus always counts time at this rate (RFC 7587 section 4.1).
pub const CLOCK_RATE_HZ: u32 = 48_000;
/// No packet is longer than 120 ms (RFC 6716 section 3.2.5, R5).
const MAX_PACKET_TICKS: u32 = 5760;

/// The identification header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusHead {
    pub channels: u8,
    /// Samples at 48 kHz a decoder drops at the start.
    pub pre_skip: u16,
    /// Of the original; information only.
    pub input_sample_rate_hz: u32,
    /// Q7.8 in dB.
    pub output_gain: i16,
    /// 0: mono or stereo.
    pub mapping_family: u8,
}

impl OpusHead {
    /// Mono or stereo at 48 kHz.
    pub fn new(channels: u8, pre_skip: u16) -> OpusHead {
        OpusHead { channels, pre_skip, input_sample_rate_hz: CLOCK_RATE_HZ, output_gain: 0, mapping_family: 0 }
    }

    pub fn parse(data: &[u8]) -> Result<OpusHead, CodecError> {
        let head = data.first_chunk::<19>().ok_or(CodecError::Truncated { structure: "OpusHead" })?;
        if &head[..8] != b"OpusHead" {
            return Err(CodecError::Missing { structure: "OpusHead magic" });
        }
        // Versions with the same upper half are compatible (RFC 7845 5.1, item 2).
        if head[8] & 0xf0 != 0 {
            return Err(CodecError::Unsupported { field: "OpusHead version", value: head[8].into() });
        }
        let (channels, mapping_family) = (head[9], head[18]);
        let max = if mapping_family == 0 { 2 } else { u8::MAX };
        if channels == 0 || channels > max {
            return Err(CodecError::OutOfRange { field: "OpusHead channels", value: channels.into(), max: max.into() });
        }
        Ok(OpusHead {
            channels,
            pre_skip: u16::from_le_bytes([head[10], head[11]]),
            input_sample_rate_hz: u32::from_le_bytes([head[12], head[13], head[14], head[15]]),
            output_gain: i16::from_le_bytes([head[16], head[17]]),
            mapping_family,
        })
    }

    /// Writes the 19 bytes of mapping family 0.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(19);
        out.put_slice(b"OpusHead");
        out.put_slice(&[1, self.channels]);
        out.put_u16_le(self.pre_skip);
        out.put_u32_le(self.input_sample_rate_hz);
        out.put_i16_le(self.output_gain);
        out.put_u8(0);
        out.freeze()
    }
}

/// Duration of a packet in 48 kHz ticks, from its first one or two bytes.
pub fn packet_duration(packet: &[u8]) -> Result<u32, CodecError> {
    const STRUCTURE: &str = "Opus packet";
    let toc = *packet.first().ok_or(CodecError::Missing { structure: STRUCTURE })?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).ok_or(CodecError::Truncated { structure: STRUCTURE })? & 0x3f),
    };
    let ticks = frames * frame_ticks(toc >> 3);
    if ticks == 0 || ticks > MAX_PACKET_TICKS {
        return Err(CodecError::OutOfRange {
            field: "Opus packet duration",
            value: ticks.into(),
            max: MAX_PACKET_TICKS.into(),
        });
    }
    Ok(ticks)
}

/// Frame size of a configuration number (RFC 6716 table 2).
fn frame_ticks(configuration: u8) -> u32 {
    match configuration {
        0..=11 => [480, 960, 1920, 2880][usize::from(configuration % 4)],
        12..=15 => [480, 960][usize::from(configuration % 2)],
        _ => [120, 240, 480, 960][usize::from(configuration % 4)],
    }
}

/// Whether the packet says stereo.
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 4 != 0)
}

/// RFC 6381 codec string.
pub fn codec_string() -> String {
    "opus".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::mutate;
    use super::*;

    #[test]
    fn head_round_trips() {
        let head = OpusHead::new(2, 312);
        assert_eq!(head.to_bytes().len(), 19);
        assert_eq!(OpusHead::parse(&head.to_bytes()), Ok(head));
        assert!(OpusHead::parse(&OpusHead::new(3, 0).to_bytes()).is_err());
    }

    #[test]
    fn durations_follow_the_toc() {
        // 0xfc: CELT fullband 20 ms, stereo, one frame: what libopus and browsers send.
        assert_eq!(packet_duration(&[0xfc, 0xff]), Ok(960));
        assert!(is_stereo(&[0xfc]));
        // Configuration 28 (2.5 ms), two frames; configuration 11 (SILK 60 ms), code 3 with 2 frames.
        assert_eq!(packet_duration(&[28 << 3 | 1]), Ok(240));
        assert_eq!(packet_duration(&[11 << 3 | 3, 2]), Ok(5760));
        assert!(packet_duration(&[11 << 3 | 3, 3]).is_err());
        assert!(packet_duration(&[0xff, 0]).is_err());
        assert!(packet_duration(&[0xff]).is_err());
        assert!(packet_duration(&[]).is_err());
    }

    #[test]
    fn damaged_input_never_panics() {
        mutate(&OpusHead::new(2, 312).to_bytes(), 20_000, |bytes| {
            let _ = OpusHead::parse(bytes);
            let _ = packet_duration(bytes);
        });
    }
}
