//! One track's packetizer: the payload format of its codec over fragments of equal size.

use crate::{av1, nal, vpx};
use bytes::{Bytes, BytesMut};
use tallylight_media::codec::CodecError;
use tallylight_media::{AccessUnit, Codec, TrackConfig};

/// Below this no payload format works sensibly: AV1 and FU headers, and VP9's scalability structure, take up
/// to 14 bytes, and an access unit of 16 MiB would become too many packets.
pub const MIN_PAYLOAD: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    #[error("{} has no RTP payload format here", .0.name())]
    CodecWithoutRtp(Codec),
    #[error("an access unit without data")]
    Empty,
    #[error("a packet of {size} bytes cannot be split and is larger than {max}")]
    TooLarge { size: usize, max: usize },
    #[error("payloads of {0} bytes are too small (the least is {MIN_PAYLOAD})")]
    MaxPayloadTooSmall(usize),
    #[error("not the codec's bits: {0}")]
    Malformed(#[from] CodecError),
}

/// Turns the access units of one track into RTP payloads.
///
/// It keeps the numbers some payload formats count (VP8 and VP9 picture ids). They go on over changes of
/// the configuration, so keep the packetizer as long as the codec stays: a receiver takes a picture id that
/// jumps back for an old picture.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    parameter_sets: nal::ParameterSets,
    picture_numbers: vpx::PictureNumbers,
}

impl Packetizer {
    pub fn new(codec: Codec) -> Packetizer {
        Packetizer {
            codec,
            parameter_sets: nal::ParameterSets::default(),
            picture_numbers: vpx::PictureNumbers::default(),
        }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the payloads of one access unit to `out`, each at most `max_payload` bytes. On an error `out`
    /// is as it was.
    ///
    /// For video the last payload of the unit carries the RTP marker; Opus has no marker (RFC 7587 4.1:
    /// only after silence). The fragments of one picture are equal in size, the last may be smaller. A
    /// keyframe brings the decoder configuration of `config` along where the codec keeps it out of band.
    pub fn packetize(
        &mut self,
        unit: &AccessUnit,
        config: &TrackConfig,
        max_payload: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<(), PacketizeError> {
        if unit.data.is_empty() {
            return Err(PacketizeError::Empty);
        }
        if max_payload < MIN_PAYLOAD {
            return Err(PacketizeError::MaxPayloadTooSmall(max_payload));
        }
        let mut writer = PayloadWriter::new(unit.data.len(), max_payload);
        match self.codec {
            Codec::H264 | Codec::H265 => nal::packetize(unit, config, &mut self.parameter_sets, &mut writer)?,
            Codec::Av1 => av1::packetize(unit, config, &mut writer)?,
            Codec::Vp8 => vpx::packetize_vp8(unit, &mut self.picture_numbers, &mut writer),
            Codec::Vp9 => vpx::packetize_vp9(unit, &mut self.picture_numbers, &mut writer)?,
            // RFC 7587 4.2: one Opus packet is one payload.
            Codec::Opus if unit.data.len() <= max_payload => {
                out.push(unit.data.clone());
                return Ok(());
            }
            Codec::Opus => return Err(PacketizeError::TooLarge { size: unit.data.len(), max: max_payload }),
            Codec::Aac => return Err(PacketizeError::CodecWithoutRtp(Codec::Aac)),
        }
        writer.finish(out);
        Ok(())
    }
}

/// Payloads under construction: one allocation for a whole access unit, cut into slices at the end.
pub(crate) struct PayloadWriter {
    pub buffer: BytesMut,
    pub max: usize,
    /// Where each payload ends.
    ends: Vec<usize>,
}

impl PayloadWriter {
    fn new(unit_len: usize, max: usize) -> PayloadWriter {
        // Descriptors take at most 14 bytes a payload; one more payload for parameter sets.
        let payloads = unit_len / max + 2;
        PayloadWriter {
            buffer: BytesMut::with_capacity(unit_len + payloads * 16 + 256),
            max,
            ends: Vec::with_capacity(payloads),
        }
    }

    /// Ends the current payload.
    pub fn end_payload(&mut self) {
        debug_assert!(self.buffer.len() - self.ends.last().copied().unwrap_or(0) <= self.max);
        self.ends.push(self.buffer.len());
    }

    fn finish(self, out: &mut Vec<Bytes>) {
        let all = self.buffer.freeze();
        let mut start = 0;
        for end in self.ends {
            out.push(all.slice(start..end));
            start = end;
        }
    }
}

/// Cuts `len` bytes into the fewest pieces of at most `max` bytes, equal in size but for a smaller last one
/// (performance notes, technique 3: equal datagrams form one GSO train). Returns the size of a piece.
pub(crate) fn equal_piece(len: usize, max: usize) -> usize {
    let pieces = len.div_ceil(max).max(1);
    len.div_ceil(pieces).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{config, unit};

    #[test]
    fn pieces_are_few_and_equal() {
        assert_eq!(equal_piece(2401, 1200), 801);
        assert_eq!(equal_piece(2400, 1200), 1200);
        assert_eq!(equal_piece(1, 1200), 1);
        for len in 1..5000 {
            let piece = equal_piece(len, 100);
            assert!(piece <= 100 && len.div_ceil(piece) == len.div_ceil(100), "{len}");
        }
    }

    #[test]
    fn opus_goes_out_as_it_is() {
        let mut packetizer = Packetizer::new(Codec::Opus);
        let mut out = Vec::new();
        packetizer.packetize(&unit(&[0xfc, 1, 2], true), &config(Codec::Opus), 1188, &mut out).unwrap();
        assert_eq!(out, [Bytes::from_static(&[0xfc, 1, 2])]);
        let large = unit(&[0xfc; 1300], true);
        let refused = packetizer.packetize(&large, &config(Codec::Opus), 1188, &mut out);
        assert_eq!(refused, Err(PacketizeError::TooLarge { size: 1300, max: 1188 }));
    }

    #[test]
    fn refusals_leave_the_output_alone() {
        let mut out = Vec::new();
        let config = config(Codec::Aac);
        let aac = Packetizer::new(Codec::Aac).packetize(&unit(&[1], true), &config, 1188, &mut out);
        assert_eq!(aac, Err(PacketizeError::CodecWithoutRtp(Codec::Aac)));
        let empty = Packetizer::new(Codec::Vp8).packetize(&unit(&[], true), &config, 1188, &mut out);
        assert_eq!(empty, Err(PacketizeError::Empty));
        let small = Packetizer::new(Codec::Vp8).packetize(&unit(&[1], true), &config, 63, &mut out);
        assert_eq!(small, Err(PacketizeError::MaxPayloadTooSmall(63)));
        let half = unit(&[0, 0, 0, 9, 0x65], true);
        assert!(Packetizer::new(Codec::H264).packetize(&half, &config, 1188, &mut out).is_err());
        assert!(out.is_empty());
    }
}
