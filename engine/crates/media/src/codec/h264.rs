//! H.264 (ITU-T H.264, ISO 14496-10) and its decoder configuration record (ISO 14496-15 section 5.3.3).

pub use super::nal::{length_prefixed, nals, nals_with_length_size, split_annexb};
use super::nal::{put_length_prefixed, unescape};
use super::{BitReader, CodecError, picture_size};
use bytes::{BufMut, Bytes, BytesMut};

/// nal_unit_type values (H.264 table 7-1).
pub const NAL_SLICE: u8 = 1;
pub const NAL_IDR: u8 = 5;
pub const NAL_SEI: u8 = 6;
pub const NAL_SPS: u8 = 7;
pub const NAL_PPS: u8 = 8;
pub const NAL_ACCESS_UNIT_DELIMITER: u8 = 9;
pub const NAL_END_OF_SEQUENCE: u8 = 10;
pub const NAL_END_OF_STREAM: u8 = 11;
pub const NAL_FILLER: u8 = 12;

/// A parameter set larger than this is not one: the largest legal SPS (all scaling lists, 255 offsets, HRD)
/// stays below 2 KiB.
const MAX_PARAMETER_SET: usize = 4096;
/// The fields of a slice header read here fit into 11 bytes.
const SLICE_HEADER_BYTES: usize = 16;

/// nal_unit_type of a NAL unit; 0 (unspecified) for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// A slice of an IDR picture: a decoder can start here.
pub fn is_idr(nal: &[u8]) -> bool {
    nal_type(nal) == NAL_IDR
}

/// Whether a length-prefixed access unit holds an IDR picture.
pub fn is_keyframe(unit: &[u8]) -> bool {
    nals(unit).filter_map(Result::ok).any(is_idr)
}

/// How a slice is predicted (H.264 table 7-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceType {
    P,
    B,
    I,
    Sp,
    Si,
}

/// slice_type of a coded slice (types 1 and 5), None for other NAL units.
pub fn slice_type(nal: &[u8]) -> Option<SliceType> {
    if !matches!(nal_type(nal), NAL_SLICE | NAL_IDR) {
        return None;
    }
    let payload = unescape(nal, 1, SLICE_HEADER_BYTES);
    let mut reader = BitReader::new(&payload, "slice header");
    reader.exp_golomb().ok()?;
    match reader.exp_golomb_max("slice_type", 9).ok()? % 5 {
        0 => Some(SliceType::P),
        1 => Some(SliceType::B),
        2 => Some(SliceType::I),
        3 => Some(SliceType::Sp),
        _ => Some(SliceType::Si),
    }
}

/// What the server needs of a sequence parameter set.
#[derive(Debug, Clone, PartialEq)]
pub struct SpsInfo {
    pub profile_idc: u8,
    /// constraint_set0_flag is the most significant bit.
    pub constraint_flags: u8,
    pub level_idc: u8,
    /// Pixels after cropping.
    pub width: u32,
    pub height: u32,
    pub chroma_format_idc: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    pub pic_order_cnt_type: u8,
    /// From the VUI, when it says so.
    pub max_num_reorder_frames: Option<u32>,
    /// Frames per second the encoder announces (VUI); a hint, often wrong.
    pub frame_rate: Option<f64>,
}

impl SpsInfo {
    /// Whether pictures may come out of display order: Some when the SPS settles it, None when only the
    /// slices can tell.
    pub fn reorders(&self) -> Option<bool> {
        const CONSTRAINT_SET3: u8 = 0x10;
        // Intra profiles (H.264 A.2.8 ff. and E.2.1 on max_num_reorder_frames).
        let intra_only =
            matches!(self.profile_idc, 44 | 86 | 100 | 110 | 122 | 244) && self.constraint_flags & CONSTRAINT_SET3 != 0;
        match self.max_num_reorder_frames {
            Some(count) => Some(count > 0),
            // Baseline has no B slices (A.2.1); pic_order_cnt_type 2 means output order is decoding order (8.2.1.3).
            None if self.profile_idc == 66 || self.pic_order_cnt_type == 2 || intra_only => Some(false),
            None => None,
        }
    }
}

