//! One video track: its configuration, and frames in the form of `tallylight_media::AccessUnit`.

use super::ToStreamError;
use crate::flv::VideoCodec;
use bytes::Bytes;
use tallylight_media::codec::CodecError;
use tallylight_media::codec::av1::{Av1Config, temporal_unit};
use tallylight_media::codec::h264::{self, AvcConfig};
use tallylight_media::codec::h265::{self, HevcConfig};
use tallylight_media::codec::nal::nals_with_length_size;
use tallylight_media::codec::vp9::FrameHeader;
use tallylight_media::{Codec, TrackConfig};

pub(super) const TIMESCALE_HZ: u32 = 90_000;
/// Pictures to look at when the SPS does not say whether they are reordered: I P B B shows it.
const REORDERING_PROBE_FRAMES: u32 = 4;

/// What the encoder's own structures say; the source of [`TrackConfig`].
enum Source {
    Avc(AvcConfig),
    Hevc(HevcConfig),
    Av1,
    Vp9,
}

/// Whether pictures come out of display order.
enum Reordering {
    Settled(bool),
    /// Decided by what is seen.
    Watching {
        frames: u32,
        highest_pts_ms: i64,
    },
}

pub(super) struct Picture {
    pub data: Bytes,
    pub keyframe: bool,
}

pub(super) struct Video {
    source: Option<Source>,
    config: Option<TrackConfig>,
    reordering: Reordering,
}

impl Default for Video {
    fn default() -> Video {
        Video { source: None, config: None, reordering: Reordering::Settled(false) }
    }
}

impl Video {
    pub(super) fn config(&self) -> Option<&TrackConfig> {
        self.config.as_ref()
    }

    /// The configuration is known and will not change by merely looking at more pictures.
    pub(super) fn settled(&self) -> bool {
        let watching =
            matches!(self.reordering, Reordering::Watching { frames, .. } if frames < REORDERING_PROBE_FRAMES);
        self.config.is_some() && !watching
    }

    /// Takes a decoder configuration record.
    pub(super) fn configure(&mut self, codec: VideoCodec, record: &[u8]) -> Result<(), CodecError> {
        match codec {
            VideoCodec::Avc => self.set_avc(AvcConfig::parse(record)?),
            VideoCodec::Hevc => self.set_hevc(HevcConfig::parse(record)?),
            VideoCodec::Av1 => {
                self.source = Some(Source::Av1);
                match Av1Config::parse(record) {
                    Ok(config) => self.set_av1(&config),
                    // The first keyframe brings it, then.
                    Err(CodecError::Missing { .. } | CodecError::Truncated { .. }) => self.config = None,
                    Err(error) => return Err(error),
                }
                Ok(())
            }
            VideoCodec::Vp9 => {
                // vpcC: the size and all else is in the keyframes.
                if !matches!(self.source, Some(Source::Vp9)) {
                    self.source = Some(Source::Vp9);
                    self.config = None;
                }
                Ok(())
            }
        }
    }

    /// Brings one frame into the stream's form; None when there is no picture in it.
    pub(super) fn frame(
        &mut self,
        codec: VideoCodec,
        keyframe: bool,
        data: &Bytes,
    ) -> Result<Option<Picture>, ToStreamError> {
        match (codec, &self.source) {
            (VideoCodec::Avc, Some(Source::Avc(_))) => self.avc_frame(keyframe, data),
            (VideoCodec::Hevc, Some(Source::Hevc(_))) => self.hevc_frame(keyframe, data),
            // These two need no configuration record.
            (VideoCodec::Av1, Some(Source::Av1) | None) => self.av1_frame(data),
            (VideoCodec::Vp9, Some(Source::Vp9) | None) => self.vp9_frame(data),
            _ => Err(ToStreamError::NoConfiguration),
        }
    }

    /// Looks at the time of one picture in decoding order.
    pub(super) fn watch_order(&mut self, pts_ms: i64) {
        let Reordering::Watching { frames, highest_pts_ms } = &mut self.reordering else { return };
        *frames += 1;
        if pts_ms < *highest_pts_ms {
            self.found_reordering();
        } else {
            *highest_pts_ms = pts_ms;
        }
    }

    fn watch_anew(&mut self) {
        self.reordering = Reordering::Watching { frames: 0, highest_pts_ms: i64::MIN };
    }

    fn found_reordering(&mut self) {
        self.reordering = Reordering::Settled(true);
        if let Some(config) = &mut self.config {
            config.has_b_frames = true;
        }
    }

    fn set_avc(&mut self, config: AvcConfig) -> Result<(), CodecError> {
        let info = config.sps_info()?;
        let normal = AvcConfig { nal_length_size: 4, ..config.clone() };
        let unchanged = matches!(&self.source, Some(Source::Avc(old)) if old.sps == config.sps);
        match info.reorders() {
            Some(reorders) => self.reordering = Reordering::Settled(reorders),
            // The same SPS again: what was seen so far stays true.
            None if unchanged => {}
            None => self.watch_anew(),
        }
        // Without a PPS nothing can be decoded yet; it may come with the first keyframe.
        self.config = (!config.pps.is_empty()).then(|| TrackConfig {
            has_b_frames: matches!(self.reordering, Reordering::Settled(true)),
            ..video_config(Codec::H264, normal.to_bytes(), info.width, info.height)
        });
        self.source = Some(Source::Avc(config));
        Ok(())
    }

