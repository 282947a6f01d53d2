//! The RTCP a sender owes its receivers: sender reports with a CNAME (RFC 3550 section 6.4.1 and 6.5), goodbye (6.6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RTCP packet types (RFC 3550 section 12.1).
pub const SENDER_REPORT: u8 = 200;
pub const SOURCE_DESCRIPTION: u8 = 202;
pub const GOODBYE: u8 = 203;

/// Seconds between the NTP era (1900) and the Unix epoch (1970).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// Wall clock as a 64-bit NTP timestamp: seconds in the upper half, fractions in the lower.
pub fn ntp_timestamp(wall_clock: SystemTime) -> u64 {
    let since = wall_clock.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // The seconds wrap in 2036 (NTP era 1); receivers compare modulo.
    let seconds = (since.as_secs() + NTP_TO_UNIX_S) & 0xffff_ffff;
    (seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// What a sender says about one stream; receivers map its RTP time to the common wall clock by it (lip sync).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    pub ssrc: u32,
    /// The same moment on both clocks.
    pub ntp_timestamp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

impl SenderReport {
    /// Appends the report without reception blocks (28 bytes).
    pub fn put(&self, out: &mut Vec<u8>) {
        put_header(out, 0, SENDER_REPORT, 6);
        out.extend(self.ssrc.to_be_bytes());
        out.extend(self.ntp_timestamp.to_be_bytes());
        out.extend(self.rtp_timestamp.to_be_bytes());
        out.extend(self.packets.to_be_bytes());
        out.extend(self.octets.to_be_bytes());
    }
}

/// Appends the source description with the canonical name of `ssrc`, cut to 255 bytes. Streams with one name
/// are synchronised with each other.
pub fn put_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    const CNAME: u8 = 1;
    let name = &cname.as_bytes()[..cname.len().min(255)];
    // SSRC, item header and name, then 1 to 4 zero bytes up to a word.
    let words = (4 + 2 + name.len() + 1).div_ceil(4);
    put_header(out, 1, SOURCE_DESCRIPTION, words as u16);
    let end = out.len() + words * 4;
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, name.len() as u8]);
    out.extend(name);
    out.resize(end, 0);
}

/// Appends the goodbye of `ssrc`.
pub fn put_goodbye(out: &mut Vec<u8>, ssrc: u32) {
    put_header(out, 1, GOODBYE, 1);
    out.extend(ssrc.to_be_bytes());
}

fn put_header(out: &mut Vec<u8>, count: u8, packet_type: u8, words: u16) {
    const VERSION_2: u8 = 0x80;
    out.extend([VERSION_2 | count, packet_type]);
    out.extend(words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compound_report_has_whole_words() {
        let report = SenderReport { ssrc: 1, ntp_timestamp: 2 << 32, rtp_timestamp: 3, packets: 4, octets: 5 };
        let mut out = Vec::new();
        report.put(&mut out);
        assert_eq!(out[..12], [0x80, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!((out.len(), out[27]), (28, 5));
        for length in 0..10 {
            let mut description = Vec::new();
            put_cname(&mut description, 7, &"x".repeat(length));
            let words = usize::from(u16::from_be_bytes([description[2], description[3]]));
            assert_eq!(description.len(), 4 * (words + 1), "{length}");
            assert_eq!(description[8..10], [1, length as u8]);
            assert_eq!(description.last(), Some(&0));
        }
        put_goodbye(&mut out, 9);
        assert_eq!(out[28..], [0x81, 203, 0, 1, 0, 0, 0, 9]);
    }

    #[test]
    fn ntp_time_of_the_unix_epoch_and_half_a_second() {
        assert_eq!(ntp_timestamp(UNIX_EPOCH), 2_208_988_800 << 32);
        let half = ntp_timestamp(UNIX_EPOCH + Duration::from_millis(500));
        assert_eq!(half & 0xffff_ffff, 1 << 31);
    }
}
