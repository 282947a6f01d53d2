//! AAC-LC frames to samples.

use super::TranscodeError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use symphonia_codec_aac::AacDecoder;
use symphonia_core::audio::{AudioBufferRef, Channels, Signal};
use symphonia_core::codecs::{CODEC_TYPE_AAC, CodecParameters, Decoder, DecoderOptions};
use symphonia_core::formats::Packet;
use tallylight_media::codec::aac::{AudioSpecificConfig, FRAME_LENGTH};

/// A decoder of one track, mono or stereo.
pub struct Aac {
    decoder: AacDecoder,
    sample_rate_hz: u32,
    channels: u8,
}

impl Aac {
    /// For HE-AAC the core is decoded: it sounds dull, but it sounds.
    pub fn new(config: &AudioSpecificConfig) -> Result<Aac, TranscodeError> {
        const LOW_COMPLEXITY: u8 = 2;
        if config.object_type != LOW_COMPLEXITY || config.frame_length != FRAME_LENGTH {
            return Err(TranscodeError::Unsupported { codec_string: config.codec_string() });
        }
        if !(1..=2).contains(&config.channels) {
            return Err(TranscodeError::Channels { channels: config.channels });
        }
        let (sample_rate_hz, channels) = (config.sample_rate_hz, config.channels);
        Ok(Aac { decoder: open(sample_rate_hz, channels)?, sample_rate_hz, channels })
    }

    pub fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Forgets the overlap with the frame before: the next frame follows a gap.
    pub fn reset(&mut self) {
        self.decoder.reset();
    }

    /// Decodes one frame into `planes`, one per channel, each of [`FRAME_LENGTH`] samples.
    ///
    /// The bytes come from a stranger and the decoder is not ours: a panic inside it costs this frame
    /// and the decoder's memory of the one before, nothing else.
    pub fn decode(&mut self, frame: &[u8], planes: &mut [Vec<f32>]) -> Result<(), TranscodeError> {
        let packet = Packet::new_from_slice(0, 0, FRAME_LENGTH.into(), frame);
        let decoder = &mut self.decoder;
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<(), TranscodeError> {
            let AudioBufferRef::F32(samples) = decoder.decode(&packet)? else {
                return Err(TranscodeError::SampleFormat);
            };
            for (index, plane) in planes.iter_mut().enumerate() {
                plane.clear();
                plane.extend(samples.chan(index).iter().map(|sample| finite(*sample)));
                plane.resize(FRAME_LENGTH as usize, 0.0);
            }
            Ok(())
        }));
        match outcome {
            Ok(result) => result,
            Err(_) => {
                self.decoder = open(self.sample_rate_hz, self.channels)?;
                Err(TranscodeError::DecoderPanicked)
            }
        }
    }
}

/// Damaged frames decode to infinities, which would stay in every filter after the decoder.
fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-2.0, 2.0) } else { 0.0 }
}

fn open(sample_rate_hz: u32, channels: u8) -> Result<AacDecoder, TranscodeError> {
    let layout = if channels == 1 { Channels::FRONT_LEFT } else { Channels::FRONT_LEFT | Channels::FRONT_RIGHT };
    let mut parameters = CodecParameters::new();
    parameters.for_codec(CODEC_TYPE_AAC).with_sample_rate(sample_rate_hz).with_channels(layout);
    Ok(AacDecoder::try_new(&parameters, &DecoderOptions::default())?)
}
