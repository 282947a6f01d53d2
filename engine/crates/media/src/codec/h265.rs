//! H.265 (ITU-T H.265) and its decoder configuration record (ISO 14496-15 section 8.3.3).

pub use super::nal::{length_prefixed, nals, nals_with_length_size, split_annexb};
use super::nal::{put_length_prefixed, unescape};
use super::{BitReader, CodecError, picture_size};
use bytes::{BufMut, Bytes, BytesMut};

/// nal_unit_type values (H.265 table 7-1).
pub const NAL_VPS: u8 = 32;
pub const NAL_SPS: u8 = 33;
pub const NAL_PPS: u8 = 34;
pub const NAL_ACCESS_UNIT_DELIMITER: u8 = 35;
pub const NAL_END_OF_SEQUENCE: u8 = 36;
pub const NAL_END_OF_BITSTREAM: u8 = 37;
pub const NAL_FILLER: u8 = 38;

/// Largest VCL nal_unit_type.
const LAST_VCL: u8 = 31;
/// Far above any parameter set in the wild; only the beginning is read.
const MAX_PARAMETER_SET: usize = 4096;
/// Parameter sets of one kind in a record: VPS and SPS have 16 identifiers, PPS 64.
const MAX_SETS: usize = 64;

/// nal_unit_type of a NAL unit; 63 (unspecified) for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |header| header >> 1 & 0x3f)
}

/// A slice of an intra random access point picture (BLA, IDR or CRA): a decoder can start here.
pub fn is_irap(nal: &[u8]) -> bool {
    (16..=23).contains(&nal_type(nal))
}

/// Whether a length-prefixed access unit holds an IRAP picture.
pub fn is_keyframe(unit: &[u8]) -> bool {
    nals(unit).filter_map(Result::ok).any(is_irap)
}

/// The general part of profile_tier_level() (H.265 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProfileTierLevel {
    pub profile_space: u8,
    /// True for the High tier.
    pub high_tier: bool,
    pub profile_idc: u8,
    pub compatibility_flags: u32,
    /// The 48 constraint bits, most significant first.
    pub constraint_flags: [u8; 6],
    /// 30 times the level number.
    pub level_idc: u8,
}

impl ProfileTierLevel {
    /// `hvc1.P.C.TL.B…` (ISO 14496-15 Annex E.3).
    pub fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][usize::from(self.profile_space & 3)];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility_flags.reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", self.profile_idc, self.level_idc);
        let used = self.constraint_flags.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for byte in &self.constraint_flags[..used] {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

/// What the server needs of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpsInfo {
    pub profile: ProfileTierLevel,
    /// Pixels after the conformance window.
    pub width: u32,
    pub height: u32,
    pub chroma_format_idc: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    pub temporal_layers: u8,
    pub temporal_id_nested: bool,
    /// sps_max_num_reorder_pics of the highest temporal layer: above 0, pictures come out of display order.
    pub max_num_reorder_pics: u32,
}

impl SpsInfo {
    pub fn reorders(&self) -> bool {
        self.max_num_reorder_pics > 0
    }
}

