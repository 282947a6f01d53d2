//! One peer's connection from its offer to its close.

use crate::dtls::KeySlot;
use crate::ingest::Ingest;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use str0m::Rtc;
use str0m::media::{MediaKind, Mid};
use tallylight_media::{EndReason, Stream};

/// Validated addresses one session may use at a time: host, reflexive and relay paths of two networks.
const MAX_ADDRESSES: usize = 8;

pub enum Role {
    Publisher(Box<Ingest>),
    Viewer,
}

impl Role {
    pub fn name(&self) -> &'static str {
        match self {
            Role::Publisher(_) => "whip",
            Role::Viewer => "whep",
        }
    }
}

/// Why a session ended, as stable codes for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// DELETE on the session, or the peer closed DTLS.
    PeerClosed,
    /// ICE or DTLS did not complete in time.
    NeverConnected,
    /// No valid STUN for the consent time (RFC 7675).
    ConsentLost,
    /// The stream now has a codec this viewer did not negotiate; its player joins again.
    CodecChanged,
    /// The stream ended this publisher.
    Ended(EndReason),
    /// The viewer may no longer watch this stream.
    AccessRevoked,
    /// str0m gave up on it.
    ProtocolError,
    Shutdown,
}

impl CloseReason {
    pub fn code(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::NeverConnected => "never_connected",
            CloseReason::ConsentLost => "consent_lost",
            CloseReason::CodecChanged => "codec_changed",
            CloseReason::Ended(reason) => reason.code(),
            CloseReason::AccessRevoked => "access_revoked",
            CloseReason::ProtocolError => "protocol_error",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

pub struct Session {
    pub id: String,
    pub stream: Arc<Stream>,
    pub role: Role,
    pub rtc: Rtc,
    pub keys: Arc<KeySlot>,
    /// Local ufrags that lead here: one, or two around an ICE restart.
    pub ufrags: Vec<String>,
    pub addresses: Vec<SocketAddr>,
    /// Where media goes: the path the peer nominated.
    pub remote: Option<SocketAddr>,
    pub next_timeout: Instant,
    pub opened_at: Instant,
    pub connected_at: Option<Instant>,
    pub media: Vec<(Mid, MediaKind)>,
    pub joined: bool,
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub errors: u64,
    pub close: Option<CloseReason>,
}

impl Session {
    /// Remembers an address that passed an authenticated check. Returns one that fell out, if any.
    pub fn validate_address(&mut self, address: SocketAddr) -> Option<SocketAddr> {
        if self.addresses.contains(&address) {
            return None;
        }
        self.addresses.push(address);
        let oldest = self.addresses.iter().position(|known| Some(*known) != self.remote);
        (self.addresses.len() > MAX_ADDRESSES).then(|| oldest.map(|index| self.addresses.remove(index))).flatten()
    }

    /// Marks the session for removal; the first reason stays.
    pub fn close(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
    }
}
