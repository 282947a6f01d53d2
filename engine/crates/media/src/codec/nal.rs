//! NAL units as H.264 and H.265 share them: Annex B and length-prefixed framing, emulation prevention.

use super::CodecError;
use bytes::{BufMut, Bytes, BytesMut};

/// NAL units of an Annex B byte stream (H.264 and H.265 Annex B), without start codes and trailing zeros.
pub fn split_annexb(data: &[u8]) -> AnnexB<'_> {
    let rest = match find_start_code(data, 0) {
        Some(at) => &data[at + 3..],
        None => &[],
    };
    AnnexB { rest }
}

/// See [`split_annexb`].
#[derive(Debug, Clone)]
pub struct AnnexB<'a> {
    /// What follows the last start code.
    rest: &'a [u8],
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (nal, rest) = match find_start_code(self.rest, 0) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if end > 0 {
                return Some(&nal[..end]);
            }
        }
        None
    }
}

/// Index of the next `00 00 01` at or after `from`.
fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut index = from;
    while index + 2 < data.len() {
        // The third byte decides how far one may step.
        match data[index + 2] {
            0 => index += 1,
            1 if data[index] == 0 && data[index + 1] == 0 => return Some(index),
            _ => index += 3,
        }
    }
    None
}

/// NAL units each behind a big-endian length of `length_size` bytes (1, 2 or 4). After an error it ends.
pub fn nals_with_length_size(data: &[u8], length_size: usize) -> LengthPrefixed<'_> {
    LengthPrefixed { rest: data, length_size: length_size.clamp(1, 4) }
}

/// NAL units of an [`AccessUnit`](crate::AccessUnit): each behind a 4-byte length.
pub fn nals(data: &[u8]) -> LengthPrefixed<'_> {
    nals_with_length_size(data, 4)
}

/// See [`nals`]. Empty NAL units are skipped.
#[derive(Debug, Clone)]
pub struct LengthPrefixed<'a> {
    rest: &'a [u8],
    length_size: usize,
}

impl<'a> Iterator for LengthPrefixed<'a> {
    type Item = Result<&'a [u8], CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let Some((prefix, rest)) = self.rest.split_at_checked(self.length_size) else {
                self.rest = &[];
                return Some(Err(CodecError::Truncated { structure: "NAL unit length" }));
            };
            let length = prefix.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            let Some((nal, rest)) = rest.split_at_checked(length) else {
                self.rest = &[];
                return Some(Err(CodecError::Truncated { structure: "NAL unit" }));
            };
            self.rest = rest;
            if !nal.is_empty() {
                return Some(Ok(nal));
            }
        }
        None
    }
}

/// Joins NAL units, each behind a 4-byte length.
pub fn length_prefixed<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    for nal in nals {
        put_length_prefixed(&mut out, nal);
    }
    out.freeze()
}

pub(crate) fn put_length_prefixed(out: &mut BytesMut, nal: &[u8]) {
    // A NAL unit comes out of one message of at most some MiB; 4 GiB cannot happen.
    let length = u32::try_from(nal.len()).unwrap_or(u32::MAX);
    out.put_u32(length);
    out.put_slice(nal);
}

/// The payload behind `header_len` bytes of NAL header with emulation prevention removed, at most `max`
/// bytes of it: parsers need only the beginning (H.264 7.4.1, H.265 7.4.2).
pub(crate) fn unescape(nal: &[u8], header_len: usize, max: usize) -> Vec<u8> {
    let payload = nal.get(header_len..).unwrap_or_default();
    let mut out = Vec::with_capacity(payload.len().min(max));
    let mut zeros = 0;
    for byte in payload {
        if out.len() == max {
            break;
        }
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annexb_with_both_start_codes_and_trailing_zeros() {
        let data = [9, 0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 3, 0, 0];
        let found: Vec<&[u8]> = split_annexb(&data).collect();
        assert_eq!(found, [&[0x67, 1][..], &[0x68, 2], &[0x65, 0, 0, 3]]);
        assert_eq!(split_annexb(&[1, 2, 3]).count(), 0);
        assert_eq!(split_annexb(&[0, 0, 1]).count(), 0);
    }

    #[test]
    fn length_prefixes_round_trip_and_truncation_is_one_error() {
        let joined = length_prefixed([&[1u8, 2, 3][..], &[4]]);
        let split: Result<Vec<&[u8]>, _> = nals(&joined).collect();
        assert_eq!(split.unwrap(), [&[1, 2, 3][..], &[4]]);
        let results: Vec<_> = nals(&joined[..joined.len() - 1]).collect();
        assert_eq!(results.len(), 2);
        assert_eq!(results[1], Err(CodecError::Truncated { structure: "NAL unit" }));
        assert_eq!(nals_with_length_size(&[0, 1, 7, 0, 0], 2).collect::<Vec<_>>(), [Ok(&[7][..])]);
    }

    #[test]
    fn emulation_prevention_is_removed() {
        assert_eq!(unescape(&[0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3], 1, 99), [0, 0, 1, 0, 0, 0, 0, 3]);
        assert_eq!(unescape(&[0x67, 5, 6, 7], 1, 2), [5, 6]);
        assert!(unescape(&[], 1, 2).is_empty());
    }
}
