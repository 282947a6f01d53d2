//! One viewer's egress: which packets it has had, and how they look on its wire.
//!
//! A viewer is a cursor into the stream's rings. Being slow costs it nothing here and nobody else
//! anything: packets are patched (20 header bytes), sealed and sent, never queued.

use crate::ring::{RingPacket, TrackRing};
use crate::srtp::Sealer;
use std::net::SocketAddr;
use tallylight_udp::{PeerAddress, SendBatch, UdpSocket};

/// RTP header without extensions or CSRCs (RFC 3550 section 5.1).
pub const RTP_HEADER: usize = 12;
/// Spacing of cached frames on a joiner's RTP clock: 1 ms. With their true timestamps Chromium would play
/// the cached two seconds in real time and stay two seconds behind; squeezed, it decodes through them.
const CATCH_UP_FRAME_TICKS: u32 = 90;
/// Retransmissions may use this share of what was sent (hardening matrix E7), and this much at once.
const RETRANSMIT_SHARE: u64 = 5;
const RETRANSMIT_BURST_BYTES: u64 = 256 << 10;

/// One track towards one viewer.
pub struct Lane {
    pub ssrc: u32,
    pub payload_type: u8,
    /// Next ring sequence to send; None until a start is found.
    cursor: Option<u64>,
    /// Wire sequence (extended) of the next packet, and of the first one since the last jump.
    wire_next: u64,
    run_wire: u64,
    /// Ring sequence of the first packet since the last jump.
    run_ring: u64,
    /// Cached frames up to this one get squeezed timestamps: (frame number, its timestamp).
    squeeze_until: Option<(u64, u32)>,
    pub packets: u64,
    pub octets: u64,
}

impl Lane {
    /// `first_wire_sequence` is random below 2^15, so that the first wrap is never near (RFC 3711 section 3.3.1).
    pub fn new(ssrc: u32, payload_type: u8, first_wire_sequence: u16) -> Lane {
        let wire = u64::from(first_wire_sequence & 0x7fff);
        Lane {
            ssrc,
            payload_type,
            cursor: None,
            wire_next: wire,
            run_wire: wire,
            run_ring: 0,
            squeeze_until: None,
            packets: 0,
            octets: 0,
        }
    }

    fn start_at(&mut self, ring_sequence: u64, squeeze_until: Option<(u64, u32)>) {
        self.cursor = Some(ring_sequence);
        self.run_ring = ring_sequence;
        self.run_wire = self.wire_next;
        self.squeeze_until = squeeze_until;
    }

    /// Everything in the ring has been sent.
    fn caught_up(&self, ring: &TrackRing) -> bool {
        self.cursor.is_none_or(|cursor| cursor >= ring.head())
    }

    fn timestamp(&self, packet: &RingPacket) -> u32 {
        match self.squeeze_until {
            Some((frame, timestamp)) if packet.frame < frame => {
                let behind = u32::try_from(frame - packet.frame).unwrap_or(u32::MAX);
                timestamp.wrapping_sub(behind.wrapping_mul(CATCH_UP_FRAME_TICKS))
            }
            _ => packet.timestamp,
        }
    }

    /// The ring sequence behind a 16-bit wire sequence number near the newest one sent.
    fn ring_of_wire(&self, wire: u16) -> Option<(u64, u64)> {
        let newest = self.wire_next.checked_sub(1)?;
        let extended = newest.checked_sub(u64::from((newest as u16).wrapping_sub(wire)))?;
        let since_jump = extended.checked_sub(self.run_wire)?;
        Some((self.run_ring + since_jump, extended))
    }
}

/// What one call of [`Viewer::send`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub packets: usize,
    pub bytes: usize,
    /// The viewer had fallen out of the ring and now waits for a keyframe.
    pub jumped: bool,
}

pub struct Viewer {
    /// Index of its session in the shard.
    pub session: usize,
    pub remote: SocketAddr,
    address: PeerAddress,
    pub sealer: Sealer,
    pub video: Option<Lane>,
    pub audio: Option<Lane>,
    retransmit_budget: u64,
}

impl Viewer {
    pub fn new(session: usize, remote: SocketAddr, sealer: Sealer, video: Option<Lane>, audio: Option<Lane>) -> Viewer {
        Viewer {
            session,
            remote,
            address: PeerAddress::from(remote),
            sealer,
            video,
            audio,
            retransmit_budget: RETRANSMIT_BURST_BYTES,
        }
    }

    /// Finds where to start: video at the newest keyframe, audio with what comes next. False: no keyframe yet.
    pub fn start(&mut self, video: &TrackRing, audio: &TrackRing) -> bool {
        if let Some(lane) = self.audio.as_mut().filter(|lane| lane.cursor.is_none()) {
            lane.start_at(audio.head(), None);
        }
        let Some(lane) = self.video.as_mut().filter(|lane| lane.cursor.is_none()) else { return true };
        let Some(keyframe) = video.keyframe() else { return false };
        lane.start_at(keyframe, video.newest_frame());
        true
    }

