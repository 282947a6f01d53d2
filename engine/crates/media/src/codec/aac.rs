//! AAC AudioSpecificConfig (ISO 14496-3 section 1.6.2.1).

use super::{BitReader, CodecError};
use bytes::Bytes;

/// Samples per channel of one AAC frame at the core sample rate.
pub const FRAME_LENGTH: u32 = 1024;

const OBJECT_TYPE_LC: u8 = 2;
const OBJECT_TYPE_SBR: u8 = 5;
const OBJECT_TYPE_PS: u8 = 29;

/// samplingFrequencyIndex 0 to 12 (ISO 14496-3 table 1.18).
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Highest rate accepted when written out; more is not audio.
const MAX_SAMPLE_RATE_HZ: u32 = 192_000;

/// An AudioSpecificConfig, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Of the core: 2 is AAC-LC.
    pub object_type: u8,
    /// Of the core; what `timescale_hz` counts.
    pub sample_rate_hz: u32,
    pub channels: u8,
    /// Spectral band replication is signalled explicitly: the output has `extension_sample_rate_hz`.
    pub sbr: bool,
    pub ps: bool,
    pub extension_sample_rate_hz: Option<u32>,
    /// Samples per channel of one frame: 1024, or 960.
    pub frame_length: u32,
}

impl AudioSpecificConfig {
    pub fn parse(data: &[u8]) -> Result<AudioSpecificConfig, CodecError> {
        let mut reader = BitReader::new(data, "AudioSpecificConfig");
        let r = &mut reader;
        let signalled = object_type(r)?;
        let sample_rate_hz = sample_rate(r)?;
        let channels = channels(r.bits(4)?)?;
        let (sbr, ps) = (matches!(signalled, OBJECT_TYPE_SBR | OBJECT_TYPE_PS), signalled == OBJECT_TYPE_PS);
        let extension_sample_rate_hz = if sbr { Some(sample_rate(r)?) } else { None };
        let core = if sbr { object_type(r)? } else { signalled };
        // GASpecificConfig (4.4.1): frameLengthFlag comes first.
        let short = matches!(core, 1..=4) && r.flag()?;
        Ok(AudioSpecificConfig {
            object_type: core,
            sample_rate_hz,
            channels,
            sbr,
            ps,
            extension_sample_rate_hz,
            frame_length: if short { 960 } else { FRAME_LENGTH },
        })
    }

    /// The two bytes of an AAC-LC configuration with a standard rate; None for other rates or channels.
    pub fn lc_bytes(sample_rate_hz: u32, channels: u8) -> Option<Bytes> {
        let index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate_hz)? as u16;
        let configuration = match channels {
            1..=6 => u16::from(channels),
            8 => 7,
            _ => return None,
        };
        let value = u16::from(OBJECT_TYPE_LC) << 11 | index << 7 | configuration << 3;
        Some(Bytes::copy_from_slice(&value.to_be_bytes()))
    }

    /// `mp4a.40.x` (RFC 6381 section 3.3).
    pub fn codec_string(&self) -> String {
        let object_type = match (self.ps, self.sbr) {
            (true, _) => OBJECT_TYPE_PS,
            (_, true) => OBJECT_TYPE_SBR,
            _ => self.object_type,
        };
        format!("mp4a.40.{object_type}")
    }
}

/// RFC 6381 codec string of an AudioSpecificConfig.
pub fn codec_string(config: &[u8]) -> Result<String, CodecError> {
    AudioSpecificConfig::parse(config).map(|config| config.codec_string())
}

fn object_type(r: &mut BitReader) -> Result<u8, CodecError> {
    const ESCAPE: u32 = 31;
    match r.bits(5)? {
        0 => Err(CodecError::Unsupported { field: "audioObjectType", value: 0 }),
        ESCAPE => Ok(32 + r.bits(6)? as u8),
        kind => Ok(kind as u8),
    }
}

fn sample_rate(r: &mut BitReader) -> Result<u32, CodecError> {
    const EXPLICIT: u32 = 15;
    let index = r.bits(4)?;
    let rate = if index == EXPLICIT {
        r.bits(24)?
    } else {
        *SAMPLE_RATES
            .get(index as usize)
            .ok_or(CodecError::Unsupported { field: "samplingFrequencyIndex", value: index.into() })?
    };
    if !(1..=MAX_SAMPLE_RATE_HZ).contains(&rate) {
        return Err(CodecError::OutOfRange {
            field: "samplingFrequency",
            value: rate.into(),
            max: MAX_SAMPLE_RATE_HZ.into(),
        });
    }
    Ok(rate)
}

/// channelConfiguration (table 1.19); 0 (a program config element) is not supported.
fn channels(configuration: u32) -> Result<u8, CodecError> {
    match configuration {
        1..=6 => Ok(configuration as u8),
        7 | 12 | 14 => Ok(8),
        11 => Ok(7),
        value => Err(CodecError::Unsupported { field: "channelConfiguration", value: value.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::mutate;
    use super::*;

    #[test]
    fn reads_common_configurations() {
        // FFmpeg's aac encoder: LC, 48 kHz, stereo; and LC, 44.1 kHz, mono.
        let stereo = AudioSpecificConfig::parse(&[0x11, 0x90]).unwrap();
        assert_eq!((stereo.object_type, stereo.sample_rate_hz, stereo.channels), (2, 48_000, 2));
        assert_eq!((stereo.frame_length, stereo.sbr), (1024, false));
        assert_eq!(stereo.codec_string(), "mp4a.40.2");
        let mono = AudioSpecificConfig::parse(&[0x12, 0x08]).unwrap();
        assert_eq!((mono.sample_rate_hz, mono.channels), (44_100, 1));
        assert_eq!(AudioSpecificConfig::lc_bytes(48_000, 2).unwrap()[..], [0x11, 0x90]);
        assert_eq!(AudioSpecificConfig::lc_bytes(44_100, 1).unwrap()[..], [0x12, 0x08]);
    }

    #[test]
    fn reads_explicit_sbr_and_explicit_rates() {
        // HE-AAC: object type 5, core 24 kHz, stereo, extension 48 kHz, core LC.
        let sbr = AudioSpecificConfig::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((sbr.object_type, sbr.sample_rate_hz, sbr.sbr), (2, 24_000, true));
        assert_eq!(sbr.extension_sample_rate_hz, Some(48_000));
        assert_eq!(sbr.codec_string(), "mp4a.40.5");
        // LC, index 15 with 0 Hz.
        assert!(AudioSpecificConfig::parse(&[0x17, 0x80, 0, 0, 0x10]).is_err());
        // LC, 48 kHz, channelConfiguration 0.
        assert!(AudioSpecificConfig::parse(&[0x11, 0x80]).is_err());
    }

    #[test]
    fn damaged_input_never_panics() {
        mutate(&[0x2b, 0x11, 0x88, 0x00, 0x56, 0xe5], 20_000, |bytes| {
            if let Ok(config) = AudioSpecificConfig::parse(bytes) {
                assert!((1..=192_000).contains(&config.sample_rate_hz) && config.channels <= 8);
            }
        });
    }
}
