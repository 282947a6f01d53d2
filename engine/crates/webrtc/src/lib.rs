//! WebRTC in and out: WHIP sessions become publishers of a [`tallylight_media::Stream`], WHEP sessions its viewers.
//!
//! str0m does ICE, DTLS and the whole receive side. Sending is ours (`egress`, `viewer`, `srtp`): str0m's
//! path costs 3-5 times as much per packet. One [`shard`] thread owns the socket; [`WebRtc`] is the handle
//! HTTP routes call. An offer is answered on the caller's thread, the session then moves to the shard.

mod dtls;
mod egress;
mod fragment;
mod ingest;
mod offer;
mod ring;
mod session;
mod shard;
mod srtp;
mod stun;
mod viewer;

use crate::session::{CloseReason, Role, Session};
use crate::shard::{Command, Shard, ShardParts};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};
use tallylight_media::{Codec, Kind, Protocol, PublishError, PublisherInfo, Stream};
use tallylight_udp::{UdpSocket, Waker};

pub use fragment::FragmentError;
pub use offer::{MAX_OFFER_BYTES, OfferSyntaxError};

/// Sessions at a time; each costs about 70 KB, so this is the memory bound (280 MB).
const MAX_SESSIONS: usize = 4096;
/// Many viewers may share one address; half of the places are left for everybody else.
const MAX_SESSIONS_PER_NETWORK: usize = MAX_SESSIONS / 2;
/// Places that viewers do not take: without a publisher there is nothing to view.
const KEPT_FOR_PUBLISHERS: usize = 128;
/// Commands waiting for the shard. It drains them every few milliseconds; more means it is stuck.
const MAX_COMMANDS: usize = 1024;
/// How long a route waits for the shard's answer before it says "try again".
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Kernel buffers: a keyframe of 8 Mb/s to 200 viewers is 40 MB at once at worst; 8 MiB absorbs scheduling gaps.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// str0m holds back this many packets for reordering; it must hold the largest keyframe (1.2 MB here).
const REORDER_PACKETS: usize = 1000;

pub struct WebRtcConfig {
    pub bind: SocketAddr,
    /// Addresses to advertise, the best first.
    pub candidates: Vec<IpAddr>,
    /// Panic when an SRTP nonce is used for two plaintexts; for tests, costs memory.
    pub audit_nonces: bool,
}

#[derive(Debug, Clone)]
pub struct Answer {
    /// 128 random bits in hex; the secret part of the session URL.
    pub session: String,
    pub etag: String,
    pub sdp: String,
}

#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    #[error("the offer cannot be read: {0}")]
    Malformed(String),
    #[error(transparent)]
    Syntax(#[from] OfferSyntaxError),
    #[error("nothing is on air on this stream")]
    NothingOnAir,
    #[error("this offer cannot play {}, which the stream is sent in", codec.name())]
    CodecNotPlayable { codec: Codec },
    #[error("the stream has B-frames, which WebRTC cannot play in order")]
    BFrames,
    #[error("the offer has no audio or video this server can take")]
    NoUsableTrack,
    #[error(transparent)]
    Busy(#[from] PublishError),
    #[error("the server has as many WebRTC sessions as it takes ({MAX_SESSIONS})")]
    TooManySessions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// Candidates taken note of (204).
    Trickled,
    /// ICE restarted (200): the server's fragment and the session's new entity tag.
    Restarted { fragment: String, etag: String },
}

#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("no such session")]
    SessionUnknown,
    #[error("If-Match does not name the session's current entity tag")]
    PreconditionFailed,
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    #[error("the media thread did not answer in time")]
    NoAnswer,
}

/// A session opened or closed. `reason` and `duration` are set when it closed.
#[derive(Debug, Clone)]
pub struct SessionEvent {
    /// `whep_session_opened`, `whep_session_closed`, `whip_session_opened`, `whip_session_closed`.
    pub name: &'static str,
    pub stream: String,
    pub session: String,
    /// Of the publication, for `whip_…`.
    pub epoch: Option<u64>,
    pub reason: Option<&'static str>,
    pub duration: Duration,
    pub srtp_profile: Option<String>,
}

