//! AAC frames to Opus packets on the same timeline.
//!
//! Opus packets last 20 ms and carry the time of what a decoder will play from them: the encoder's look-ahead
//! is taken off. The timeline follows the sample count; the frames' own times,
//! which jitter by a millisecond over RTMP, only correct it when they are [`TOLERANCE`] apart.

use super::aac::Aac;
use super::resample::To48kHz;
use bytes::Bytes;
use opus::{Application, Bitrate, Channels, Encoder, Signal};
use tallylight_media::TrackConfig;
use tallylight_media::codec::CodecError;
use tallylight_media::codec::aac::{AudioSpecificConfig, FRAME_LENGTH};
use tallylight_media::codec::opus::CLOCK_RATE_HZ;

/// Samples per channel of one packet: 20 ms, what browsers send themselves.
pub const PACKET_SAMPLES: usize = 960;
/// Transparent for music in stereo; mono gets half.
const BITRATE_BPS: i32 = 128_000;
/// Three times the nominal size, and well inside one datagram.
const MAX_PACKET_BYTES: usize = 1000;
/// Sample count and timestamps may differ by this many 48 kHz ticks (20 ms): above every rounding and the
/// jitter of encoders, half of what eyes and ears forgive (EBU R 37: sound at most 40 ms early).
const TOLERANCE: i64 = 960;
/// A step back further than this (1 s) is a new timeline, not frames that come too densely.
const NEW_TIMELINE: i64 = 48_000;

