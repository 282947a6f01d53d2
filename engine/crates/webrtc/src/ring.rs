//! The plaintext packets of one track, kept once per stream for joins and retransmissions.

use bytes::Bytes;
use std::collections::VecDeque;

/// Retransmissions reach back this far even when the GOP is short: 1,024 video packets are 3 s at 2.7 Mb/s.
const KEEP_PACKETS: usize = 1024;
/// Beyond this the group of pictures is not kept whole, and joiners wait for the next keyframe.
const MAX_BYTES: usize = 16 << 20;

/// One RTP payload with what its header needs, the same for every viewer.
#[derive(Debug, Clone)]
pub struct RingPacket {
    pub payload: Bytes,
    pub timestamp: u32,
    pub marker: bool,
    /// Number of its frame within this ring, counting from 0.
    pub frame: u64,
}

/// Packets by their sequence number within the track (a 64-bit count from 0, not the wire's).
#[derive(Default)]
pub struct TrackRing {
    packets: VecDeque<RingPacket>,
    first: u64,
    bytes: usize,
    /// Where the newest keyframe starts, while it is still here.
    keyframe: Option<u64>,
    frames: u64,
    last_timestamp: u32,
}

impl TrackRing {
    /// The sequence number the next packet will get.
    pub fn head(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub fn keyframe(&self) -> Option<u64> {
        self.keyframe
    }

    /// Number and timestamp of the newest frame, once there is one.
    pub fn newest_frame(&self) -> Option<(u64, u32)> {
        self.frames.checked_sub(1).map(|frame| (frame, self.last_timestamp))
    }

    pub fn get(&self, sequence: u64) -> Option<&RingPacket> {
        self.packets.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Appends the payloads of one frame; the last one carries the marker if `marks_end`.
    pub fn push_frame(&mut self, payloads: &[Bytes], timestamp: u32, keyframe: bool, marks_end: bool) {
        if payloads.is_empty() {
            return;
        }
        if keyframe {
            self.keyframe = Some(self.head());
        }
        for (index, payload) in payloads.iter().enumerate() {
            self.bytes += payload.len();
            self.packets.push_back(RingPacket {
                payload: payload.clone(),
                timestamp,
                marker: marks_end && index + 1 == payloads.len(),
                frame: self.frames,
            });
        }
        self.frames += 1;
        self.last_timestamp = timestamp;
        self.trim();
    }

    /// Forgets the join point: what follows cannot be decoded from what is here.
    pub fn forget_keyframe(&mut self) {
        self.keyframe = None;
    }

    fn trim(&mut self) {
        let needed = self.keyframe.unwrap_or(u64::MAX);
        let spare = |ring: &Self| ring.packets.len() > KEEP_PACKETS && ring.first < needed;
        while spare(self) || self.bytes > MAX_BYTES {
            let Some(old) = self.packets.pop_front() else { return };
            self.bytes -= old.payload.len();
            if self.keyframe == Some(self.first) {
                self.keyframe = None;
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(packets: usize, size: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![7; size]); packets]
    }

    #[test]
    fn keeps_the_whole_group_of_pictures_and_then_lets_it_go() {
        let mut ring = TrackRing::default();
        ring.push_frame(&frame(10, 100), 0, true, true);
        for number in 1..2000u32 {
            ring.push_frame(&frame(1, 100), number, false, true);
        }
        assert_eq!(ring.keyframe(), Some(0));
        assert!(ring.get(0).is_some());
        ring.push_frame(&frame(1, 100), 2000, true, true);
        assert_eq!(ring.keyframe(), Some(2009));
        assert!(ring.get(0).is_none());
        assert_eq!(ring.head() - ring.first, KEEP_PACKETS as u64);
    }

    #[test]
    fn memory_is_bounded_without_keyframes() {
        let mut ring = TrackRing::default();
        ring.push_frame(&frame(1, 1000), 0, true, true);
        for number in 0..20_000u32 {
            ring.push_frame(&frame(1, 1000), number, false, true);
        }
        assert!(ring.bytes <= MAX_BYTES);
        assert_eq!(ring.keyframe(), None);
    }

    #[test]
    fn only_the_last_packet_of_a_frame_is_marked() {
        let mut ring = TrackRing::default();
        ring.push_frame(&frame(3, 10), 5, true, true);
        let marks: Vec<bool> = (0..3).map(|n| ring.get(n).unwrap().marker).collect();
        assert_eq!(marks, [false, false, true]);
        assert_eq!(ring.newest_frame(), Some((0, 5)));
    }
}
