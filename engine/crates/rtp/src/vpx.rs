//! VP8 (RFC 7741) and VP9 (RFC 9628) payload descriptors.

use crate::packetizer::{PacketizeError, PayloadWriter, equal_piece};
use bytes::BufMut;
use tallylight_media::AccessUnit;
use tallylight_media::codec::vp9::{FrameHeader, KeyFrame};

/// What the descriptors count, per picture.
#[derive(Debug, Default)]
pub(crate) struct PictureNumbers {
    /// 15 bits.
    picture_id: u16,
    /// VP9's TL0PICIDX.
    base_layer_index: u8,
}

impl PictureNumbers {
    fn advance(&mut self) {
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.base_layer_index = self.base_layer_index.wrapping_add(1);
    }

    /// The M bit says that the id has 15 bits, in both formats.
    fn long_id(&self) -> u16 {
        0x8000 | self.picture_id
    }
}

/// Appends the payloads of one VP8 frame: extended descriptor with picture id, one partition.
pub(crate) fn packetize_vp8(unit: &AccessUnit, numbers: &mut PictureNumbers, writer: &mut PayloadWriter) {
    const DESCRIPTOR: usize = 4;
    const EXTENDED: u8 = 0x80;
    const START_OF_PARTITION: u8 = 0x10;
    const PICTURE_ID_PRESENT: u8 = 0x80;
    let piece = equal_piece(unit.data.len(), writer.max - DESCRIPTOR);
    for (index, piece) in unit.data.chunks(piece).enumerate() {
        writer.buffer.put_u8(EXTENDED | if index == 0 { START_OF_PARTITION } else { 0 });
        writer.buffer.put_u8(PICTURE_ID_PRESENT);
        writer.buffer.put_u16(numbers.long_id());
        writer.buffer.put_slice(piece);
        writer.end_payload();
    }
    numbers.advance();
}

/// Bits of the first VP9 descriptor byte (RFC 9628 section 4.2).
mod vp9_bits {
    pub const PICTURE_ID: u8 = 0x80;
    pub const INTER_PICTURE_PREDICTED: u8 = 0x40;
    pub const LAYER_INDICES: u8 = 0x20;
    pub const BEGINNING: u8 = 0x08;
    pub const END: u8 = 0x04;
    pub const SCALABILITY_STRUCTURE: u8 = 0x02;
    pub const NOT_A_REFERENCE_FOR_UPPER: u8 = 0x01;
}

/// Appends the payloads of one VP9 frame: non-flexible mode, one spatial and one temporal layer.
///
/// libwebrtc drops frames in this mode without TL0PICIDX (`rtp_vp9_ref_finder.cc`), so the layer indices
/// are always there; a keyframe carries the scalability structure with its size.
pub(crate) fn packetize_vp9(
    unit: &AccessUnit,
    numbers: &mut PictureNumbers,
    writer: &mut PayloadWriter,
) -> Result<(), PacketizeError> {
    use vp9_bits::*;
    const DESCRIPTOR: usize = 5;
    let key = FrameHeader::parse(&unit.data)?.key;
    let structure = key.map(scalability_structure);
    let structure_len = structure.map_or(0, |bytes| bytes.len());
    // The structure counts as data of the first payload, so that all payloads are equal.
    let room = equal_piece(unit.data.len() + structure_len, writer.max - DESCRIPTOR);
    let mut rest = &unit.data[..];
    let mut first = true;
    while !rest.is_empty() {
        let extra = structure.filter(|_| first);
        let size = (room - extra.map_or(0, |bytes| bytes.len())).min(rest.len());
        let (piece, after) = rest.split_at(size);
        let mut flags = PICTURE_ID | LAYER_INDICES | NOT_A_REFERENCE_FOR_UPPER;
        flags |= if key.is_none() { INTER_PICTURE_PREDICTED } else { 0 };
        flags |= if first { BEGINNING } else { 0 };
        flags |= if after.is_empty() { END } else { 0 };
        flags |= if extra.is_some() { SCALABILITY_STRUCTURE } else { 0 };
        writer.buffer.put_u8(flags);
        writer.buffer.put_u16(numbers.long_id());
        // TID, U, SID and D are 0: one layer.
        writer.buffer.put_u8(0);
        writer.buffer.put_u8(numbers.base_layer_index);
        writer.buffer.put_slice(extra.as_ref().map_or(&[], |bytes| &bytes[..]));
        writer.buffer.put_slice(piece);
        writer.end_payload();
        (rest, first) = (after, false);
    }
    numbers.advance();
    Ok(())
}

