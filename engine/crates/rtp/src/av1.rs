//! AV1 (RTP Payload Format for AV1, v1.0): OBUs without size fields behind an aggregation header.

use crate::packetizer::{PacketizeError, PayloadWriter, equal_piece};
use bytes::BufMut;
use tallylight_media::codec::av1::{self, Obu};
use tallylight_media::{AccessUnit, TrackConfig};

/// Bits of the aggregation header (section 4.4). W, the number of elements, sits at bit 4.
const CONTINUES_PREVIOUS: u8 = 0x80;
const CONTINUED_IN_NEXT: u8 = 0x40;
const NEW_SEQUENCE: u8 = 0x08;
/// With W set (at most 3) the last element needs no length, so a payload can be filled to the byte.
const MAX_ELEMENTS: usize = 3;
/// The av1C body before its configOBUs (AV1-ISOBMFF section 2.3.3).
const CONFIG_HEADER: usize = 4;

/// Appends the payloads of one temporal unit, its sequence header first when it is a keyframe.
pub(crate) fn packetize(
    unit: &AccessUnit,
    config: &TrackConfig,
    writer: &mut PayloadWriter,
) -> Result<(), PacketizeError> {
    let mut obus = Vec::new();
    for obu in av1::obus(&unit.data) {
        let obu = obu?;
        // Section 5: these are not sent.
        if !matches!(obu.obu_type, av1::OBU_TEMPORAL_DELIMITER | av1::OBU_TILE_LIST | av1::OBU_PADDING) {
            obus.push(obu);
        }
    }
    if unit.keyframe && !obus.iter().any(|obu| obu.obu_type == av1::OBU_SEQUENCE_HEADER) {
        let known = av1::find_sequence_header(config.extradata.get(CONFIG_HEADER..).unwrap_or_default());
        obus.splice(..0, known);
    }
    if obus.is_empty() {
        return Err(PacketizeError::Empty);
    }
    // Every OBU costs its bytes and at most a 4-byte length; 1 byte of header in each payload.
    let total: usize = obus.iter().map(|obu| obu.len_without_size() + av1::leb128_len(obu.len_without_size())).sum();
    let room = equal_piece(total, writer.max - 1);
    let mut cursor = Cursor { obus: &obus, index: 0, offset: 0 };
    let mut first = true;
    while let Some(payload) = cursor.next_payload(room) {
        let new_sequence = if first && unit.keyframe { NEW_SEQUENCE } else { 0 };
        writer.buffer.put_u8(payload.header(&obus) | new_sequence);
        payload.put(&obus, writer);
        writer.end_payload();
        first = false;
    }
    Ok(())
}

/// A part of one OBU, in bytes of its form without a size field.
#[derive(Debug, Clone, Copy, Default)]
struct Element {
    obu: usize,
    from: usize,
    to: usize,
}

#[derive(Debug, Default)]
struct Payload {
    elements: [Element; MAX_ELEMENTS],
    count: usize,
}

struct Cursor<'a> {
    obus: &'a [Obu<'a>],
    index: usize,
    offset: usize,
}

impl Cursor<'_> {
    /// Takes at most `room` bytes of elements and lengths, exactly that many where the data goes on.
    fn next_payload(&mut self, mut room: usize) -> Option<Payload> {
        let mut payload = Payload::default();
        while let Some(obu) = self.obus.get(self.index) {
            let left = obu.len_without_size() - self.offset;
            let with_length = left + av1::leb128_len(left);
            let follows = self.index + 1 < self.obus.len() && payload.count + 1 < MAX_ELEMENTS && with_length < room;
            let take = left.min(room);
            payload.elements[payload.count] = Element { obu: self.index, from: self.offset, to: self.offset + take };
            payload.count += 1;
            if take == left {
                (self.index, self.offset) = (self.index + 1, 0);
            } else {
                self.offset += take;
            }
            if !follows {
                break;
            }
            room -= with_length;
        }
        (payload.count > 0).then_some(payload)
    }
}

impl Payload {
    fn header(&self, obus: &[Obu]) -> u8 {
        let last = self.elements[self.count - 1];
        let continues = if self.elements[0].from > 0 { CONTINUES_PREVIOUS } else { 0 };
        let continued = if last.to < obus[last.obu].len_without_size() { CONTINUED_IN_NEXT } else { 0 };
        continues | continued | (self.count as u8) << 4
    }

    fn put(&self, obus: &[Obu], writer: &mut PayloadWriter) {
        let last = self.count - 1;
        for (index, element) in self.elements[..self.count].iter().enumerate() {
            if index < last {
                av1::put_leb128(&mut writer.buffer, element.to - element.from);
            }
            put_part(&obus[element.obu], element.from, element.to, writer);
        }
    }
}

/// Bytes `from..to` of an OBU without size field: header, extension, payload.
fn put_part(obu: &Obu, from: usize, to: usize, writer: &mut PayloadWriter) {
    let header = [obu.header_byte(false), obu.extension.unwrap_or(0)];
    let header = &header[..1 + usize::from(obu.extension.is_some())];
    if from < header.len() {
        writer.buffer.put_slice(&header[from..to.min(header.len())]);
    }
    let body = |at: usize| at.saturating_sub(header.len());
    writer.buffer.put_slice(&obu.payload[body(from)..body(to)]);
}

#[cfg(test)]
#[path = "av1_tests.rs"]
mod tests;
