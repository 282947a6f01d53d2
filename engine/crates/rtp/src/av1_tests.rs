use crate::Packetizer;
use crate::test_support::*;
use bytes::{Bytes, BytesMut};
use tallylight_media::Codec;
use tallylight_media::codec::BitReader;
use tallylight_media::codec::av1::{self, Obu};

/// The OBUs (without size fields) in payloads, as section 4.4 describes them.
fn depacketize(payloads: &[Bytes]) -> Vec<Vec<u8>> {
    let mut obus: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for payload in payloads {
        let header = payload[0];
        let count = usize::from(header >> 4 & 3);
        assert_eq!(header & 0x80 != 0, open, "a continuation follows what is continued");
        let mut rest = &payload[1..];
        for index in 0..count {
            let length = if index + 1 == count {
                rest.len()
            } else {
                let mut reader = BitReader::new(rest, "length");
                let length = reader.leb128().unwrap() as usize;
                rest = &rest[rest.len() - reader.remaining() / 8..];
                length
            };
            let (element, after) = rest.split_at(length);
            assert!(!element.is_empty());
            rest = after;
            match index == 0 && open {
                true => obus.last_mut().unwrap().extend_from_slice(element),
                false => obus.push(element.to_vec()),
            }
        }
        assert!(rest.is_empty());
        open = header & 0x40 != 0;
    }
    assert!(!open);
    obus
}

fn temporal_unit(obus: &[Obu]) -> Bytes {
    let mut out = BytesMut::new();
    obus.iter().for_each(|obu| av1::put_obu(&mut out, obu));
    out.freeze()
}

fn without_sizes(obus: &[Obu]) -> Vec<Vec<u8>> {
    obus.iter()
        .map(|obu| {
            let mut bytes = vec![obu.header_byte(false)];
            bytes.extend(obu.extension);
            bytes.extend_from_slice(obu.payload);
            bytes
        })
        .collect()
}

fn obu(obu_type: u8, payload: &[u8]) -> Obu<'_> {
    Obu { obu_type, extension: None, payload }
}

const SEQUENCE_HEADER: &str = "000000043cfeccfff98040";

#[test]
fn round_trips_for_every_length_and_number_of_obus() {
    for len in 1..400 {
        for count in 1..6 {
            let bodies: Vec<Vec<u8>> = (0..count).map(|index| picture_bytes(&[0x30], len + 37 * index)).collect();
            let mut obus: Vec<Obu> = bodies.iter().map(|body| obu(av1::OBU_FRAME, body)).collect();
            obus[0].extension = (len % 2 == 0).then_some(0x08);
            let mut out = Vec::new();
            let unit = unit(&temporal_unit(&obus), false);
            Packetizer::new(Codec::Av1).packetize(&unit, &config(Codec::Av1), 100, &mut out).unwrap();
            assert!(out.iter().all(|payload| payload.len() <= 100));
            assert_eq!(depacketize(&out), without_sizes(&obus), "{len} {count}");
            if count == 1 {
                assert_equal_sizes(&out, 100);
            }
        }
    }
}

#[test]
fn a_keyframe_starts_a_sequence_with_its_header() {
    let (sequence, frame) = (hex(SEQUENCE_HEADER), picture_bytes(&[0x10], 5000));
    let mut config = config(Codec::Av1);
    let record = temporal_unit(&[obu(av1::OBU_SEQUENCE_HEADER, &sequence)]);
    config.extradata = [&[0x81, 0, 0x0c, 0][..], &record].concat().into();
    let complete = [obu(av1::OBU_SEQUENCE_HEADER, &sequence), obu(av1::OBU_FRAME, &frame)];
    // Once with the header only in the configuration, once in the unit itself, with a delimiter before it.
    let delimited = [obu(av1::OBU_TEMPORAL_DELIMITER, &[]), complete[0], complete[1]];
    for obus in [&complete[1..], &delimited[..]] {
        let mut out = Vec::new();
        let unit = unit(&temporal_unit(obus), true);
        Packetizer::new(Codec::Av1).packetize(&unit, &config, 1188, &mut out).unwrap();
        assert_eq!(depacketize(&out), without_sizes(&complete));
        assert_eq!(out[0][0], 0b0110_1000, "two elements, goes on, N");
        assert!(out[1..].iter().all(|payload| payload[0] & 0x08 == 0));
        assert_equal_sizes(&out, 1188);
    }
}

#[test]
fn damaged_units_never_panic_and_never_break_the_bound() {
    let (sequence, frame) = (hex(SEQUENCE_HEADER), picture_bytes(&[0x10], 300));
    let data = temporal_unit(&[obu(av1::OBU_SEQUENCE_HEADER, &sequence), obu(av1::OBU_FRAME, &frame)]);
    let (config, mut packetizer) = (config(Codec::Av1), Packetizer::new(Codec::Av1));
    mutate(&data, 20_000, |bytes| {
        let mut out = Vec::new();
        let _ = packetizer.packetize(&unit(bytes, bytes.len() % 2 == 0), &config, 100, &mut out);
        assert!(out.iter().all(|payload| payload.len() > 1 && payload.len() <= 100));
        depacketize(&out);
    });
}
