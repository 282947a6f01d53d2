//! AV1 (AV1 bitstream specification) and its codec configuration record (AV1-ISOBMFF section 2.3).

use super::{BitReader, CodecError, picture_size};
use bytes::{BufMut, Bytes, BytesMut};

/// obu_type values (AV1 6.2.2).
pub const OBU_SEQUENCE_HEADER: u8 = 1;
pub const OBU_TEMPORAL_DELIMITER: u8 = 2;
pub const OBU_FRAME_HEADER: u8 = 3;
pub const OBU_TILE_GROUP: u8 = 4;
pub const OBU_METADATA: u8 = 5;
pub const OBU_FRAME: u8 = 6;
pub const OBU_REDUNDANT_FRAME_HEADER: u8 = 7;
pub const OBU_TILE_LIST: u8 = 8;
pub const OBU_PADDING: u8 = 15;

/// One open bitstream unit of the low-overhead format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    pub obu_type: u8,
    /// The extension byte (temporal and spatial id), if present.
    pub extension: Option<u8>,
    pub payload: &'a [u8],
}

impl Obu<'_> {
    /// The header byte with obu_has_size_field as asked.
    pub fn header_byte(&self, has_size: bool) -> u8 {
        self.obu_type << 3 | u8::from(self.extension.is_some()) << 2 | u8::from(has_size) << 1
    }

    /// Bytes of header and payload without a size field: what goes into RTP.
    pub fn len_without_size(&self) -> usize {
        1 + usize::from(self.extension.is_some()) + self.payload.len()
    }
}

/// The OBUs of low-overhead data (AV1 5.2). The last one may lack its size field. After an error it ends.
pub fn obus(data: &[u8]) -> Obus<'_> {
    Obus { rest: data }
}

/// See [`obus`].
#[derive(Debug, Clone)]
pub struct Obus<'a> {
    rest: &'a [u8],
}

