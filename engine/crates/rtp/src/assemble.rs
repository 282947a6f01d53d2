//! Whole received frames into the stream's own form: the ingest side of WebRTC.
//!
//! A depacketizer hands over the bytes of one frame (H.264 and H.265 as Annex B, AV1 as OBUs, VP8, VP9 and
//! Opus bare). [`Assembler::push`] answers with the access unit's data, and the track's configuration is
//! there from the first frame a decoder can start with.

use bytes::Bytes;
use tallylight_media::codec::{CodecError, av1, h264, h265, nal, opus, vp8, vp9};
use tallylight_media::{Codec, TrackConfig};

/// Largest frame accepted: ten times the largest keyframe seen in practice (4K at 80 Mb/s), and it fits the
/// stream's queues.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Parameter sets of one kind kept; encoders use one or two.
const MAX_PARAMETER_SETS: usize = 16;
/// The RTP clock of every video payload format.
const VIDEO_CLOCK_HZ: u32 = 90_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    #[error("a frame of {size} bytes, more than {MAX_FRAME_BYTES}")]
    TooLarge { size: usize },
    #[error("{} does not come over WebRTC", .0.name())]
    CodecWithoutRtp(Codec),
    #[error("not the codec's bits: {0}")]
    Malformed(#[from] CodecError),
}

/// One access unit's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// As `AccessUnit::data` wants it.
    pub data: Bytes,
    pub keyframe: bool,
    /// [`Assembler::config`] is new or differs from before: announce the track again before this unit.
    pub config_changed: bool,
}

/// Per-track state: the configuration seen so far.
#[derive(Debug)]
pub struct Assembler {
    codec: Codec,
    config: Option<TrackConfig>,
    vps: Vec<Bytes>,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

impl Assembler {
    pub fn new(codec: Codec) -> Assembler {
        Assembler { codec, config: None, vps: vec![], sps: vec![], pps: vec![] }
    }

    /// What is known of the track; None until the first keyframe (audio: until the first packet).
    pub fn config(&self) -> Option<&TrackConfig> {
        self.config.as_ref()
    }

    /// Takes one frame. Ok(None) when it holds nothing to forward: parameter sets alone, or a picture
    /// before the first keyframe.
    pub fn push(&mut self, frame: &[u8]) -> Result<Option<Assembled>, AssembleError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(AssembleError::TooLarge { size: frame.len() });
        }
        if frame.is_empty() {
            return Ok(None);
        }
        let (data, keyframe, config) = match self.codec {
            Codec::H264 => self.h264(frame)?,
            Codec::H265 => self.h265(frame)?,
            Codec::Av1 => av1_frame(frame)?,
            Codec::Vp8 => vp8_frame(frame)?,
            Codec::Vp9 => vp9_frame(frame)?,
            Codec::Opus => opus_frame(frame)?,
            Codec::Aac => return Err(AssembleError::CodecWithoutRtp(Codec::Aac)),
        };
        let config_changed = config.is_some() && config != self.config;
        if config_changed {
            self.config = config;
        }
        if data.is_empty() || self.config.is_none() {
            return Ok(None);
        }
        Ok(Some(Assembled { data, keyframe, config_changed }))
    }

    fn h264(&mut self, frame: &[u8]) -> Result<Parts, CodecError> {
        let picture = h264::picture(nal::split_annexb(frame));
        replace_sets(&mut self.sps, picture.sps);
        replace_sets(&mut self.pps, picture.pps);
        // A B slice settles what an SPS without VUI leaves open.
        let known = self.config.as_ref().filter(|_| !picture.keyframe);
        if let Some(known) = known {
            let now_reorders = picture.has_b_slice && !known.has_b_frames && !self.sps_forbids_reordering();
            let config = now_reorders.then(|| TrackConfig { has_b_frames: true, ..known.clone() });
            return Ok((picture.data, false, config));
        }
        if !picture.keyframe || self.sps.is_empty() || self.pps.is_empty() {
            return Ok((picture.data, picture.keyframe, None));
        }
        let record = h264::AvcConfig::from_parameter_sets(&self.sps, &self.pps)?;
        let info = record.sps_info()?;
        let extradata = record.to_bytes();
        let seen = self.config.as_ref().is_some_and(|old| old.has_b_frames && old.extradata == extradata);
        let config = video(Codec::H264, extradata, (info.width, info.height), seen || info.reorders() == Some(true));
        Ok((picture.data, true, Some(config)))
    }

    fn sps_forbids_reordering(&self) -> bool {
        self.sps.first().and_then(|sps| h264::parse_sps(sps).ok()).and_then(|info| info.reorders()) == Some(false)
    }

    fn h265(&mut self, frame: &[u8]) -> Result<Parts, CodecError> {
        let picture = h265::picture(nal::split_annexb(frame));
        replace_sets(&mut self.vps, picture.vps);
        replace_sets(&mut self.sps, picture.sps);
        replace_sets(&mut self.pps, picture.pps);
        if !picture.keyframe || self.vps.is_empty() || self.sps.is_empty() || self.pps.is_empty() {
            return Ok((picture.data, picture.keyframe, None));
        }
        let record = h265::HevcConfig::from_parameter_sets(&self.vps, &self.sps, &self.pps)?;
        let info = record.sps_info()?;
        let config = video(Codec::H265, record.to_bytes(), (info.width, info.height), info.reorders());
        Ok((picture.data, true, Some(config)))
    }
}