impl SessionEvent {
    fn opened(session: &Session, now: Instant) -> SessionEvent {
        let name = match session.role {
            Role::Publisher(_) => "whip_session_opened",
            Role::Viewer => "whep_session_opened",
        };
        SessionEvent::new(session, name, None, now)
    }

    fn closed(session: &Session, reason: CloseReason, now: Instant) -> SessionEvent {
        let name = match session.role {
            Role::Publisher(_) => "whip_session_closed",
            Role::Viewer => "whep_session_closed",
        };
        SessionEvent::new(session, name, Some(reason.code()), now)
    }

    fn new(session: &Session, name: &'static str, reason: Option<&'static str>, now: Instant) -> SessionEvent {
        SessionEvent {
            name,
            stream: session.stream.name().to_owned(),
            session: session.id.clone(),
            epoch: match &session.role {
                Role::Publisher(ingest) => Some(ingest.epoch()),
                Role::Viewer => None,
            },
            reason,
            duration: now.saturating_duration_since(session.opened_at),
            srtp_profile: session.keys.get().map(|(_, profile)| format!("{profile:?}")),
        }
    }
}

#[derive(Debug, Clone)]
pub struct SessionStatistics {
    pub id: String,
    /// `whip` or `whep`.
    pub kind: &'static str,
    pub stream: String,
    /// `connecting` or `connected`.
    pub state: &'static str,
    pub age: Duration,
    pub remote: Option<SocketAddr>,
    /// Sent to a viewer, or received from a publisher.
    pub packets: u64,
    pub bytes: u64,
    pub errors: u64,
    pub srtp_profile: Option<String>,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// Counters of the WebRTC side; `statistics()` gives them by name.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub(crate) $name: AtomicU64),* }

        impl Counters {
            fn pairs(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
    sessions, viewers, connected, datagrams_in, datagrams_unroutable, datagrams_malformed, stun_refused, session_errors,
    control_datagrams_out, packets_out, bytes_out, send_calls, send_messages, send_dropped, gso_enabled,
    keyframe_requests_in, keyframe_requests_out, nacks_in, packets_retransmitted,
}

struct Registered {
    etag: String,
    publisher: bool,
    network: IpAddr,
}

impl Registered {
    fn new(publisher: bool, network: IpAddr) -> Registered {
        Registered { etag: new_id(), publisher, network }
    }

    /// One network cannot take every place, and viewers cannot keep a publisher out.
    fn has_place(&self, sessions: &HashMap<String, Registered>) -> Result<(), OfferError> {
        let places = if self.publisher { MAX_SESSIONS } else { MAX_SESSIONS - KEPT_FOR_PUBLISHERS };
        let from_there = sessions.values().filter(|known| known.network == self.network).count();
        let place = sessions.len() < places && from_there < MAX_SESSIONS_PER_NETWORK;
        place.then_some(()).ok_or(OfferError::TooManySessions)
    }
}

struct Shared {
    commands: SyncSender<Command>,
    waker: Waker,
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    candidates: Vec<SocketAddr>,
    counters: Arc<Counters>,
    sessions: Arc<Mutex<HashMap<String, Registered>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Handle of the WebRTC side; clones are the same one.
#[derive(Clone)]
pub struct WebRtc(Arc<Shared>);

impl WebRtc {
    /// Binds the UDP port and starts the shard thread.
    pub fn start(config: WebRtcConfig, on_event: Arc<dyn Fn(SessionEvent) + Send + Sync>) -> io::Result<WebRtc> {
        let crypto = Arc::new(dtls::crypto_provider().map_err(io::Error::other)?);
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("the DTLS library made no certificate"))?;
        let socket = UdpSocket::bind(config.bind)?;
        socket.set_buffer_sizes(SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES)?;
        let port = socket.local_addr()?.port();
        let candidates: Vec<SocketAddr> = config.candidates.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let (commands, inbox) = sync_channel(MAX_COMMANDS);
        let waker = Waker::new()?;
        let counters = Arc::new(Counters::default());
        let sessions: Arc<Mutex<HashMap<String, Registered>>> = Arc::default();
        let registry = sessions.clone();
        let shard = Shard::new(ShardParts {
            socket,
            waker: waker.clone(),
            commands: inbox,
            local: candidates.clone(),
            crypto: crypto.clone(),
            audit_nonces: config.audit_nonces,
            counters: counters.clone(),
            on_event,
            on_closed: Box::new(move |id| drop(lock(&registry).remove(id))),
        });
        let thread = std::thread::Builder::new().name("webrtc".into()).spawn(move || shard.run())?;
        let thread = Mutex::new(Some(thread));
        Ok(WebRtc(Arc::new(Shared { commands, waker, crypto, certificate, candidates, counters, sessions, thread })))
    }