    /// Audio alone, for when video waits for its keyframe.
    pub fn start_audio(&mut self, audio: &TrackRing) {
        if let Some(lane) = self.audio.as_mut().filter(|lane| lane.cursor.is_none()) {
            lane.start_at(audio.head().saturating_sub(1), None);
        }
    }

    /// The peer's nominated path moved (NAT rebinding, ICE restart).
    pub fn set_remote(&mut self, remote: SocketAddr) {
        self.remote = remote;
        self.address = PeerAddress::from(remote);
    }

    /// The publication changed: what was sent so far has no successor in the ring.
    pub fn restart(&mut self) {
        for lane in [self.video.as_mut(), self.audio.as_mut()].into_iter().flatten() {
            lane.cursor = None;
        }
    }

    /// Had everything up to `flushed_head`, so it takes part in the next train whole.
    pub fn is_live(&self, flushed_head: u64) -> bool {
        self.video.as_ref().and_then(|lane| lane.cursor).is_none_or(|cursor| cursor >= flushed_head)
    }

    pub fn caught_up(&self, video: &TrackRing) -> bool {
        self.video.as_ref().is_none_or(|lane| lane.caught_up(video))
    }

    /// Sends at most `budget` packets: video first, audio as the short tail of the train.
    pub fn send(
        &mut self,
        video: &TrackRing,
        audio: &TrackRing,
        budget: usize,
        out: &mut SendBatch,
        socket: &UdpSocket,
    ) -> Sent {
        let mut train = Train { sealer: &mut self.sealer, address: &self.address, out, socket, sent: Sent::default() };
        for (lane, ring) in [(self.video.as_mut(), video), (self.audio.as_mut(), audio)] {
            let Some(lane) = lane else { continue };
            let Some(mut cursor) = lane.cursor else { continue };
            if cursor < ring.head() && ring.get(cursor).is_none() {
                // Fell out of the ring: only the next keyframe helps a video decoder.
                train.sent.jumped = true;
                lane.cursor = None;
                continue;
            }
            while train.sent.packets < budget {
                let Some(packet) = ring.get(cursor) else { break };
                train.push(lane, packet, lane.wire_next, train.sent.packets > 0);
                lane.wire_next += 1;
                lane.packets += 1;
                lane.octets += packet.payload.len() as u64;
                cursor += 1;
            }
            lane.cursor = Some(cursor);
        }
        let sent = train.sent;
        let earned = self.retransmit_budget + sent.bytes as u64 / RETRANSMIT_SHARE;
        self.retransmit_budget = earned.min(RETRANSMIT_BURST_BYTES);
        sent
    }

    /// Answers a NACK: the same bytes again under the same SSRC, ROC and sequence number. Returns how many packets.
    pub fn retransmit(
        &mut self,
        ssrc: u32,
        wanted: impl Iterator<Item = u16>,
        video: &TrackRing,
        audio: &TrackRing,
        out: &mut SendBatch,
        socket: &UdpSocket,
    ) -> usize {
        let lanes = [(self.video.as_ref(), video), (self.audio.as_ref(), audio)];
        let found = lanes.into_iter().find_map(|(lane, ring)| Some((lane.filter(|lane| lane.ssrc == ssrc)?, ring)));
        let Some((lane, ring)) = found else { return 0 };
        let mut train = Train { sealer: &mut self.sealer, address: &self.address, out, socket, sent: Sent::default() };
        for wire in wanted {
            let Some((sequence, extended)) = lane.ring_of_wire(wire) else { continue };
            let Some(packet) = ring.get(sequence) else { continue };
            let cost = packet.payload.len() as u64;
            if cost > self.retransmit_budget {
                break;
            }
            self.retransmit_budget -= cost;
            train.push(lane, packet, extended, train.sent.packets > 0);
        }
        train.sent.packets
    }
}

/// A run of datagrams to one viewer, merged into GSO messages by the batch.
struct Train<'a> {
    sealer: &'a mut Sealer,
    address: &'a PeerAddress,
    out: &'a mut SendBatch,
    socket: &'a UdpSocket,
    sent: Sent,
}

impl Train<'_> {
    fn push(&mut self, lane: &Lane, packet: &RingPacket, wire: u64, continues: bool) {
        let length = RTP_HEADER + packet.payload.len() + self.sealer.rtp_overhead();
        let mut continues = continues;
        if self.out.is_full(length) {
            self.out.flush(self.socket);
            continues = false;
        }
        let slot = self.out.slot(length);
        slot[0] = 0x80;
        slot[1] = lane.payload_type | u8::from(packet.marker) << 7;
        slot[2..4].copy_from_slice(&(wire as u16).to_be_bytes());
        slot[4..8].copy_from_slice(&lane.timestamp(packet).to_be_bytes());
        slot[8..12].copy_from_slice(&lane.ssrc.to_be_bytes());
        slot[RTP_HEADER..RTP_HEADER + packet.payload.len()].copy_from_slice(&packet.payload);
        self.sealer.seal_rtp(slot, RTP_HEADER, lane.ssrc, wire);
        self.out.commit(length, self.address, continues);
        self.sent.packets += 1;
        self.sent.bytes += length;
    }
}
