//! Reading bits, most significant first, with Exp-Golomb and LEB128 numbers.

use super::CodecError;

/// A bounded reader of bits; every read says what it was reading when the data ends too early.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// Position in bits.
    position: usize,
    structure: &'static str,
}

impl<'a> BitReader<'a> {
    /// `structure` names what is being read, for the error.
    pub fn new(data: &'a [u8], structure: &'static str) -> BitReader<'a> {
        BitReader { data, position: 0, structure }
    }

    fn truncated(&self) -> CodecError {
        CodecError::Truncated { structure: self.structure }
    }

    /// Bits left.
    pub fn remaining(&self) -> usize {
        self.data.len() * 8 - self.position
    }

    pub fn skip(&mut self, bits: usize) -> Result<(), CodecError> {
        if bits > self.remaining() {
            return Err(self.truncated());
        }
        self.position += bits;
        Ok(())
    }

    pub fn flag(&mut self) -> Result<bool, CodecError> {
        let byte = *self.data.get(self.position / 8).ok_or_else(|| self.truncated())?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// An unsigned number of `count` bits, at most 32.
    pub fn bits(&mut self, count: u32) -> Result<u32, CodecError> {
        debug_assert!(count <= 32);
        if count as usize > self.remaining() {
            return Err(self.truncated());
        }
        let mut value = 0u64;
        for _ in 0..count {
            value = value << 1 | u64::from(self.flag()?);
        }
        Ok(value as u32)
    }

    pub fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.bits(8)? as u8)
    }

    /// ue(v) of H.264 9.1 and H.265 9.2: at most 32 leading zeros.
    pub fn exp_golomb(&mut self) -> Result<u32, CodecError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(CodecError::OutOfRange { field: self.structure, value: zeros, max: 31 });
            }
        }
        let suffix = u64::from(self.bits(zeros as u32)?);
        Ok(((1u64 << zeros) - 1 + suffix) as u32)
    }

    /// ue(v) with the bound the specification gives for `field`.
    pub fn exp_golomb_max(&mut self, field: &'static str, max: u32) -> Result<u32, CodecError> {
        let value = self.exp_golomb()?;
        if value > max {
            return Err(CodecError::OutOfRange { field, value: value.into(), max: max.into() });
        }
        Ok(value)
    }

    /// se(v) of H.264 9.1.1.
    pub fn signed_exp_golomb(&mut self) -> Result<i64, CodecError> {
        let code = i64::from(self.exp_golomb()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }

    /// leb128() of AV1 4.10.5: at most 8 bytes, value below 2^32. Only on a byte border.
    pub fn leb128(&mut self) -> Result<u32, CodecError> {
        let mut value = 0u64;
        for index in 0..8 {
            let byte = u64::from(self.byte()?);
            value |= (byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| CodecError::OutOfRange {
                    field: "leb128",
                    value,
                    max: u32::MAX.into(),
                });
            }
        }
        Err(CodecError::Unsupported { field: "leb128 length", value: 9 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_of_the_specification_table() {
        // 1 | 010 | 011 | 00100 | 00111 with padding (H.264 table 9-2).
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000], "test");
        let values: Vec<u32> = (0..5).map(|_| reader.exp_golomb().unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 6]);
    }

    #[test]
    fn signed_codes_alternate() {
        let mut reader = BitReader::new(&[0b0100_1100, 0b1000_0101, 0], "test");
        let values: Vec<i64> = (0..4).map(|_| reader.signed_exp_golomb().unwrap()).collect();
        assert_eq!(values, [1, -1, 2, -2]);
    }

    #[test]
    fn ends_are_errors() {
        assert_eq!(BitReader::new(&[], "x").flag(), Err(CodecError::Truncated { structure: "x" }));
        assert!(BitReader::new(&[0; 8], "x").exp_golomb().is_err());
        assert!(BitReader::new(&[0xff; 9], "x").leb128().is_err());
        assert_eq!(BitReader::new(&[0xe5, 0x8e, 0x26], "x").leb128(), Ok(624_485));
    }
}