impl<'a> Obus<'a> {
    fn take(&mut self) -> Result<Obu<'a>, CodecError> {
        let data = self.rest;
        let mut reader = BitReader::new(data, "OBU");
        let header = reader.byte()?;
        if header & 0x80 != 0 {
            return Err(CodecError::Unsupported { field: "obu_forbidden_bit", value: 1 });
        }
        let extension = if header & 4 != 0 { Some(reader.byte()?) } else { None };
        let size = if header & 2 != 0 { Some(reader.leb128()? as usize) } else { None };
        let body = &data[data.len() - reader.remaining() / 8..];
        let size = size.unwrap_or(body.len());
        let (payload, rest) = body.split_at_checked(size).ok_or(CodecError::Truncated { structure: "OBU" })?;
        self.rest = rest;
        Ok(Obu { obu_type: header >> 3 & 15, extension, payload })
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Result<Obu<'a>, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// Appends an OBU with a size field.
pub fn put_obu(out: &mut BytesMut, obu: &Obu) {
    out.put_u8(obu.header_byte(true));
    if let Some(extension) = obu.extension {
        out.put_u8(extension);
    }
    put_leb128(out, obu.payload.len());
    out.put_slice(obu.payload);
}

/// leb128() of AV1 4.10.5.
pub fn put_leb128(out: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Bytes [`put_leb128`] writes.
pub fn leb128_len(value: usize) -> usize {
    (value.max(1).ilog2() / 7 + 1) as usize
}

/// What the server needs of a sequence header OBU (AV1 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceHeader {
    pub profile: u8,
    /// seq_level_idx and seq_tier of the first operating point.
    pub level_idx: u8,
    pub high_tier: bool,
    pub reduced_still_picture_header: bool,
    /// The largest picture of the sequence, in pixels.
    pub width: u32,
    pub height: u32,
    pub bit_depth: u8,
    pub monochrome: bool,
    pub subsampling_x: bool,
    pub subsampling_y: bool,
    pub chroma_sample_position: u8,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header OBU.
    pub fn parse(payload: &[u8]) -> Result<SequenceHeader, CodecError> {
        let mut reader = BitReader::new(payload, "sequence header");
        let r = &mut reader;
        let mut header = SequenceHeader { profile: r.bits(3)? as u8, ..SequenceHeader::default() };
        if header.profile > 2 {
            return Err(CodecError::OutOfRange { field: "seq_profile", value: header.profile.into(), max: 2 });
        }
        r.skip(1)?;
        header.reduced_still_picture_header = r.flag()?;
        if header.reduced_still_picture_header {
            header.level_idx = r.bits(5)? as u8;
        } else {
            header.parse_operating_points(r)?;
        }
        let (width_bits, height_bits) = (r.bits(4)? + 1, r.bits(4)? + 1);
        let (width, height) = (u64::from(r.bits(width_bits)?) + 1, u64::from(r.bits(height_bits)?) + 1);
        (header.width, header.height) = picture_size(width, height)?;
        header.skip_tools(r)?;
        header.parse_color(r)?;
        Ok(header)
    }

    fn parse_operating_points(&mut self, r: &mut BitReader) -> Result<(), CodecError> {
        let mut decoder_model_delay_bits = None;
        if r.flag()? {
            r.skip(64)?;
            if r.flag()? {
                skip_uvlc(r)?;
            }
            if r.flag()? {
                decoder_model_delay_bits = Some(r.bits(5)? + 1);
                r.skip(32 + 5 + 5)?;
            }
        }
        let display_delay_present = r.flag()?;
        let points = r.bits(5)? + 1;
        for point in 0..points {
            r.skip(12)?;
            let level = r.bits(5)? as u8;
            let tier = level > 7 && r.flag()?;
            if point == 0 {
                (self.level_idx, self.high_tier) = (level, tier);
            }
            if let Some(bits) = decoder_model_delay_bits
                && r.flag()?
            {
                r.skip(2 * bits as usize + 1)?;
            }
            if display_delay_present && r.flag()? {
                r.skip(4)?;
            }
        }
        Ok(())
    }

    /// Everything between the size and the colour description.
    fn skip_tools(&self, r: &mut BitReader) -> Result<(), CodecError> {
        let reduced = self.reduced_still_picture_header;
        if !reduced && r.flag()? {
            r.skip(4 + 3)?;
        }
        // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        r.skip(3)?;
        if !reduced {
            // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
            r.skip(4)?;
            let order_hint = r.flag()?;
            if order_hint {
                r.skip(2)?;
            }
            // seq_choose_screen_content_tools; SELECT when set
            let screen_content = r.flag()? || r.flag()?;
            if screen_content && !r.flag()? {
                // seq_force_integer_mv
                r.skip(1)?;
            }
            if order_hint {
                r.skip(3)?;
            }
        }
        // enable_superres, enable_cdef, enable_restoration
        r.skip(3)
    }

    /// color_config() of AV1 5.5.2.
    fn parse_color(&mut self, r: &mut BitReader) -> Result<(), CodecError> {
        let high = r.flag()?;
        self.bit_depth = match (self.profile, high) {
            (2, true) => 10 + 2 * u8::from(r.flag()?),
            (_, true) => 10,
            (_, false) => 8,
        };
        self.monochrome = self.profile != 1 && r.flag()?;
        // BT.709 primaries, sRGB transfer, identity matrix mean 4:4:4 without further fields.
        const SRGB: (u32, u32, u32) = (1, 13, 0);
        const UNSPECIFIED: (u32, u32, u32) = (2, 2, 2);
        let description = if r.flag()? { (r.bits(8)?, r.bits(8)?, r.bits(8)?) } else { UNSPECIFIED };
        if self.monochrome {
            (self.subsampling_x, self.subsampling_y) = (true, true);
            return r.skip(1);
        }
        if description == SRGB {
            return Ok(());
        }
        r.skip(1)?;
        (self.subsampling_x, self.subsampling_y) = match (self.profile, self.bit_depth) {
            (0, _) => (true, true),
            (1, _) => (false, false),
            (_, 12) => {
                let x = r.flag()?;
                (x, x && r.flag()?)
            }
            _ => (true, false),
        };
        if self.subsampling_x && self.subsampling_y {
            self.chroma_sample_position = r.bits(2)? as u8;
        }
        Ok(())
    }

    /// `av01.P.LLT.DD` (AV1-ISOBMFF section 5).
    pub fn codec_string(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level_idx, self.bit_depth)
    }
}

/// uvlc() of AV1 4.10.3.
fn skip_uvlc(r: &mut BitReader) -> Result<(), CodecError> {
    let mut zeros = 0;
    while !r.flag()? {
        zeros += 1;
        if zeros == 32 {
            return Ok(());
        }
    }
    r.skip(zeros)
}

/// The first sequence header of low-overhead data, as an OBU.
pub fn find_sequence_header(data: &[u8]) -> Option<Obu<'_>> {
    obus(data).map_while(Result::ok).find(|obu| obu.obu_type == OBU_SEQUENCE_HEADER)
}

/// Whether a temporal unit starts with a shown key frame (AV1 5.9.2). The sequence header may come with it
/// or live in the configuration record.
pub fn is_keyframe(unit: &[u8]) -> bool {
    const KEY_FRAME: u32 = 0;
    let first = obus(unit).map_while(Result::ok).find(|obu| matches!(obu.obu_type, OBU_FRAME | OBU_FRAME_HEADER));
    let Some(frame) = first else { return false };
    let mut r = BitReader::new(frame.payload, "frame header");
    let show_existing_frame = r.flag();
    let frame_type = r.bits(2);
    let show_frame = r.flag();
    (show_existing_frame, frame_type, show_frame) == (Ok(false), Ok(KEY_FRAME), Ok(true))
}

/// AV1CodecConfigurationRecord: the body of an `av1C` box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Av1Config {
    /// The sequence header OBU, with its size field, as configOBUs hold it.
    pub sequence_header_obu: Bytes,
    pub sequence_header: SequenceHeader,
}