    /// Answers a viewer's offer (about 1 ms of CPU, no waiting). `network` is what counts as one address.
    pub fn whep(&self, stream: &Arc<Stream>, offer_sdp: &str, network: IpAddr) -> Result<Answer, OfferError> {
        let summary = offer::summarize(offer_sdp)?;
        let snapshot = stream.snapshot();
        let tracks = snapshot.tracks.filter(|_| snapshot.publisher.is_some()).ok_or(OfferError::NothingOnAir)?;
        let video = tracks.video().map(|track| &track.config);
        if let Some(config) = video.filter(|_| summary.of(Kind::Video).is_some()) {
            if config.has_b_frames {
                return Err(OfferError::BFrames);
            }
            if !summary.offers(config.codec) {
                return Err(OfferError::CodecNotPlayable { codec: config.codec });
            }
        }
        let mut codecs: Vec<Codec> = video.map(|config| config.codec).into_iter().collect();
        if tracks.audio().is_some() {
            codecs.push(Codec::Opus);
        }
        if !codecs.iter().any(|codec| summary.offers(*codec)) {
            return Err(OfferError::NoUsableTrack);
        }
        let config = with_codecs(Rtc::builder(), &codecs)
            .set_rtp_mode(true)
            .enable_raw_packets(true)
            // We write no header extensions: 12 header bytes per packet, nothing to patch but those.
            .clear_extension_map();
        self.open(stream.clone(), config, offer_sdp, new_id(), Registered::new(false, network), || Ok(Role::Viewer))
    }

    /// Answers a publisher's offer and makes it the stream's publisher; with `take_over` in place of another.
    pub fn whip(
        &self,
        stream: &Arc<Stream>,
        offer_sdp: &str,
        network: IpAddr,
        take_over: bool,
    ) -> Result<Answer, OfferError> {
        let summary = offer::summarize(offer_sdp)?;
        // H.264 where the browser has it: the only codec that reaches both WebRTC and HLS viewers as it is.
        let video = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265];
        let offered: Vec<Codec> = video.into_iter().filter(|codec| summary.offers(*codec)).collect();
        let mut codecs = if offered.contains(&Codec::H264) { vec![Codec::H264] } else { offered };
        if summary.offers(Codec::Opus) {
            codecs.push(Codec::Opus);
        }
        if codecs.is_empty() || !summary.media.iter().any(|media| media.sends) {
            return Err(OfferError::NoUsableTrack);
        }
        let expects_audio = summary.of(Kind::Audio).is_some_and(|media| media.sends);
        let expects_video = summary.of(Kind::Video).is_some_and(|media| media.sends);
        let id = new_id();
        let info = self.publisher_info(&id);
        let config = with_codecs(Rtc::builder(), &codecs).set_reordering_size_video(REORDER_PACKETS);
        self.open(stream.clone(), config, offer_sdp, id, Registered::new(true, network), || {
            let now = Instant::now();
            let publication = if take_over { stream.take_over(info, now) } else { stream.publish(info, now)? };
            Ok(Role::Publisher(Box::new(ingest::Ingest::new(publication, expects_video, expects_audio))))
        })
    }