/// Reads a sequence parameter set, NAL header included (H.264 7.3.2.1).
pub fn parse_sps(nal: &[u8]) -> Result<SpsInfo, CodecError> {
    check_type(nal, NAL_SPS, "SPS")?;
    let payload = unescape(nal, 1, MAX_PARAMETER_SET);
    let mut reader = BitReader::new(&payload, "SPS");
    let r = &mut reader;
    let (profile_idc, constraint_flags, level_idc) = (r.byte()?, r.byte()?, r.byte()?);
    r.exp_golomb_max("seq_parameter_set_id", 31)?;
    let format = ChromaFormat::parse(r, profile_idc)?;
    r.exp_golomb_max("log2_max_frame_num_minus4", 12)?;
    let pic_order_cnt_type = parse_picture_order(r)?;
    r.exp_golomb_max("max_num_ref_frames", 16)?;
    r.skip(1)?;
    let (width, height) = parse_size(r, &format)?;
    let mut info = SpsInfo {
        profile_idc,
        constraint_flags,
        level_idc,
        width,
        height,
        chroma_format_idc: format.chroma_format_idc,
        bit_depth_luma: format.bit_depth_luma,
        bit_depth_chroma: format.bit_depth_chroma,
        pic_order_cnt_type,
        max_num_reorder_frames: None,
        frame_rate: None,
    };
    // The VUI holds only hints: a broken one does not make the stream unplayable.
    if r.flag()? {
        let _ = parse_vui(r, &mut info);
    }
    Ok(info)
}

fn check_type(nal: &[u8], expected: u8, structure: &'static str) -> Result<(), CodecError> {
    match nal {
        [] => Err(CodecError::Missing { structure }),
        [header, ..] if header & 0x1f != expected => {
            Err(CodecError::Unsupported { field: "nal_unit_type", value: (header & 0x1f).into() })
        }
        _ => Ok(()),
    }
}

struct ChromaFormat {
    chroma_format_idc: u8,
    separate_planes: bool,
    bit_depth_luma: u8,
    bit_depth_chroma: u8,
}