impl Av1Config {
    /// Reads the record. configOBUs without a sequence header are an error: viewers could not start.
    pub fn parse(data: &[u8]) -> Result<Av1Config, CodecError> {
        let (head, config_obus) = data.split_at_checked(4).ok_or(CodecError::Truncated { structure: "av1C" })?;
        if head[0] != 0x81 {
            return Err(CodecError::Unsupported { field: "av1C marker and version", value: head[0].into() });
        }
        Self::from_obus(config_obus)
    }

    /// From low-overhead data that holds a sequence header (a keyframe's temporal unit).
    pub fn from_obus(data: &[u8]) -> Result<Av1Config, CodecError> {
        let obu = find_sequence_header(data).ok_or(CodecError::Missing { structure: "sequence header" })?;
        let sequence_header = SequenceHeader::parse(obu.payload)?;
        let mut bytes = BytesMut::new();
        put_obu(&mut bytes, &obu);
        Ok(Av1Config { sequence_header_obu: bytes.freeze(), sequence_header })
    }

    pub fn to_bytes(&self) -> Bytes {
        let header = &self.sequence_header;
        let mut out = BytesMut::new();
        out.put_u8(0x81);
        out.put_u8(header.profile << 5 | header.level_idx & 0x1f);
        out.put_u8(
            u8::from(header.high_tier) << 7
                | u8::from(header.bit_depth > 8) << 6
                | u8::from(header.bit_depth == 12) << 5
                | u8::from(header.monochrome) << 4
                | u8::from(header.subsampling_x) << 3
                | u8::from(header.subsampling_y) << 2
                | header.chroma_sample_position & 3,
        );
        // No initial_presentation_delay.
        out.put_u8(0);
        out.put_slice(&self.sequence_header_obu);
        out.freeze()
    }

    pub fn codec_string(&self) -> String {
        self.sequence_header.codec_string()
    }
}

/// RFC 6381 codec string of an av1C body.
pub fn codec_string(av1c: &[u8]) -> Result<String, CodecError> {
    Av1Config::parse(av1c).map(|config| config.codec_string())
}

/// One temporal unit taken apart; see [`temporal_unit`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemporalUnit {
    /// Set when the unit carried a readable sequence header.
    pub config: Option<Av1Config>,
    /// Every OBU with a size field; no temporal delimiters, tile lists or padding.
    pub data: Bytes,
    pub keyframe: bool,
}

/// Brings a temporal unit into the stream's own form.
pub fn temporal_unit(unit: &[u8]) -> Result<TemporalUnit, CodecError> {
    let mut data = BytesMut::with_capacity(unit.len() + 8);
    for obu in obus(unit) {
        let obu = obu?;
        if !matches!(obu.obu_type, OBU_TEMPORAL_DELIMITER | OBU_TILE_LIST | OBU_PADDING) {
            put_obu(&mut data, &obu);
        }
    }
    let data = data.freeze();
    Ok(TemporalUnit { config: Av1Config::from_obus(&data).ok(), keyframe: is_keyframe(&data), data })
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{hex, mutate};
    use super::*;

    // First bytes of testsrc2 320x180 through libaom-av1 and libsvtav1: temporal delimiter, sequence header, frame.
    const LIBAOM: &str = "12000a0b000000043cfeccfff9804032 04 1400a370";
    const SVT: &str = "12000a0b000000043cfeccfbf9004032 04 1400a250";

    #[test]
    fn reads_sequence_headers_of_two_encoders() {
        for seed in [LIBAOM, SVT] {
            let unit = temporal_unit(&hex(seed)).unwrap();
            let config = unit.config.unwrap();
            let header = config.sequence_header;
            assert_eq!((header.width, header.height), (320, 180));
            assert_eq!((header.profile, header.bit_depth, header.monochrome), (0, 8, false));
            assert!(header.subsampling_x && header.subsampling_y);
            assert_eq!(config.codec_string(), "av01.0.00M.08");
            assert!(unit.keyframe);
            assert_eq!(obus(&unit.data).count(), 2);
            assert_eq!(Av1Config::parse(&config.to_bytes()).unwrap(), config);
        }
    }

    #[test]
    fn frames_that_are_no_start_are_told_apart() {
        // show_existing_frame 0, frame_type 1 (inter), show_frame 1
        assert!(!is_keyframe(&[0x32, 1, 0b0011_0000]));
        // A key frame that is not shown.
        assert!(!is_keyframe(&[0x32, 1, 0b0000_0000]));
        assert!(is_keyframe(&[0x32, 1, 0b0001_0000]));
    }

    #[test]
    fn leb128_lengths_match_what_is_written() {
        for value in [0usize, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::new();
            put_leb128(&mut out, value);
            assert_eq!(out.len(), leb128_len(value), "{value}");
            assert_eq!(BitReader::new(&out, "x").leb128().unwrap() as usize, value);
        }
    }

    #[test]
    fn damaged_input_never_panics() {
        for seed in [LIBAOM, SVT] {
            mutate(&hex(seed), 20_000, |bytes| {
                if let Ok(TemporalUnit { config: Some(config), .. }) = temporal_unit(bytes) {
                    assert!(config.sequence_header.width <= 8192);
                    config.to_bytes();
                }
                let _ = Av1Config::parse(bytes);
            });
        }
    }
}
