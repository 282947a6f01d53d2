//! One audio track: its configuration and the length of its frames.

use super::ToStreamError;
use crate::flv::AudioCodec;
use bytes::Bytes;
use tallylight_media::codec::CodecError;
use tallylight_media::codec::aac::AudioSpecificConfig;
use tallylight_media::codec::opus::{CLOCK_RATE_HZ, OpusHead, is_stereo, packet_duration};
use tallylight_media::{Codec, TrackConfig};

/// Samples at 48 kHz libopus looks ahead; its decoders drop them (RFC 7845 section 5.1, pre-skip).
const DEFAULT_PRE_SKIP: u16 = 312;
/// An AudioSpecificConfig has 2 to 64 bytes in the wild; an OpusHead at most 21 + 255.
const MAX_RECORD_BYTES: usize = 512;

#[derive(Default)]
pub(super) struct Audio {
    config: Option<TrackConfig>,
    /// Ticks of an AAC frame.
    aac_frame_ticks: u32,
}

impl Audio {
    pub(super) fn config(&self) -> Option<&TrackConfig> {
        self.config.as_ref()
    }

    /// Takes an `AudioSpecificConfig` or an `OpusHead` (E-RTMP v2, "OpusSequenceStart").
    pub(super) fn configure(&mut self, codec: AudioCodec, record: &Bytes) -> Result<(), CodecError> {
        if record.len() > MAX_RECORD_BYTES {
            let (value, max) = (record.len() as u64, MAX_RECORD_BYTES as u64);
            return Err(CodecError::OutOfRange { field: "audio configuration size", value, max });
        }
        let extradata = Bytes::copy_from_slice(record);
        match codec {
            AudioCodec::Aac => {
                let parsed = AudioSpecificConfig::parse(record)?;
                self.aac_frame_ticks = parsed.frame_length;
                self.config = Some(audio_config(Codec::Aac, parsed.sample_rate_hz, parsed.channels, extradata));
            }
            AudioCodec::Opus => {
                // Some encoders send the sequence start without its header; the first packet then says enough.
                if record.len() >= OpusHead::new(2, 0).to_bytes().len() {
                    let head = OpusHead::parse(record)?;
                    self.config = Some(audio_config(Codec::Opus, CLOCK_RATE_HZ, head.channels, extradata));
                }
            }
        }
        Ok(())
    }

    /// Length of one frame in ticks.
    pub(super) fn frame(&mut self, codec: AudioCodec, data: &[u8]) -> Result<u32, ToStreamError> {
        let configured = self.config.as_ref().map(|config| config.codec);
        match (codec, configured) {
            (AudioCodec::Aac, Some(Codec::Aac)) => Ok(self.aac_frame_ticks),
            (AudioCodec::Aac, _) => Err(ToStreamError::NoConfiguration),
            (AudioCodec::Opus, configured) => {
                let ticks = packet_duration(data).map_err(ToStreamError::Frame)?;
                if configured != Some(Codec::Opus) {
                    let head = OpusHead::new(if is_stereo(data) { 2 } else { 1 }, DEFAULT_PRE_SKIP);
                    self.config = Some(audio_config(Codec::Opus, CLOCK_RATE_HZ, head.channels, head.to_bytes()));
                }
                Ok(ticks)
            }
        }
    }
}

fn audio_config(codec: Codec, sample_rate_hz: u32, channels: u8, extradata: Bytes) -> TrackConfig {
    TrackConfig {
        codec,
        timescale_hz: sample_rate_hz,
        extradata,
        width: 0,
        height: 0,
        sample_rate_hz,
        channels,
        has_b_frames: false,
    }
}