/// Data, whether a decoder can start here, and the configuration if the frame tells it.
type Parts = (Bytes, bool, Option<TrackConfig>);

fn replace_sets(known: &mut Vec<Bytes>, mut found: Vec<Bytes>) {
    if !found.is_empty() {
        found.truncate(MAX_PARAMETER_SETS);
        *known = found;
    }
}

fn av1_frame(frame: &[u8]) -> Result<Parts, CodecError> {
    let unit = av1::temporal_unit(frame)?;
    let config = unit.config.filter(|_| unit.keyframe).map(|config| {
        let header = config.sequence_header;
        video(Codec::Av1, config.to_bytes(), (header.width, header.height), false)
    });
    Ok((unit.data, unit.keyframe, config))
}

fn vp8_frame(frame: &[u8]) -> Result<Parts, CodecError> {
    let size = vp8::key_frame_size(frame)?;
    let config = size.map(|size| video(Codec::Vp8, Bytes::new(), size, false));
    Ok((Bytes::copy_from_slice(frame), size.is_some(), config))
}

fn vp9_frame(frame: &[u8]) -> Result<Parts, CodecError> {
    let key = vp9::FrameHeader::parse(frame)?.key;
    let config = key.map(|key| video(Codec::Vp9, Bytes::new(), (key.width, key.height), false));
    Ok((Bytes::copy_from_slice(frame), key.is_some(), config))
}

/// RTP always announces stereo (RFC 7587 section 7), and decoders follow each packet's own channel count.
/// The sender's delay is already in its timestamps: no pre-skip.
fn opus_frame(frame: &[u8]) -> Result<Parts, CodecError> {
    opus::packet_duration(frame)?;
    const CHANNELS: u8 = 2;
    let config = TrackConfig {
        codec: Codec::Opus,
        timescale_hz: opus::CLOCK_RATE_HZ,
        extradata: opus::OpusHead::new(CHANNELS, 0).to_bytes(),
        width: 0,
        height: 0,
        sample_rate_hz: opus::CLOCK_RATE_HZ,
        channels: CHANNELS,
        has_b_frames: false,
    };
    Ok((Bytes::copy_from_slice(frame), true, Some(config)))
}

fn video(codec: Codec, extradata: Bytes, (width, height): (u32, u32), has_b_frames: bool) -> TrackConfig {
    TrackConfig {
        codec,
        timescale_hz: VIDEO_CLOCK_HZ,
        extradata,
        width,
        height,
        sample_rate_hz: 0,
        channels: 0,
        has_b_frames,
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
