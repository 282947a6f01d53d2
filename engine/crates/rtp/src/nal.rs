//! H.264 (RFC 6184, packetization-mode 1) and H.265 (RFC 7798): aggregation of small NAL units, fragmentation
//! of large ones.

use crate::packetizer::{PacketizeError, PayloadWriter, equal_piece};
use bytes::{BufMut, Bytes};
use tallylight_media::codec::h264::{self, AvcConfig};
use tallylight_media::codec::h265::{self, HevcConfig};
use tallylight_media::codec::{CodecError, nal};
use tallylight_media::{AccessUnit, Codec, TrackConfig};

/// The parameter sets of the current configuration, read once.
#[derive(Debug, Default)]
pub(crate) struct ParameterSets {
    extradata: Bytes,
    nals: Vec<Bytes>,
}

impl ParameterSets {
    fn update(&mut self, format: Format, extradata: &Bytes) -> Result<(), CodecError> {
        if *extradata == self.extradata {
            return Ok(());
        }
        self.nals = match format {
            Format::H264 => {
                let config = AvcConfig::parse(extradata)?;
                [config.sps, config.pps].concat()
            }
            Format::H265 => {
                let config = HevcConfig::parse(extradata)?;
                [config.vps, config.sps, config.pps].concat()
            }
        };
        self.extradata = extradata.clone();
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    H264,
    H265,
}

impl Format {
    fn header_len(self) -> usize {
        match self {
            Format::H264 => 1,
            Format::H265 => 2,
        }
    }
}

/// Appends the payloads of one picture, its parameter sets first when it is a keyframe.
pub(crate) fn packetize(
    unit: &AccessUnit,
    config: &TrackConfig,
    sets: &mut ParameterSets,
    writer: &mut PayloadWriter,
) -> Result<(), PacketizeError> {
    let format = if config.codec == Codec::H265 { Format::H265 } else { Format::H264 };
    let mut group = Group { format, nals: Vec::new(), size: 0 };
    if unit.keyframe {
        sets.update(format, &config.extradata)?;
        for set in &sets.nals {
            group.add(set, writer);
        }
    }
    for nal in nal::nals(&unit.data) {
        group.add(nal?, writer);
    }
    group.flush(writer);
    if writer.buffer.is_empty() { Err(PacketizeError::Empty) } else { Ok(()) }
}

/// Consecutive small NAL units that will share one payload.
struct Group<'a> {
    format: Format,
    nals: Vec<&'a [u8]>,
    /// Bytes of the aggregation payload: its header, and a 16-bit length before each unit.
    size: usize,
}

impl<'a> Group<'a> {
    fn add(&mut self, nal: &'a [u8], writer: &mut PayloadWriter) {
        if nal.len() < self.format.header_len() {
            return;
        }
        let header = self.format.header_len();
        if self.size + 2 + nal.len() > writer.max {
            self.flush(writer);
        }
        if header + 2 + nal.len() > writer.max {
            match self.format {
                Format::H264 => put_h264(nal, writer),
                Format::H265 => put_h265(nal, writer),
            }
            return;
        }
        self.size += 2 + nal.len() + if self.nals.is_empty() { header } else { 0 };
        self.nals.push(nal);
    }

    fn flush(&mut self, writer: &mut PayloadWriter) {
        match self.nals[..] {
            [] => return,
            [only] => writer.buffer.put_slice(only),
            _ => {
                self.put_aggregation_header(writer);
                for nal in &self.nals {
                    // Below the maximal payload, so it fits 16 bits.
                    writer.buffer.put_u16(nal.len() as u16);
                    writer.buffer.put_slice(nal);
                }
            }
        }
        writer.end_payload();
        self.nals.clear();
        self.size = 0;
    }

    fn put_aggregation_header(&self, writer: &mut PayloadWriter) {
        match self.format {
            Format::H264 => {
                // RFC 6184 5.7.1: F is the OR, NRI the maximum of all.
                let forbidden = self.nals.iter().fold(0, |bits, nal| bits | nal[0] & 0x80);
                let importance = self.nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
                const STAP_A: u8 = 24;
                writer.buffer.put_u8(forbidden | importance | STAP_A);
            }
            Format::H265 => {
                // RFC 7798 4.4.2: F is the OR, layer and temporal id are the lowest of all.
                const AP: u8 = 48;
                let forbidden = self.nals.iter().fold(0, |bits, nal| bits | nal[0] & 0x80);
                let layer = |nal: &&[u8]| (nal[0] & 1) << 5 | nal[1] >> 3;
                let lowest = self.nals.iter().map(layer).min().unwrap_or(0);
                let temporal = self.nals.iter().map(|nal| nal[1] & 7).min().unwrap_or(1);
                writer.buffer.put_u8(forbidden | AP << 1 | lowest >> 5);
                writer.buffer.put_u8(lowest << 3 | temporal);
            }
        }
    }
}

/// FU header bits, the same in both formats (RFC 6184 5.8, RFC 7798 4.4.3).
const START: u8 = 0x80;
const END: u8 = 0x40;

/// One H.264 NAL unit alone: as it is, or in FU-A fragments.
fn put_h264(nal: &[u8], writer: &mut PayloadWriter) {
    const FU_A: u8 = 28;
    if nal.len() <= writer.max {
        writer.buffer.put_slice(nal);
        return writer.end_payload();
    }
    let indicator = nal[0] & 0xe0 | FU_A;
    put_fragments(&nal[1..], &[indicator], h264::nal_type(nal), writer);
}

/// One H.265 NAL unit alone: as it is, or in FU fragments.
fn put_h265(nal: &[u8], writer: &mut PayloadWriter) {
    const FU: u8 = 49;
    if nal.len() <= writer.max {
        writer.buffer.put_slice(nal);
        return writer.end_payload();
    }
    let header = [nal[0] & 0x81 | FU << 1, nal[1]];
    put_fragments(&nal[2..], &header, h265::nal_type(nal), writer);
}

fn put_fragments(body: &[u8], header: &[u8], nal_type: u8, writer: &mut PayloadWriter) {
    let pieces = body.chunks(equal_piece(body.len(), writer.max - header.len() - 1));
    let last = pieces.len() - 1;
    for (index, piece) in pieces.enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index == last { END } else { 0 };
        writer.buffer.put_slice(header);
        writer.buffer.put_u8(start | end | nal_type);
        writer.buffer.put_slice(piece);
        writer.end_payload();
    }
}

#[cfg(test)]
#[path = "nal_tests.rs"]
mod tests;