    fn set_hevc(&mut self, config: HevcConfig) -> Result<(), CodecError> {
        let info = config.sps_info()?;
        let normal = HevcConfig { nal_length_size: 4, ..config.clone() };
        self.reordering = Reordering::Settled(info.reorders());
        self.config = (!config.pps.is_empty() && !config.vps.is_empty()).then(|| TrackConfig {
            has_b_frames: info.reorders(),
            ..video_config(Codec::H265, normal.to_bytes(), info.width, info.height)
        });
        self.source = Some(Source::Hevc(config));
        Ok(())
    }

    fn set_av1(&mut self, config: &Av1Config) {
        let header = config.sequence_header;
        self.reordering = Reordering::Settled(false);
        self.config = Some(video_config(Codec::Av1, config.to_bytes(), header.width, header.height));
    }

    fn avc_frame(&mut self, keyframe: bool, data: &Bytes) -> Result<Option<Picture>, ToStreamError> {
        let Some(Source::Avc(config)) = &self.source else { return Err(ToStreamError::NoConfiguration) };
        let nals: Vec<&[u8]> = nals_with_length_size(data, config.nal_length_size.into())
            .collect::<Result<_, _>>()
            .map_err(ToStreamError::Frame)?;
        let found = h264::picture(nals);
        let (sps, pps) = (new_sets(&config.sps, found.sps), new_sets(&config.pps, found.pps));
        if sps.is_some() || pps.is_some() {
            let mut changed = config.clone();
            changed.sps = sps.unwrap_or(changed.sps);
            changed.pps = pps.unwrap_or(changed.pps);
            if !changed.pps.is_empty() {
                let rebuilt =
                    AvcConfig::from_parameter_sets(&changed.sps, &changed.pps).map_err(ToStreamError::Configuration)?;
                changed = AvcConfig { nal_length_size: changed.nal_length_size, ..rebuilt };
            }
            self.set_avc(changed).map_err(ToStreamError::Configuration)?;
        }
        if found.has_b_slice && matches!(self.reordering, Reordering::Watching { .. }) {
            self.found_reordering();
        }
        Ok(picture(found.data, keyframe || found.keyframe))
    }

    fn hevc_frame(&mut self, keyframe: bool, data: &Bytes) -> Result<Option<Picture>, ToStreamError> {
        let Some(Source::Hevc(config)) = &self.source else { return Err(ToStreamError::NoConfiguration) };
        let nals: Vec<&[u8]> = nals_with_length_size(data, config.nal_length_size.into())
            .collect::<Result<_, _>>()
            .map_err(ToStreamError::Frame)?;
        let found = h265::picture(nals);
        let sets =
            (new_sets(&config.vps, found.vps), new_sets(&config.sps, found.sps), new_sets(&config.pps, found.pps));
        if sets.0.is_some() || sets.1.is_some() || sets.2.is_some() {
            let vps = sets.0.unwrap_or_else(|| config.vps.clone());
            let sps = sets.1.unwrap_or_else(|| config.sps.clone());
            let pps = sets.2.unwrap_or_else(|| config.pps.clone());
            let nal_length_size = config.nal_length_size;
            let rebuilt = HevcConfig::from_parameter_sets(&vps, &sps, &pps).map_err(ToStreamError::Configuration)?;
            self.set_hevc(HevcConfig { nal_length_size, ..rebuilt }).map_err(ToStreamError::Configuration)?;
        }
        Ok(picture(found.data, keyframe || found.keyframe))
    }

    fn av1_frame(&mut self, data: &[u8]) -> Result<Option<Picture>, ToStreamError> {
        let unit = temporal_unit(data).map_err(ToStreamError::Frame)?;
        if let Some(config) = &unit.config {
            self.source = Some(Source::Av1);
            self.set_av1(config);
        }
        Ok(picture(unit.data, unit.keyframe))
    }

    fn vp9_frame(&mut self, data: &Bytes) -> Result<Option<Picture>, ToStreamError> {
        let header = FrameHeader::parse(data).map_err(ToStreamError::Frame)?;
        if let Some(key) = header.key {
            self.source = Some(Source::Vp9);
            self.reordering = Reordering::Settled(false);
            self.config = Some(video_config(Codec::Vp9, Bytes::new(), key.width, key.height));
        }
        Ok(picture(data.clone(), header.keyframe))
    }
}

fn picture(data: Bytes, keyframe: bool) -> Option<Picture> {
    (!data.is_empty()).then_some(Picture { data, keyframe })
}

fn video_config(codec: Codec, extradata: Bytes, width: u32, height: u32) -> TrackConfig {
    TrackConfig {
        codec,
        timescale_hz: TIMESCALE_HZ,
        extradata,
        width,
        height,
        sample_rate_hz: 0,
        channels: 0,
        has_b_frames: false,
    }
}

/// The parameter sets found in a frame, if they are news. Encoders repeat the known ones at every keyframe,
/// some more than once.
fn new_sets(known: &[Bytes], found: Vec<Bytes>) -> Option<Vec<Bytes>> {
    if found.iter().all(|set| known.contains(set)) {
        return None;
    }
    let mut unique: Vec<Bytes> = Vec::new();
    for set in found {
        if !unique.contains(&set) {
            unique.push(set);
        }
    }
    Some(unique)
}
