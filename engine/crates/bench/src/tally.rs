//! Counting RTP packets against the source's own rate, from their clear headers.
//!
//! Sequence numbers alone cannot show a loss that the server renumbered away, and a count between two instants differs by a frame
//! from viewer to viewer. So each track of each viewer is counted over the same stretch of *media*: from the start of a frame
//! until the RTP timestamp has advanced by a fixed number of frames. When that stretch is a whole number of loops of the source,
//! all viewers must count the same, whatever frame they began with.

use std::collections::VecDeque;

/// Sequence numbers remembered behind the newest one, to count a packet once: 4 s of a 2.7 Mb/s stream.
const REMEMBERED: usize = 1024;
/// Timestamps remembered, to tell a late frame from a late packet of a frame already counted: as long as the packets above.
const REMEMBERED_FRAMES: usize = 128;

/// The fields of an RTP header that are not encrypted (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpFields {
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl RtpFields {
    /// None when the datagram is not RTP: STUN and DTLS by the first byte, RTCP by the payload type (RFC 7983, RFC 5761 section 4).
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let header: &[u8; 12] = datagram.first_chunk()?;
        let payload_type = header[1] & 0x7f;
        if header[0] >> 6 != 2 || (64..96).contains(&payload_type) {
            return None;
        }
        Some(Self {
            payload_type,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        })
    }
}

/// The stretch of media to count.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// RTP clock ticks from one frame to the next.
    pub frame_ticks: u32,
    pub frames: u64,
}

/// What one track of one viewer received in the stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Distinct packets.
    pub packets: u64,
    /// Packets by the span of sequence numbers.
    pub span: u64,
    /// Distinct frames (timestamps).
    pub frames: u64,
    /// The timestamp has advanced by the whole stretch.
    pub complete: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is counted yet.
    Idle,
    /// Counting begins with the next frame.
    Armed(Stretch),
    Running {
        stretch: Stretch,
        first_sequence: u64,
        /// Frames the source has advanced since the first, by timestamp.
        advanced: u64,
    },
    Done,
}

/// Follows one SSRC.
#[derive(Clone, Debug)]
pub struct TrackTally {
    seen: SeenSequences,
    /// Of the newest frame.
    timestamp: u32,
    /// Of the frames counted last.
    counted: VecDeque<u32>,
    phase: Phase,
    count: Count,
}

impl TrackTally {
    pub fn new(first: RtpFields) -> Self {
        Self {
            seen: SeenSequences::new(first.sequence),
            timestamp: first.timestamp,
            counted: VecDeque::with_capacity(REMEMBERED_FRAMES),
            phase: Phase::Idle,
            count: Count::default(),
        }
    }

    /// Counts from the next frame on.
    pub fn arm(&mut self, stretch: Stretch) {
        self.phase = Phase::Armed(stretch);
        self.count = Count::default();
        self.counted.clear();
    }

    pub fn packet(&mut self, fields: RtpFields) {
        let highest = self.seen.highest;
        let (sequence, is_new) = self.seen.insert(fields.sequence);
        if !is_new {
            return;
        }
        // Signed 32-bit distance, as the timestamp wraps.
        let ticks = fields.timestamp.wrapping_sub(self.timestamp).cast_signed();
        let new_frame = sequence > highest && ticks > 0;
        if new_frame {
            self.timestamp = fields.timestamp;
            self.new_frame(sequence, ticks.unsigned_abs());
        }
        if let Phase::Running { first_sequence, .. } = self.phase
            && sequence >= first_sequence
        {
            self.count.packets += 1;
            self.count.span = self.seen.highest - first_sequence + 1;
            self.count_frame(fields.timestamp);
        }
    }

    fn count_frame(&mut self, timestamp: u32) {
        // Newest first: nearly every packet belongs to the frame counted last.
        if self.counted.iter().rev().any(|counted| *counted == timestamp) {
            return;
        }
        if self.counted.len() == REMEMBERED_FRAMES {
            self.counted.pop_front();
        }
        self.counted.push_back(timestamp);
        self.count.frames += 1;
    }

    fn new_frame(&mut self, sequence: u64, ticks: u32) {
        match &mut self.phase {
            Phase::Armed(stretch) => {
                self.phase = Phase::Running { stretch: *stretch, first_sequence: sequence, advanced: 0 };
            }
            Phase::Running { stretch, first_sequence, advanced } => {
                // To the nearest frame: RTMP rounds to milliseconds, and the seam of the source's loop need not be exact.
                *advanced += u64::from((ticks + stretch.frame_ticks / 2) / stretch.frame_ticks).max(1);
                if *advanced >= stretch.frames {
                    self.count.span = sequence - *first_sequence;
                    self.count.complete = true;
                    self.phase = Phase::Done;
                }
            }
            Phase::Idle | Phase::Done => {}
        }
    }

    pub fn count(&self) -> Count {
        self.count
    }
}

/// Extends 16-bit sequence numbers and tells first arrivals from repeats.
#[derive(Clone, Debug)]
struct SeenSequences {
    highest: u64,
    bits: Box<[u64; REMEMBERED / 64]>,
}