/// Profiles whose SPS has the chroma format fields (H.264 7.3.2.1.1).
fn has_chroma_fields(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

impl ChromaFormat {
    fn parse(r: &mut BitReader, profile_idc: u8) -> Result<ChromaFormat, CodecError> {
        let mut format =
            ChromaFormat { chroma_format_idc: 1, separate_planes: false, bit_depth_luma: 8, bit_depth_chroma: 8 };
        if !has_chroma_fields(profile_idc) {
            return Ok(format);
        }
        format.chroma_format_idc = r.exp_golomb_max("chroma_format_idc", 3)? as u8;
        format.separate_planes = format.chroma_format_idc == 3 && r.flag()?;
        format.bit_depth_luma = 8 + r.exp_golomb_max("bit_depth_luma_minus8", 6)? as u8;
        format.bit_depth_chroma = 8 + r.exp_golomb_max("bit_depth_chroma_minus8", 6)? as u8;
        r.skip(1)?;
        if r.flag()? {
            let lists = if format.chroma_format_idc == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.flag()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(format)
    }
}

/// scaling_list() of H.264 7.3.2.1.1.1.
fn skip_scaling_list(r: &mut BitReader, size: usize) -> Result<(), CodecError> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + r.signed_exp_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

/// Skips the picture order count fields and returns pic_order_cnt_type.
fn parse_picture_order(r: &mut BitReader) -> Result<u8, CodecError> {
    let kind = r.exp_golomb_max("pic_order_cnt_type", 2)? as u8;
    match kind {
        0 => {
            r.exp_golomb_max("log2_max_pic_order_cnt_lsb_minus4", 12)?;
        }
        1 => {
            r.skip(1)?;
            r.signed_exp_golomb()?;
            r.signed_exp_golomb()?;
            for _ in 0..r.exp_golomb_max("num_ref_frames_in_pic_order_cnt_cycle", 255)? {
                r.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    Ok(kind)
}

fn parse_size(r: &mut BitReader, format: &ChromaFormat) -> Result<(u32, u32), CodecError> {
    let width_in_mbs = u64::from(r.exp_golomb()?) + 1;
    let height_in_map_units = u64::from(r.exp_golomb()?) + 1;
    let frame_mbs_only = r.flag()?;
    if !frame_mbs_only {
        r.skip(1)?;
    }
    r.skip(1)?;
    let fields = if frame_mbs_only { 1 } else { 2 };
    let (mut width, mut height) = (width_in_mbs * 16, height_in_map_units * 16 * fields);
    if r.flag()? {
        // CropUnitX and CropUnitY, equations 7-19 to 7-22.
        let subsampled = !format.separate_planes;
        let unit_x = if subsampled && matches!(format.chroma_format_idc, 1 | 2) { 2 } else { 1 };
        let unit_y = if subsampled && format.chroma_format_idc == 1 { 2 } else { 1 } * fields;
        let mut edge = || r.exp_golomb().map(u64::from);
        let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
        width = width.saturating_sub((left + right) * unit_x);
        height = height.saturating_sub((top + bottom) * unit_y);
    }
    picture_size(width, height)
}

/// vui_parameters() of H.264 E.1.1, as far as this server uses them.
fn parse_vui(r: &mut BitReader, info: &mut SpsInfo) -> Result<(), CodecError> {
    const EXTENDED_SAR: u32 = 255;
    if r.flag()? && r.bits(8)? == EXTENDED_SAR {
        r.skip(32)?;
    }
    if r.flag()? {
        r.skip(1)?;
    }
    if r.flag()? {
        r.skip(4)?;
        if r.flag()? {
            r.skip(24)?;
        }
    }
    if r.flag()? {
        r.exp_golomb()?;
        r.exp_golomb()?;
    }
    if r.flag()? {
        let (units_in_tick, time_scale) = (r.bits(32)?, r.bits(32)?);
        r.skip(1)?;
        // Two ticks are one frame (E.2.1).
        if units_in_tick > 0 && time_scale > 0 {
            info.frame_rate = Some(f64::from(time_scale) / f64::from(units_in_tick) / 2.0);
        }
    }
    let nal_hrd = r.flag()?;
    if nal_hrd {
        skip_hrd(r)?;
    }
    let vcl_hrd = r.flag()?;
    if vcl_hrd {
        skip_hrd(r)?;
    }
    if nal_hrd || vcl_hrd {
        r.skip(1)?;
    }
    r.skip(1)?;
    if r.flag()? {
        r.skip(1)?;
        for _ in 0..4 {
            r.exp_golomb()?;
        }
        info.max_num_reorder_frames = Some(r.exp_golomb_max("max_num_reorder_frames", 16)?);
    }
    Ok(())
}

/// hrd_parameters() of H.264 E.1.2.
fn skip_hrd(r: &mut BitReader) -> Result<(), CodecError> {
    let count = r.exp_golomb_max("cpb_cnt_minus1", 31)? + 1;
    r.skip(8)?;
    for _ in 0..count {
        r.exp_golomb()?;
        r.exp_golomb()?;
        r.skip(1)?;
    }
    r.skip(20)
}

/// AVCDecoderConfigurationRecord: the body of an `avcC` box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    pub profile_idc: u8,
    pub constraint_flags: u8,
    pub level_idc: u8,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub nal_length_size: u8,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads the record. A record without any SPS is an error: nothing could be decoded with it.
    pub fn parse(data: &[u8]) -> Result<AvcConfig, CodecError> {
        const STRUCTURE: &str = "avcC";
        let truncated = CodecError::Truncated { structure: STRUCTURE };
        let (head, mut rest) = data.split_at_checked(6).ok_or(truncated)?;
        if head[0] != 1 {
            return Err(CodecError::Unsupported { field: "configurationVersion", value: head[0].into() });
        }
        let nal_length_size = match head[4] & 3 {
            2 => return Err(CodecError::Unsupported { field: "lengthSizeMinusOne", value: 2 }),
            size => size + 1,
        };
        let sps = take_sets(&mut rest, head[5] & 0x1f)?;
        let (pps_count, after) = rest.split_first().ok_or(truncated)?;
        rest = after;
        let pps = take_sets(&mut rest, *pps_count)?;
        if sps.is_empty() {
            return Err(CodecError::Missing { structure: "SPS" });
        }
        Ok(AvcConfig { profile_idc: head[1], constraint_flags: head[2], level_idc: head[3], nal_length_size, sps, pps })
    }

    /// A record for access units with 4-byte lengths. Takes profile and level from the first SPS.
    pub fn from_parameter_sets(sps: &[Bytes], pps: &[Bytes]) -> Result<AvcConfig, CodecError> {
        let first = sps.first().ok_or(CodecError::Missing { structure: "SPS" })?;
        let info = parse_sps(first)?;
        if pps.is_empty() {
            return Err(CodecError::Missing { structure: "PPS" });
        }
        for (field, count, max) in [("SPS count", sps.len(), 31), ("PPS count", pps.len(), 255)] {
            if count > max {
                return Err(CodecError::OutOfRange { field, value: count as u64, max: max as u64 });
            }
        }
        if let Some(set) = sps.iter().chain(pps).find(|set| set.len() > MAX_PARAMETER_SET) {
            let (value, max) = (set.len() as u64, MAX_PARAMETER_SET as u64);
            return Err(CodecError::OutOfRange { field: "parameter set size", value, max });
        }
        Ok(AvcConfig {
            profile_idc: info.profile_idc,
            constraint_flags: info.constraint_flags,
            level_idc: info.level_idc,
            nal_length_size: 4,
            sps: sps.to_vec(),
            pps: pps.to_vec(),
        })
    }

    /// Writes the record, with the chroma fields where the profile has them (ISO 14496-15 5.3.3.1.2).
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&[1, self.profile_idc, self.constraint_flags, self.level_idc]);
        out.put_u8(0xfc | self.nal_length_size.saturating_sub(1) & 3);
        out.put_u8(0xe0 | self.sps.len().min(31) as u8);
        put_sets(&mut out, self.sps.iter().take(31));
        out.put_u8(self.pps.len().min(255) as u8);
        put_sets(&mut out, self.pps.iter().take(255));
        if matches!(self.profile_idc, 100 | 110 | 122 | 144)
            && let Ok(info) = self.sps_info()
        {
            out.put_u8(0xfc | info.chroma_format_idc);
            out.put_u8(0xf8 | (info.bit_depth_luma - 8));
            out.put_u8(0xf8 | (info.bit_depth_chroma - 8));
            out.put_u8(0);
        }
        out.freeze()
    }

    /// The first SPS, read.
    pub fn sps_info(&self) -> Result<SpsInfo, CodecError> {
        parse_sps(self.sps.first().ok_or(CodecError::Missing { structure: "SPS" })?)
    }

    /// `avc1.PPCCLL` (RFC 6381 section 3.3).
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile_idc, self.constraint_flags, self.level_idc)
    }
}