/// Reads a sequence parameter set, NAL header included (H.265 7.3.2.2.1).
pub fn parse_sps(nal: &[u8]) -> Result<SpsInfo, CodecError> {
    if nal.is_empty() {
        return Err(CodecError::Missing { structure: "SPS" });
    }
    if nal_type(nal) != NAL_SPS {
        return Err(CodecError::Unsupported { field: "nal_unit_type", value: nal_type(nal).into() });
    }
    let payload = unescape(nal, 2, MAX_PARAMETER_SET);
    let mut reader = BitReader::new(&payload, "SPS");
    let r = &mut reader;
    r.skip(4)?;
    let max_sub_layers_minus1 = r.bits(3)?;
    if max_sub_layers_minus1 > 6 {
        return Err(CodecError::OutOfRange { field: "sps_max_sub_layers_minus1", value: 7, max: 6 });
    }
    let temporal_id_nested = r.flag()?;
    let profile = parse_profile_tier_level(r, max_sub_layers_minus1)?;
    r.exp_golomb_max("sps_seq_parameter_set_id", 15)?;
    let chroma_format_idc = r.exp_golomb_max("chroma_format_idc", 3)? as u8;
    let separate_planes = chroma_format_idc == 3 && r.flag()?;
    let (width, height) = parse_size(r, if separate_planes { 0 } else { chroma_format_idc })?;
    let bit_depth_luma = 8 + r.exp_golomb_max("bit_depth_luma_minus8", 8)? as u8;
    let bit_depth_chroma = 8 + r.exp_golomb_max("bit_depth_chroma_minus8", 8)? as u8;
    r.exp_golomb_max("log2_max_pic_order_cnt_lsb_minus4", 12)?;
    let first = if r.flag()? { 0 } else { max_sub_layers_minus1 };
    let mut max_num_reorder_pics = 0;
    for _ in first..=max_sub_layers_minus1 {
        r.exp_golomb_max("sps_max_dec_pic_buffering_minus1", 15)?;
        max_num_reorder_pics = r.exp_golomb_max("sps_max_num_reorder_pics", 15)?;
        r.exp_golomb()?;
    }
    Ok(SpsInfo {
        profile,
        width,
        height,
        chroma_format_idc,
        bit_depth_luma,
        bit_depth_chroma,
        temporal_layers: max_sub_layers_minus1 as u8 + 1,
        temporal_id_nested,
        max_num_reorder_pics,
    })
}

fn parse_profile_tier_level(r: &mut BitReader, max_sub_layers_minus1: u32) -> Result<ProfileTierLevel, CodecError> {
    let mut profile = ProfileTierLevel {
        profile_space: r.bits(2)? as u8,
        high_tier: r.flag()?,
        profile_idc: r.bits(5)? as u8,
        compatibility_flags: r.bits(32)?,
        ..ProfileTierLevel::default()
    };
    for byte in &mut profile.constraint_flags {
        *byte = r.byte()?;
    }
    profile.level_idc = r.byte()?;
    let mut skip = 0;
    for _ in 0..max_sub_layers_minus1 {
        skip += if r.flag()? { 88 } else { 0 };
        skip += if r.flag()? { 8 } else { 0 };
    }
    if max_sub_layers_minus1 > 0 {
        r.skip(2 * (8 - max_sub_layers_minus1 as usize))?;
    }
    r.skip(skip)?;
    Ok(profile)
}

fn parse_size(r: &mut BitReader, chroma_array_type: u8) -> Result<(u32, u32), CodecError> {
    let (mut width, mut height) = (u64::from(r.exp_golomb()?), u64::from(r.exp_golomb()?));
    if r.flag()? {
        // SubWidthC and SubHeightC, table 6-1.
        let unit_x = if matches!(chroma_array_type, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_array_type == 1 { 2 } else { 1 };
        let mut edge = || r.exp_golomb().map(u64::from);
        let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
        width = width.saturating_sub((left + right) * unit_x);
        height = height.saturating_sub((top + bottom) * unit_y);
    }
    picture_size(width, height)
}

/// HEVCDecoderConfigurationRecord: the body of an `hvcC` box, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HevcConfig {
    pub profile: ProfileTierLevel,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub nal_length_size: u8,
    pub vps: Vec<Bytes>,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
}

impl HevcConfig {
    /// Reads the record. A record without any SPS is an error: nothing could be decoded with it.
    pub fn parse(data: &[u8]) -> Result<HevcConfig, CodecError> {
        let mut reader = BitReader::new(data, "hvcC");
        let r = &mut reader;
        let version = r.byte()?;
        if version != 1 {
            return Err(CodecError::Unsupported { field: "configurationVersion", value: version.into() });
        }
        let profile = parse_profile_tier_level(r, 0)?;
        r.skip(8 * 8)?;
        let nal_length_size = match r.byte()? & 3 {
            2 => return Err(CodecError::Unsupported { field: "lengthSizeMinusOne", value: 2 }),
            size => size + 1,
        };
        let arrays = r.byte()?;
        let rest = data.get(HEADER_BYTES..).unwrap_or_default();
        let mut config = HevcConfig { profile, nal_length_size, vps: vec![], sps: vec![], pps: vec![] };
        config.take_arrays(rest, arrays)?;
        if config.sps.is_empty() {
            return Err(CodecError::Missing { structure: "SPS" });
        }
        Ok(config)
    }