/// One layer of the picture's size; a group of one picture that refers to the one before it.
fn scalability_structure(key: KeyFrame) -> [u8; 8] {
    const SIZE_PRESENT: u8 = 0x10;
    const GROUP_PRESENT: u8 = 0x08;
    const ONE_REFERENCE: u8 = 1 << 2;
    // The parser bounds both edges to 8192.
    let ([w1, w0], [h1, h0]) = ((key.width as u16).to_be_bytes(), (key.height as u16).to_be_bytes());
    [SIZE_PRESENT | GROUP_PRESENT, w1, w0, h1, h0, 1, ONE_REFERENCE, 1]
}

#[cfg(test)]
mod tests {
    use crate::test_support::{assert_equal_sizes, config, picture_bytes, unit};
    use crate::{PacketizeError, Packetizer};
    use tallylight_media::Codec;

    // First bytes of testsrc2 320x180 through libvpx-vp9.
    const VP9_KEY: [u8; 12] = [0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36, 0x04, 0x38, 0x24];

    #[test]
    fn vp8_round_trips_for_every_length() {
        let mut packetizer = Packetizer::new(Codec::Vp8);
        for (number, len) in (1..700).enumerate() {
            let frame = picture_bytes(&[0x10, 2, 0, 0x9d, 1, 0x2a], len);
            let mut out = Vec::new();
            packetizer.packetize(&unit(&frame, true), &config(Codec::Vp8), 100, &mut out).unwrap();
            assert_equal_sizes(&out, 100);
            let mut rebuilt = Vec::new();
            for (index, payload) in out.iter().enumerate() {
                assert_eq!(payload[0], if index == 0 { 0x90 } else { 0x80 });
                assert_eq!(payload[1..4], [0x80, 0x80 | (number >> 8) as u8, number as u8]);
                rebuilt.extend_from_slice(&payload[4..]);
            }
            assert_eq!(rebuilt, frame);
        }
    }

    #[test]
    fn vp9_round_trips_with_its_structure_on_keyframes() {
        let mut packetizer = Packetizer::new(Codec::Vp9);
        for (number, len) in (12..700).enumerate() {
            let keyframe = number % 3 == 0;
            let frame = if keyframe { picture_bytes(&VP9_KEY, len) } else { picture_bytes(&[0x86], len) };
            let mut out = Vec::new();
            packetizer.packetize(&unit(&frame, keyframe), &config(Codec::Vp9), 100, &mut out).unwrap();
            assert_equal_sizes(&out, 100);
            let last = out.len() - 1;
            let mut rebuilt = Vec::new();
            for (index, payload) in out.iter().enumerate() {
                let structure = keyframe && index == 0;
                assert_eq!(payload[0] & 0xe0, if keyframe { 0xa0 } else { 0xe0 });
                assert_eq!(payload[0] & 0x08 != 0, index == 0);
                assert_eq!(payload[0] & 0x04 != 0, index == last);
                assert_eq!(payload[0] & 0x02 != 0, structure);
                assert_eq!(payload[1..5], [0x80 | (number >> 8) as u8, number as u8, 0, number as u8]);
                if structure {
                    assert_eq!(payload[5..13], [0x18, 1, 0x40, 0, 0xb4, 1, 4, 1]);
                }
                rebuilt.extend_from_slice(&payload[if structure { 13 } else { 5 }..]);
            }
            assert_eq!(rebuilt, frame);
        }
    }

    #[test]
    fn vp9_refuses_what_is_no_frame() {
        let mut out = Vec::new();
        let result = Packetizer::new(Codec::Vp9).packetize(&unit(&[0; 9], true), &config(Codec::Vp9), 100, &mut out);
        assert!(matches!(result, Err(PacketizeError::Malformed(_))));
    }
}
