//! One `moof` + `mdat`: samples of each track for one span of the timeline.

use crate::TIMESCALE_HZ;
use crate::lane::Sample;
use bytes::{Bytes, BytesMut};
use mp4_atom::{Encode, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};
use std::time::Instant;

/// `sample_depends_on = 2`: a sync sample (ISO/IEC 14496-12 section 8.8.3.1).
const SYNC_SAMPLE: u32 = 0x0200_0000;
/// `sample_depends_on = 1` and `sample_is_non_sync_sample`.
const DEPENDENT_SAMPLE: u32 = 0x0101_0000;

#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("the movie fragment cannot be written: {0}")]
    Write(mp4_atom::Error),
    #[error("{bytes} bytes do not fit into one fragment")]
    TooLarge { bytes: usize },
}

/// One `moof` + `mdat`, the smallest thing that travels to players and into recordings.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub bytes: Bytes,
    /// Of the publication the media comes from.
    pub epoch: u64,
    /// Start on the muxer's timeline, in [`TIMESCALE_HZ`] ticks. Each chunk starts where the last ended.
    pub start_ticks: u64,
    /// Span on the timeline, in [`TIMESCALE_HZ`] ticks. Samples at its edges may reach past it by less
    /// than one picture or audio frame.
    pub duration_ticks: u64,
    /// Starts with a keyframe (always true without a video track): a player can begin here.
    pub independent: bool,
    /// Earliest presentation time in the chunk, in [`TIMESCALE_HZ`] ticks of the muxer's timeline.
    pub first_pts_ticks: i64,
    /// Access units of the publisher (silence put in by the muxer is not one) and their bytes, without boxes.
    pub access_units: u64,
    pub media_bytes: u64,
    pub keyframes: u64,
    /// The publisher's own pts of the last of them, in ticks of its track.
    pub last_source_pts: Option<i64>,
    /// When the first of its access units reached this server.
    pub arrived_at: Instant,
}

impl Chunk {
    pub fn duration_s(&self) -> f64 {
        self.duration_ticks as f64 / f64::from(TIMESCALE_HZ)
    }
}

/// The samples of one track in a chunk; never empty.
pub(crate) struct Run {
    pub track_id: u32,
    pub video: bool,
    pub samples: Vec<Sample>,
}

/// Writes `moof` + `mdat` with one `traf` per run.
pub(crate) fn write_fragment(sequence: u32, runs: &[Run]) -> Result<Bytes, ChunkError> {
    let payload: usize = runs.iter().flat_map(|run| &run.samples).map(|sample| sample.data.len()).sum();
    let payload_box = u32::try_from(payload + 8)
        .ok()
        .filter(|size| *size <= i32::MAX as u32 / 2)
        .ok_or(ChunkError::TooLarge { bytes: payload })?;
    let mut moof = Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: runs.iter().map(track_fragment).collect::<Result<_, _>>()?,
    };
    // Encoded twice: data offsets count from the start of the moof, whose size is only known afterwards.
    let mut out = BytesMut::with_capacity(
        payload + 128 + 64 * runs.len() + 16 * runs.iter().map(|r| r.samples.len()).sum::<usize>(),
    );
    moof.encode(&mut out).map_err(ChunkError::Write)?;
    let mut offset = out.len() + 8;
    for (traf, run) in moof.traf.iter_mut().zip(runs) {
        for trun in &mut traf.trun {
            trun.data_offset = i32::try_from(offset).ok();
        }
        offset += run.samples.iter().map(|sample| sample.data.len()).sum::<usize>();
    }
    out.clear();
    moof.encode(&mut out).map_err(ChunkError::Write)?;
    out.extend_from_slice(&payload_box.to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in runs.iter().flat_map(|run| &run.samples) {
        out.extend_from_slice(&sample.data);
    }
    Ok(out.freeze())
}

fn track_fragment(run: &Run) -> Result<Traf, ChunkError> {
    let too_large = |bytes| ChunkError::TooLarge { bytes };
    let first_dts = run.samples.first().map_or(0, |sample| sample.dts);
    let mut entries = Vec::with_capacity(run.samples.len());
    for (index, sample) in run.samples.iter().enumerate() {
        // A hole before the next sample belongs to this one, so that its time stays exact.
        let duration = match run.samples.get(index + 1) {
            Some(next) => u32::try_from(next.dts - sample.dts).unwrap_or(sample.duration),
            None => sample.duration,
        };
        entries.push(TrunEntry {
            duration: Some(duration),
            size: Some(u32::try_from(sample.data.len()).map_err(|_| too_large(sample.data.len()))?),
            flags: run.video.then_some(if sample.keyframe { SYNC_SAMPLE } else { DEPENDENT_SAMPLE }),
            // Version 1 of the box: negative offsets are allowed, so no edit list is needed.
            cts: run.video.then_some((sample.pts - sample.dts).clamp(i64::from(i32::MIN), i64::from(i32::MAX))),
        });
    }
    Ok(Traf {
        tfhd: Tfhd {
            track_id: run.track_id,
            default_base_is_moof: true,
            default_sample_flags: (!run.video).then_some(SYNC_SAMPLE),
            ..Default::default()
        },
        tfdt: Some(Tfdt { base_media_decode_time: u64::try_from(first_dts).unwrap_or(0) }),
        trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
        ..Default::default()
    })
}