    fn take_arrays(&mut self, mut rest: &[u8], arrays: u8) -> Result<(), CodecError> {
        let truncated = CodecError::Truncated { structure: "hvcC" };
        for _ in 0..arrays {
            let (head, after) = rest.split_first_chunk::<3>().ok_or(truncated)?;
            rest = after;
            for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
                let (length, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
                let (nal, after) = after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(truncated)?;
                rest = after;
                self.add(nal);
            }
        }
        Ok(())
    }

    fn add(&mut self, nal: &[u8]) {
        let sets = match nal_type(nal) {
            NAL_VPS => &mut self.vps,
            NAL_SPS => &mut self.sps,
            NAL_PPS => &mut self.pps,
            _ => return,
        };
        if sets.len() < MAX_SETS {
            sets.push(Bytes::copy_from_slice(nal));
        }
    }

    /// A record for access units with 4-byte lengths. Takes profile and level from the first SPS.
    pub fn from_parameter_sets(vps: &[Bytes], sps: &[Bytes], pps: &[Bytes]) -> Result<HevcConfig, CodecError> {
        let first = sps.first().ok_or(CodecError::Missing { structure: "SPS" })?;
        let profile = parse_sps(first)?.profile;
        for (sets, structure) in [(vps, "VPS"), (pps, "PPS")] {
            if sets.is_empty() {
                return Err(CodecError::Missing { structure });
            }
        }
        for set in vps.iter().chain(sps).chain(pps) {
            if set.len() > MAX_PARAMETER_SET {
                let (value, max) = (set.len() as u64, MAX_PARAMETER_SET as u64);
                return Err(CodecError::OutOfRange { field: "parameter set size", value, max });
            }
        }
        let bounded = |sets: &[Bytes]| sets.iter().take(MAX_SETS).cloned().collect();
        Ok(HevcConfig { profile, nal_length_size: 4, vps: bounded(vps), sps: bounded(sps), pps: bounded(pps) })
    }

    /// Writes the record (ISO 14496-15 8.3.3.1.2).
    pub fn to_bytes(&self) -> Bytes {
        let info = self.sps_info().ok();
        let mut out = BytesMut::new();
        let profile = &self.profile;
        out.put_u8(1);
        out.put_u8(profile.profile_space << 6 | u8::from(profile.high_tier) << 5 | profile.profile_idc & 0x1f);
        out.put_u32(profile.compatibility_flags);
        out.put_slice(&profile.constraint_flags);
        out.put_u8(profile.level_idc);
        // min_spatial_segmentation_idc and parallelismType: 0 says unknown.
        out.put_slice(&[0xf0, 0, 0xfc]);
        let (chroma, luma_depth, chroma_depth) =
            info.map_or((1, 8, 8), |info| (info.chroma_format_idc, info.bit_depth_luma, info.bit_depth_chroma));
        out.put_slice(&[0xfc | chroma & 3, 0xf8 | (luma_depth - 8) & 7, 0xf8 | (chroma_depth - 8) & 7]);
        // avgFrameRate and constantFrameRate: 0 says unspecified.
        out.put_u16(0);
        let (layers, nested) = info.map_or((1, true), |info| (info.temporal_layers, info.temporal_id_nested));
        out.put_u8((layers & 7) << 3 | u8::from(nested) << 2 | self.nal_length_size.saturating_sub(1) & 3);
        let arrays = [(NAL_VPS, &self.vps), (NAL_SPS, &self.sps), (NAL_PPS, &self.pps)];
        out.put_u8(arrays.iter().filter(|(_, sets)| !sets.is_empty()).count() as u8);
        for (kind, sets) in arrays.into_iter().filter(|(_, sets)| !sets.is_empty()) {
            const ARRAY_COMPLETE: u8 = 0x80;
            out.put_u8(ARRAY_COMPLETE | kind);
            out.put_u16(sets.len() as u16);
            for set in sets {
                let length = set.len().min(u16::MAX.into());
                out.put_u16(length as u16);
                out.put_slice(&set[..length]);
            }
        }
        out.freeze()
    }

    /// The first SPS, read.
    pub fn sps_info(&self) -> Result<SpsInfo, CodecError> {
        parse_sps(self.sps.first().ok_or(CodecError::Missing { structure: "SPS" })?)
    }

    pub fn codec_string(&self) -> String {
        self.profile.codec_string()
    }
}