/// RFC 6381 codec string of an avcC body.
pub fn codec_string(avcc: &[u8]) -> Result<String, CodecError> {
    AvcConfig::parse(avcc).map(|config| config.codec_string())
}

/// Takes `count` parameter sets, each behind a 16-bit length.
fn take_sets(rest: &mut &[u8], count: u8) -> Result<Vec<Bytes>, CodecError> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let truncated = CodecError::Truncated { structure: "parameter set" };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let (set, after) = after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(truncated)?;
        if !set.is_empty() {
            sets.push(Bytes::copy_from_slice(set));
        }
        *rest = after;
    }
    Ok(sets)
}

fn put_sets<'a>(out: &mut BytesMut, sets: impl Iterator<Item = &'a Bytes>) {
    for set in sets {
        out.put_u16(set.len().min(u16::MAX.into()) as u16);
        out.put_slice(&set[..set.len().min(u16::MAX.into())]);
    }
}

/// One access unit taken apart: the picture in the stream's own form, and the parameter sets found in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
    /// 4-byte length-prefixed NAL units without parameter sets, delimiters and filler; empty when there
    /// was no picture.
    pub data: Bytes,
    pub keyframe: bool,
    pub has_b_slice: bool,
}

/// Sorts the NAL units of one access unit into a [`Picture`].
pub fn picture<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Picture {
    let mut out = Picture::default();
    let mut data = BytesMut::new();
    let mut has_slice = false;
    for nal in nals {
        match nal_type(nal) {
            NAL_SPS => out.sps.push(Bytes::copy_from_slice(nal)),
            NAL_PPS => out.pps.push(Bytes::copy_from_slice(nal)),
            NAL_ACCESS_UNIT_DELIMITER | NAL_END_OF_SEQUENCE | NAL_END_OF_STREAM | NAL_FILLER => {}
            kind => {
                out.keyframe |= kind == NAL_IDR;
                out.has_b_slice |= slice_type(nal) == Some(SliceType::B);
                has_slice |= (NAL_SLICE..=NAL_IDR).contains(&kind);
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
#[path = "h264_tests.rs"]
mod tests;
