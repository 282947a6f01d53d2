//! The init segment: `ftyp` + `moov` for one set of tracks.

use crate::TIMESCALE_HZ;
use crate::sample_entry::sample_entry;
use bytes::Bytes;
use mp4_atom::{
    Dinf, Dref, DrefEntry, Encode, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mvex, Mvhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex,
    Url,
};
use std::sync::Arc;
use tallylight_media::codec::CodecError;
use tallylight_media::{Kind, Track, TrackSet};

/// Why a set of tracks cannot be put into MP4.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("the {codec} configuration record cannot be read: {source}")]
    Configuration { codec: &'static str, source: mp4_atom::Error },
    #[error("the {codec} configuration cannot be read: {source}")]
    AudioConfiguration { codec: &'static str, source: CodecError },
    #[error("a picture of {width}x{height} does not fit into MP4")]
    PictureTooLarge { width: u32, height: u32 },
    #[error("there are no tracks")]
    NoTracks,
    #[error("the init segment cannot be written: {0}")]
    Write(mp4_atom::Error),
}

/// What a player needs before the first chunk of these tracks.
#[derive(Debug, Clone)]
pub struct InitSegment {
    pub bytes: Bytes,
    pub tracks: Arc<TrackSet>,
}

impl InitSegment {
    pub fn new(tracks: Arc<TrackSet>) -> Result<InitSegment, InitError> {
        if tracks.tracks.is_empty() {
            return Err(InitError::NoTracks);
        }
        let mut out = Vec::with_capacity(1024);
        file_type().encode(&mut out).map_err(InitError::Write)?;
        movie(&tracks)?.encode(&mut out).map_err(InitError::Write)?;
        Ok(InitSegment { bytes: out.into(), tracks })
    }
}

fn file_type() -> Ftyp {
    Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        // cmfc: CMAF (ISO/IEC 23000-19 section 7.2).
        compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into()],
    }
}

fn movie(set: &TrackSet) -> Result<Moov, InitError> {
    let highest = set.tracks.iter().map(|track| track.id.0).max().unwrap_or(0);
    Ok(Moov {
        mvhd: Mvhd {
            timescale: TIMESCALE_HZ,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: u32::from(highest) + 1,
            ..Default::default()
        },
        mvex: Some(Mvex { mehd: None, trex: set.tracks.iter().map(|track| track_defaults(track)).collect() }),
        trak: set.tracks.iter().map(|track| track_box(track)).collect::<Result<_, _>>()?,
        ..Default::default()
    })
}

fn track_defaults(track: &Track) -> Trex {
    Trex { track_id: u32::from(track.id.0), default_sample_description_index: 1, ..Default::default() }
}

fn track_box(track: &Track) -> Result<Trak, InitError> {
    let config = &track.config;
    let video = track.kind() == Kind::Video;
    let entry = sample_entry(config)?;
    // sample_entry has checked that both sides fit 16 bits.
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX).into();
    Ok(Trak {
        tkhd: Tkhd {
            track_id: u32::from(track.id.0),
            enabled: true,
            in_movie: true,
            width: side(config.width),
            height: side(config.height),
            volume: if video { 0.into() } else { 1.into() },
            ..Default::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale: config.timescale_hz, language: "und".into(), ..Default::default() },
            hdlr: Hdlr {
                handler: if video { b"vide".into() } else { b"soun".into() },
                name: if video { "Video".into() } else { "Audio".into() },
            },
            minf: Minf {
                vmhd: video.then(Default::default),
                smhd: (!video).then(Default::default),
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url { location: String::new() })] } },
                stbl: Stbl { stsd: Stsd { codecs: vec![entry] }, stco: Some(Stco::default()), ..Default::default() },
                ..Default::default()
            },
        },
        ..Default::default()
    })
}