    /// Trickle ICE and ICE restart (RFC 9725 sections 4.3.2 and 4.3.3).
    ///
    /// `if_match` `*` or new credentials restart ICE; anything else must name the current entity tag.
    pub fn patch(&self, session: &str, text: &str, if_match: Option<&str>) -> Result<Patched, PatchError> {
        let etag =
            lock(&self.0.sessions).get(session).map(|known| known.etag.clone()).ok_or(PatchError::SessionUnknown)?;
        let restart = if_match == Some("*");
        if !restart {
            if if_match.is_some_and(|tag| tag.trim_matches('"') != etag) {
                return Err(PatchError::PreconditionFailed);
            }
            fragment::parse(text)?;
            return Ok(Patched::Trickled);
        }
        let wanted = fragment::parse(text)?;
        let remote = IceCreds { ufrag: wanted.ufrag, pass: wanted.password };
        let (reply, answer) = sync_channel(1);
        self.send(Command::RestartIce { session: session.to_owned(), remote, reply })
            .map_err(|_| PatchError::NoAnswer)?;
        let local =
            answer.recv_timeout(REPLY_TIMEOUT).map_err(|_| PatchError::NoAnswer)?.ok_or(PatchError::SessionUnknown)?;
        let etag = new_id();
        if let Some(known) = lock(&self.0.sessions).get_mut(session) {
            known.etag.clone_from(&etag);
        }
        let candidates: Vec<String> = self.candidates().iter().map(Candidate::to_sdp_string).collect();
        Ok(Patched::Restarted { fragment: fragment::render(&local.ufrag, &local.pass, &candidates), etag })
    }

    /// Ends a session. False if there is none by that id.
    pub fn close(&self, session: &str) -> bool {
        self.close_because(session, CloseReason::PeerClosed)
    }

    /// Ends a viewer's session because it may no longer watch. False if there is none by that id.
    pub fn revoke(&self, session: &str) -> bool {
        self.close_because(session, CloseReason::AccessRevoked)
    }

    fn close_because(&self, session: &str, reason: CloseReason) -> bool {
        if !lock(&self.0.sessions).contains_key(session) {
            return false;
        }
        let (reply, answer) = sync_channel(1);
        let command = Command::Close { session: session.to_owned(), reason, reply: Some(reply) };
        self.send(command).is_ok() && answer.recv_timeout(REPLY_TIMEOUT).unwrap_or(false)
    }

    /// Whether a session exists, and whether it publishes.
    pub fn session_publishes(&self, session: &str) -> Option<bool> {
        lock(&self.0.sessions).get(session).map(|known| known.publisher)
    }

    pub fn sessions(&self) -> Vec<SessionStatistics> {
        let (reply, answer) = sync_channel(1);
        if self.send(Command::Sessions { reply }).is_err() {
            return Vec::new();
        }
        answer.recv_timeout(REPLY_TIMEOUT).unwrap_or_default()
    }

    /// Counters by name, without a prefix.
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        self.0.counters.pairs()
    }