#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    #[error("the AAC configuration cannot be read: {0}")]
    Configuration(#[from] CodecError),
    #[error("audio with {channels} channels cannot be made Opus here; mono and stereo can")]
    Channels { channels: u8 },
    #[error("{codec_string} cannot be decoded here; AAC-LC (mp4a.40.2) can")]
    Unsupported { codec_string: String },
    #[error("AAC decoder: {0}")]
    Decoder(#[from] symphonia_core::errors::Error),
    #[error("the AAC decoder panicked")]
    DecoderPanicked,
    #[error("the AAC decoder gave an unexpected sample format")]
    SampleFormat,
    #[error("resampler: {0}")]
    Resampler(#[from] rubato::ResampleError),
    #[error("resampler: {0}")]
    ResamplerConstruction(#[from] rubato::ResamplerConstructionError),
    #[error("Opus encoder: {0}")]
    Encoder(#[from] opus::Error),
}

/// One Opus packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusPacket {
    /// In 48 kHz ticks on the stream's timeline; only grows, by 960 where there is no gap.
    pub pts: i64,
    pub data: Bytes,
}

/// Where the samples since the last (re-)anchoring belong.
struct Anchor {
    /// Time of the first sample, in 48 kHz ticks.
    start: i64,
    /// Samples per channel that came in, at the AAC's rate.
    samples_in: i64,
    /// Samples per channel that left in packets, at 48 kHz.
    samples_out: i64,
}

/// One AAC track on its way to Opus.
pub struct Transcoder {
    aac: Aac,
    resampler: Option<To48kHz>,
    encoder: Encoder,
    /// Ticks a second of the AAC track's times.
    timescale_hz: i64,
    anchor: Option<Anchor>,
    /// One per channel, [`FRAME_LENGTH`] samples each.
    planes: Vec<Vec<f32>>,
    /// Interleaved samples at 48 kHz that do not fill a packet yet.
    pending: Vec<f32>,
    /// Look-ahead of the encoder: its packets play this many 48 kHz ticks late.
    delay: i64,
    last_pts: i64,
}

impl Transcoder {
    pub fn new(config: &TrackConfig) -> Result<Transcoder, TranscodeError> {
        let aac = Aac::new(&AudioSpecificConfig::parse(&config.extradata)?)?;
        let resampler = To48kHz::new(aac.sample_rate_hz(), aac.channels())?;
        let mut encoder = new_encoder(aac.channels())?;
        let delay = i64::from(encoder.get_lookahead()?);
        Ok(Transcoder {
            planes: vec![vec![0.0; FRAME_LENGTH as usize]; aac.channels().into()],
            aac,
            resampler,
            encoder,
            timescale_hz: i64::from(config.timescale_hz.max(1)),
            anchor: None,
            pending: Vec::new(),
            delay,
            last_pts: i64::MIN,
        })
    }

    /// Takes one AAC frame with its time and appends the packets that are complete.
    ///
    /// On a decoding error the frame counts as silence, so that what follows stays in time.
    pub fn push(&mut self, pts: i64, frame: &[u8], out: &mut Vec<OpusPacket>) -> Result<(), TranscodeError> {
        let start = rescale(pts, self.timescale_hz);
        if !self.follow(start, out)? {
            return Ok(());
        }
        let decoded = self.aac.decode(frame, &mut self.planes);
        if decoded.is_err() {
            self.planes.iter_mut().for_each(|plane| plane.fill(0.0));
        }
        self.queue_samples()?;
        if let Some(anchor) = &mut self.anchor {
            anchor.samples_in += i64::from(FRAME_LENGTH);
        }
        let packet = PACKET_SAMPLES * self.planes.len();
        let mut queued = std::mem::take(&mut self.pending);
        let whole = queued.len() - queued.len() % packet;
        for samples in queued[..whole].chunks(packet) {
            self.encode(samples, out)?;
        }
        queued.drain(..whole);
        self.pending = queued;
        decoded
    }

    /// Compares a frame's time with the sample count; false when the frame must be dropped because its
    /// time is taken already.
    fn follow(&mut self, start: i64, out: &mut Vec<OpusPacket>) -> Result<bool, TranscodeError> {
        let Some(anchor) = &self.anchor else {
            self.anchor_at(start);
            return Ok(true);
        };
        let expected = anchor.start + rescale(anchor.samples_in, self.aac.sample_rate_hz().into());
        let ahead = start - expected;
        if ahead.abs() <= TOLERANCE {
            return Ok(true);
        }
        if (-NEW_TIMELINE..0).contains(&ahead) {
            return Ok(false);
        }
        if ahead > 0 && !self.pending.is_empty() {
            let mut samples = std::mem::take(&mut self.pending);
            samples.resize(PACKET_SAMPLES * self.planes.len(), 0.0);
            self.encode(&samples, out)?;
        }
        self.aac.reset();
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.anchor_at(start);
        Ok(true)
    }

    fn anchor_at(&mut self, start: i64) {
        self.pending.clear();
        self.anchor = Some(Anchor { start, samples_in: 0, samples_out: 0 });
    }

    /// Moves the decoded planes to `pending`, at 48 kHz and interleaved.
    fn queue_samples(&mut self) -> Result<(), TranscodeError> {
        let (planes, count) = match &mut self.resampler {
            Some(resampler) => resampler.process(&self.planes)?,
            None => (&self.planes[..], FRAME_LENGTH as usize),
        };
        self.pending.reserve(count * planes.len());
        for index in 0..count {
            self.pending.extend(planes.iter().map(|plane| plane[index]));
        }
        Ok(())
    }

    fn encode(&mut self, samples: &[f32], out: &mut Vec<OpusPacket>) -> Result<(), TranscodeError> {
        let mut buffer = [0; MAX_PACKET_BYTES];
        let length = self.encoder.encode_float(samples, &mut buffer)?;
        let Some(anchor) = &mut self.anchor else { return Ok(()) };
        let pts = anchor.start + anchor.samples_out - self.delay;
        anchor.samples_out += PACKET_SAMPLES as i64;
        // After a step back in the frames' times the count goes on from where it was.
        let pts = pts.max(self.last_pts.saturating_add(PACKET_SAMPLES as i64));
        self.last_pts = pts;
        out.push(OpusPacket { pts, data: Bytes::copy_from_slice(&buffer[..length]) });
        Ok(())
    }
}

fn new_encoder(channels: u8) -> Result<Encoder, TranscodeError> {
    let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
    let mut encoder = Encoder::new(CLOCK_RATE_HZ, layout, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE_BPS / 2 * i32::from(channels)))?;
    encoder.set_signal(Signal::Music)?;
    Ok(encoder)
}

/// A time or count at `rate_hz` in 48 kHz ticks, rounded to the nearest.
fn rescale(value: i64, rate_hz: i64) -> i64 {
    let scaled = i128::from(value) * i128::from(CLOCK_RATE_HZ);
    let half = i128::from(rate_hz) / 2;
    let rounded = (scaled + half).div_euclid(i128::from(rate_hz));
    // Times beyond half of i64 (millions of years) are nonsense from outside; keep arithmetic safe.
    rounded.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
