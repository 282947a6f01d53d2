//! The fixed RTP header (RFC 3550 section 5.1).

/// Bytes of the fixed header.
pub const FIXED_HEADER: usize = 12;

/// The fields of a fixed header without CSRCs and extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    pub marker: bool,
    /// 7 bits.
    pub payload_type: u8,
    pub sequence: u16,
    /// In ticks of the payload's clock.
    pub timestamp: u32,
    pub ssrc: u32,
}

impl RtpHeader {
    pub fn to_bytes(self) -> [u8; FIXED_HEADER] {
        const VERSION_2: u8 = 0x80;
        let [s1, s0] = self.sequence.to_be_bytes();
        let [t3, t2, t1, t0] = self.timestamp.to_be_bytes();
        let [i3, i2, i1, i0] = self.ssrc.to_be_bytes();
        let marker = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        [VERSION_2, marker, s1, s0, t3, t2, t1, t0, i3, i2, i1, i0]
    }

    /// Reads a packet; the payload is what is left without CSRCs, extension and padding. None when it is no
    /// RTP packet or its lengths do not fit.
    pub fn parse(packet: &[u8]) -> Option<(RtpHeader, &[u8])> {
        let (fixed, rest) = packet.split_first_chunk::<FIXED_HEADER>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut rest = rest.get(4 * usize::from(fixed[0] & 0x0f)..)?;
        if fixed[0] & 0x10 != 0 {
            let extension = rest.first_chunk::<4>()?;
            rest = rest.get(4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))..)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding.max(1))?)?;
        }
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let header = RtpHeader {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(4),
            ssrc: word(8),
        };
        Some((header, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::mutate;

    const HEADER: RtpHeader =
        RtpHeader { marker: true, payload_type: 102, sequence: 0xfffe, timestamp: 90_000, ssrc: 0xdead_beef };

    #[test]
    fn a_header_round_trips() {
        let mut packet = HEADER.to_bytes().to_vec();
        packet.extend([1, 2, 3]);
        assert_eq!(RtpHeader::parse(&packet), Some((HEADER, &[1u8, 2, 3][..])));
    }

    #[test]
    fn csrcs_extension_and_padding_are_not_payload() {
        let mut packet = HEADER.to_bytes().to_vec();
        packet[0] |= 0x20 | 0x10 | 1;
        packet.extend([9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 7, 8, 0, 2]);
        assert_eq!(RtpHeader::parse(&packet).map(|(_, payload)| payload), Some(&[7u8, 8][..]));
        mutate(&packet, 20_000, |bytes| {
            RtpHeader::parse(bytes);
        });
    }
}