    /// Closes all sessions politely and ends the thread.
    pub fn shutdown(&self) {
        let _ = self.send(Command::Shutdown);
        if let Some(thread) = lock(&self.0.thread).take() {
            // A panic in the shard was already reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn publisher_info(&self, id: &str) -> PublisherInfo {
        let (for_keyframe, for_close) = (self.command_sender(), self.command_sender());
        let (keyframe_id, close_id) = (id.to_owned(), id.to_owned());
        PublisherInfo {
            session: id.to_owned(),
            protocol: Protocol::Whip,
            request_keyframe: Some(Arc::new(move || {
                for_keyframe(Command::RequestKeyframe { session: keyframe_id.clone() })
            })),
            close: Arc::new(move |reason| {
                let reason = CloseReason::Ended(reason);
                for_close(Command::Close { session: close_id.clone(), reason, reply: None });
            }),
        }
    }

    fn command_sender(&self) -> impl Fn(Command) + Send + Sync + 'static {
        let (commands, waker) = (self.0.commands.clone(), self.0.waker.clone());
        move |command| {
            // A full channel means the shard is stuck; the next request a second later says the same.
            if commands.try_send(command).is_ok() {
                waker.wake();
            }
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.0.candidates.iter().filter_map(|address| Candidate::host(*address, "udp").ok()).collect()
    }

    /// Takes the role last: a publisher must not end another one's publication with an offer that is no good.
    fn open(
        &self,
        stream: Arc<Stream>,
        config: RtcConfig,
        offer_sdp: &str,
        id: String,
        registered: Registered,
        role: impl FnOnce() -> Result<Role, OfferError>,
    ) -> Result<Answer, OfferError> {
        registered.has_place(&lock(&self.0.sessions))?;
        let offer = SdpOffer::from_sdp_string(offer_sdp).map_err(|error| OfferError::Malformed(error.to_string()))?;
        let now = Instant::now();
        let keys = dtls::arm_key_tap();
        let mut rtc = config
            .set_crypto_provider(self.0.crypto.clone())
            .set_dtls_cert(self.0.certificate.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .set_ice_lite(true)
            .build(now);
        for candidate in self.candidates() {
            rtc.add_local_candidate(candidate);
        }
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| OfferError::Malformed(error.to_string()))?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let etag = registered.etag.clone();
        {
            let mut sessions = lock(&self.0.sessions);
            registered.has_place(&sessions)?;
            sessions.insert(id.clone(), registered);
        }
        let role = role().inspect_err(|_| drop(lock(&self.0.sessions).remove(&id)))?;
        let session = Box::new(Session {
            id: id.clone(),
            stream,
            role,
            rtc,
            keys,
            ufrags: vec![ufrag],
            addresses: Vec::new(),
            remote: None,
            next_timeout: now,
            opened_at: now,
            connected_at: None,
            media: Vec::new(),
            joined: false,
            datagrams_in: 0,
            bytes_in: 0,
            errors: 0,
            close: None,
        });
        if self.send(Command::Open(session)).is_err() {
            lock(&self.0.sessions).remove(&id);
            return Err(OfferError::TooManySessions);
        }
        Ok(Answer { session: id, etag, sdp: answer.to_sdp_string() })
    }

    fn send(&self, command: Command) -> Result<(), ()> {
        match self.0.commands.try_send(command) {
            Ok(()) => {
                self.0.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(()),
        }
    }
}

fn with_codecs(config: RtcConfig, codecs: &[Codec]) -> RtcConfig {
    codecs.iter().fold(config.clear_codecs(), |config, codec| match codec {
        Codec::H264 => config.enable_h264(true),
        Codec::H265 => config.enable_h265(true),
        Codec::Av1 => config.enable_av1(true),
        Codec::Vp8 => config.enable_vp8(true),
        Codec::Vp9 => config.enable_vp9(true),
        Codec::Opus => config.enable_opus(true, false),
        Codec::Aac => config,
    })
}

/// str0m's codec as the core names it.
fn codec_of(codec: str0m::format::Codec) -> Option<Codec> {
    Some(match codec {
        str0m::format::Codec::H264 => Codec::H264,
        str0m::format::Codec::H265 => Codec::H265,
        str0m::format::Codec::Av1 => Codec::Av1,
        str0m::format::Codec::Vp8 => Codec::Vp8,
        str0m::format::Codec::Vp9 => Codec::Vp9,
        str0m::format::Codec::Opus => Codec::Opus,
        _ => return None,
    })
}

/// 128 bits of CSPRNG in hex: session URLs are capabilities (RFC 9725, security considerations).
fn new_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(network: u8, many: usize, sessions: &mut HashMap<String, Registered>) {
        for _ in 0..many {
            sessions.insert(new_id(), Registered::new(false, [192, 0, 2, network].into()));
        }
    }

    #[test]
    fn no_network_takes_every_place_and_viewers_leave_some_for_publishers() {
        let mut sessions = HashMap::new();
        let place = |sessions: &_, publisher, network| {
            Registered::new(publisher, [192, 0, 2, network].into()).has_place(sessions).is_ok()
        };
        from(1, MAX_SESSIONS_PER_NETWORK, &mut sessions);
        assert!(!place(&sessions, false, 1) && !place(&sessions, true, 1));
        assert!(place(&sessions, false, 2));
        from(2, MAX_SESSIONS - MAX_SESSIONS_PER_NETWORK - KEPT_FOR_PUBLISHERS, &mut sessions);
        assert!(!place(&sessions, false, 3) && place(&sessions, true, 3));
        from(3, KEPT_FOR_PUBLISHERS, &mut sessions);
        assert!(!place(&sessions, true, 4));
    }
}