/// Bytes of the record before its arrays.
const HEADER_BYTES: usize = 23;

/// RFC 6381 codec string of an hvcC body.
pub fn codec_string(hvcc: &[u8]) -> Result<String, CodecError> {
    HevcConfig::parse(hvcc).map(|config| config.codec_string())
}

/// One access unit taken apart: the picture in the stream's own form, and the parameter sets found in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    pub vps: Vec<Bytes>,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
    /// 4-byte length-prefixed NAL units without parameter sets, delimiters and filler; empty when there
    /// was no picture.
    pub data: Bytes,
    pub keyframe: bool,
}

/// Sorts the NAL units of one access unit into a [`Picture`].
pub fn picture<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Picture {
    let mut out = Picture::default();
    let mut data = BytesMut::new();
    let mut has_slice = false;
    for nal in nals {
        match nal_type(nal) {
            NAL_VPS => out.vps.push(Bytes::copy_from_slice(nal)),
            NAL_SPS => out.sps.push(Bytes::copy_from_slice(nal)),
            NAL_PPS => out.pps.push(Bytes::copy_from_slice(nal)),
            NAL_ACCESS_UNIT_DELIMITER..=NAL_FILLER => {}
            kind => {
                out.keyframe |= is_irap(nal);
                has_slice |= kind <= LAST_VCL;
                put_length_prefixed(&mut data, nal);
            }
        }
    }
    if has_slice {
        out.data = data.freeze();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{hex, mutate};
    use super::*;

    // testsrc2 1920x1080 through libx265 with its default B-frames.
    const VPS: &str = "40010c01ffff01600000030090000003000003007895980 9";
    const SPS_1080P: &str = "420101016000000300900000030000030078a003c08010e596566924caf016808000000300800000 0f04";
    const PPS: &str = "4401c172b46240";
    // 320x180, bframes=0.
    const SPS_180P: &str = "42010101600000030090000003000003003ca00a080b9f7964a924caf01680800000030080000 00f04";

    fn config() -> HevcConfig {
        let set = |text: &str| [Bytes::from(hex(text))];
        HevcConfig::from_parameter_sets(&set(VPS), &set(SPS_1080P), &set(PPS)).unwrap()
    }

    #[test]
    fn reads_the_parameter_sets_of_x265() {
        let info = parse_sps(&hex(SPS_1080P)).unwrap();
        assert_eq!((info.width, info.height), (1920, 1080));
        assert_eq!((info.profile.profile_idc, info.profile.level_idc, info.profile.high_tier), (1, 120, false));
        assert!(info.reorders());
        let small = parse_sps(&hex(SPS_180P)).unwrap();
        assert_eq!((small.width, small.height), (320, 180));
        assert!(!small.reorders());
    }

    #[test]
    fn hvcc_round_trips_and_names_the_codec() {
        let record = config().to_bytes();
        assert_eq!(HevcConfig::parse(&record).unwrap(), config());
        assert_eq!(codec_string(&record).unwrap(), "hvc1.1.6.L120.90");
    }

    #[test]
    fn a_picture_is_sorted_out_of_its_access_unit() {
        let (vps, sps, pps) = (hex(VPS), hex(SPS_1080P), hex(PPS));
        let (idr, sei) = ([0x26u8, 1, 0xaf], [0x4eu8, 1, 5]);
        let found = picture([&[0x46u8, 1, 0x10][..], &vps, &sps, &pps, &sei, &idr]);
        assert_eq!((found.vps.len(), found.sps.len(), found.pps.len(), found.keyframe), (1, 1, 1, true));
        assert_eq!(found.data, length_prefixed([&sei[..], &idr]));
        assert!(!picture([&[0x02u8, 1, 0xd0][..]]).keyframe);
    }

    #[test]
    fn damaged_input_never_panics() {
        for seed in [SPS_1080P, SPS_180P] {
            mutate(&hex(seed), 20_000, |bytes| {
                if let Ok(info) = parse_sps(bytes) {
                    assert!(info.width <= 8192 && info.height <= 8192);
                }
            });
        }
        mutate(&config().to_bytes(), 20_000, |bytes| {
            if let Ok(config) = HevcConfig::parse(bytes) {
                config.codec_string();
                config.to_bytes();
            }
        });
    }
}
