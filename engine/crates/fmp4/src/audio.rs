//! What the muxer must know of audio codecs: frame length and a frame of silence.

use bytes::Bytes;
use tallylight_media::codec::aac::AudioSpecificConfig;
use tallylight_media::codec::opus;
use tallylight_media::{Codec, TrackConfig};

/// The object type of AAC-LC (ISO/IEC 14496-3 table 1.17).
const AAC_LC: u8 = 2;

/// Length of one audio frame in ticks of its track, or None when only its successor can tell.
pub(crate) fn frame_ticks(config: &TrackConfig, frame: &[u8]) -> Option<u32> {
    let (samples, rate_hz) = match config.codec {
        Codec::Aac => {
            let parsed = AudioSpecificConfig::parse(&config.extradata).ok()?;
            (parsed.frame_length, parsed.sample_rate_hz)
        }
        Codec::Opus => (opus::packet_duration(frame).ok()?, opus::CLOCK_RATE_HZ),
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => return None,
    };
    let ticks = (u64::from(samples) * u64::from(config.timescale_hz)).checked_div(u64::from(rate_hz))?;
    u32::try_from(ticks).ok().filter(|ticks| *ticks > 0)
}

/// A frame of silence and its ticks, to fill a hole in the audio: without it players stop at the hole
/// although the picture goes on. Known for AAC-LC and Opus, one or two channels.
pub(crate) fn silence(config: &TrackConfig) -> Option<(Bytes, u32)> {
    let frame: &'static [u8] = match config.codec {
        Codec::Aac => {
            let parsed = AudioSpecificConfig::parse(&config.extradata).ok()?;
            match (parsed.object_type, parsed.channels) {
                // One single_channel_element or channel_pair_element without spectral data, then ID_END.
                (AAC_LC, 1) => &[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80],
                (AAC_LC, 2) => &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80],
                _ => return None,
            }
        }
        // 20 ms of CELT silence; a packet's stereo bit may differ from its neighbours'.
        Codec::Opus if config.channels <= 2 => &[0xf8, 0xff, 0xfe],
        _ => return None,
    };
    Some((Bytes::from_static(frame), frame_ticks(config, frame)?))
}