impl SeenSequences {
    /// Starts one wrap above zero, so that packets before the first can be told as well.
    fn new(first: u16) -> Self {
        let mut seen = Self { highest: u64::from(first) + (1 << 16), bits: Box::new([0; REMEMBERED / 64]) };
        seen.mark(seen.highest);
        seen
    }

    /// The extended number, and whether it arrived for the first time. Numbers too far back to remember count as repeats.
    fn insert(&mut self, sequence: u16) -> (u64, bool) {
        let distance = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let extended = self.highest.saturating_add_signed(i64::from(distance));
        if distance > 0 {
            for skipped in self.highest + 1..=extended {
                self.clear(skipped);
            }
            self.highest = extended;
        } else if self.highest - extended >= REMEMBERED as u64 {
            return (extended, false);
        }
        (extended, self.mark(extended))
    }

    fn position(sequence: u64) -> (usize, u64) {
        let index = (sequence % REMEMBERED as u64) as usize;
        (index / 64, 1 << (index % 64))
    }

    fn clear(&mut self, sequence: u64) {
        let (word, bit) = Self::position(sequence);
        self.bits[word] &= !bit;
    }

    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = Self::position(sequence);
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRETCH: Stretch = Stretch { frame_ticks: 3000, frames: 60 };

    fn fields(sequence: u16, timestamp: u32) -> RtpFields {
        RtpFields { payload_type: 96, sequence, timestamp, ssrc: 1 }
    }

    /// Frames 0..`frames` of a source that loops after 4 frames of 7, 1, 2 and 3 packets, with sequence and timestamp about to wrap.
    fn source(frames: u32) -> Vec<RtpFields> {
        let mut sequence = 65_500u16;
        let mut packets = Vec::new();
        for frame in 0..frames {
            for _ in 0..[7, 1, 2, 3][frame as usize % 4] {
                packets.push(fields(sequence, (u32::MAX - 5000).wrapping_add(frame * 3000)));
                sequence = sequence.wrapping_add(1);
            }
        }
        packets
    }

    /// The count of a viewer who gets these packets and is armed after `armed_after` of them.
    fn count(packets: &[RtpFields], armed_after: usize) -> Count {
        let mut tally = TrackTally::new(packets[0]);
        for (index, packet) in packets.iter().enumerate() {
            if index == armed_after {
                tally.arm(STRETCH);
            }
            tally.packet(*packet);
        }
        tally.count()
    }

    const WHOLE: Count = Count { packets: 15 * 13, span: 15 * 13, frames: 60, complete: true };

    #[test]
    fn every_viewer_counts_the_same_whenever_it_begins() {
        for armed_after in 1..40 {
            assert_eq!(count(&source(80), armed_after), WHOLE, "armed after {armed_after}");
        }
    }

    #[test]
    fn a_lost_packet_shows() {
        let mut packets = source(80);
        packets.remove(40);
        assert_eq!(count(&packets, 3), Count { packets: 15 * 13 - 1, ..WHOLE });
    }

    #[test]
    fn a_loss_the_server_renumbered_away_still_shows() {
        let mut packets = source(80);
        // Two whole frames are dropped (20 and 21, of 7 and 1 packets) and the rest renumbered without a gap.
        packets.retain(|packet| !matches!(packet.timestamp.wrapping_sub(u32::MAX - 5000) / 3000, 20 | 21));
        for (index, packet) in packets.iter_mut().enumerate() {
            packet.sequence = 65_500u16.wrapping_add(index as u16);
        }
        assert_eq!(count(&packets, 3), Count { packets: 15 * 13 - 8, span: 15 * 13 - 8, frames: 58, complete: true });
    }

    #[test]
    fn repeats_count_once_and_late_packets_count() {
        let mut packets = source(80);
        packets.insert(50, packets[45]);
        packets.swap(60, 61);
        let late = packets.remove(70);
        packets.insert(90, late);
        assert_eq!(count(&packets, 3), WHOLE);
    }

    #[test]
    fn a_stretch_that_does_not_end_is_incomplete() {
        let counted = count(&source(40), 3);
        assert!(!counted.complete && counted.frames < 60 && counted.packets == counted.span, "{counted:?}");
    }

    #[test]
    fn uneven_timestamps_round_to_frames() {
        let mut packets = source(80);
        for packet in &mut packets {
            // 33 and 34 ms instead of 33.3, and a loop seam of 10 ms after frame 30.
            let frame = packet.timestamp.wrapping_sub(u32::MAX - 5000) / 3000;
            packet.timestamp = frame * 100 / 3 * 90 + if frame > 30 { 900 } else { 0 };
        }
        assert_eq!(count(&packets, 3), WHOLE);
    }

    #[test]
    fn only_rtp_is_rtp() {
        let mut packet = vec![0x80, 96, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5, 1, 2, 3];
        assert_eq!(RtpFields::parse(&packet), Some(RtpFields { payload_type: 96, sequence: 7, timestamp: 9, ssrc: 5 }));
        packet[1] = 0x80 | 111;
        assert_eq!(RtpFields::parse(&packet).map(|fields| fields.payload_type), Some(111));
        packet[1] = 200;
        assert_eq!(RtpFields::parse(&packet), None, "RTCP");
        packet[0] = 22;
        assert_eq!(RtpFields::parse(&packet), None, "DTLS");
        assert_eq!(RtpFields::parse(&packet[..11]), None);
    }
}
