//! The thread that owns one UDP socket and everything behind it: sessions, timers, egress.
//!
//! In: datagrams, commands over a bounded channel, media by stream subscriptions. Out: datagrams and
//! [`SessionEvent`]s. Only STUN is routed by ufrag; everything else only from an address that passed an
//! authenticated check of its session, so nothing is ever sent to a stranger. An error from the wire is a
//! counter, never a teardown.

use crate::egress::EgressStream;
use crate::session::{CloseReason, Role, Session};
use crate::srtp::Sealer;
use crate::stun;
use crate::viewer::{Lane, Viewer};
use crate::{Counters, SessionEvent, SessionStatistics};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};
use str0m::config::CryptoProvider;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;
use str0m::{Event, IceConnectionState, IceCreds, Input, Output};
use tallylight_media::{Codec, EndReason};
use tallylight_udp::{ReceiveBatch, SendBatch, UdpSocket, Waker, wait};

/// ICE and DTLS must be done by then: browsers give up on ICE after 15 s, slow DTLS adds a few.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// str0m's timers are looked at this often; its shortest is NACK at one RTT plus 5 ms.
const TIMER_TICK: Duration = Duration::from_millis(10);
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Batches of 64 datagrams taken per turn before media and timers get theirs.
const RECEIVE_BATCHES: usize = 4;
/// 2 MiB holds a frame of 8 Mb/s video for about 60 viewers between two system calls.
const ARENA_BYTES: usize = 2 << 20;
const ARENA_MESSAGES: usize = 64;

pub enum Command {
    Open(Box<Session>),
    Close { session: String, reason: CloseReason, reply: Option<SyncSender<bool>> },
    RestartIce { session: String, remote: IceCreds, reply: SyncSender<Option<IceCreds>> },
    RequestKeyframe { session: String },
    Sessions { reply: SyncSender<Vec<SessionStatistics>> },
    Shutdown,
}

/// What a shard is given to work with.
pub struct ShardParts {
    pub socket: UdpSocket,
    pub waker: Waker,
    pub commands: Receiver<Command>,
    /// Addresses that are advertised; the first of each family is what str0m believes a datagram was sent to.
    pub local: Vec<SocketAddr>,
    pub crypto: Arc<CryptoProvider>,
    pub audit_nonces: bool,
    pub counters: Arc<Counters>,
    pub on_event: Arc<dyn Fn(SessionEvent) + Send + Sync>,
    /// Called with the id of every session that ended.
    pub on_closed: Box<dyn Fn(&str) + Send>,
}

pub struct Shard {
    parts: ShardParts,
    started: Instant,
    sessions: Vec<Option<Box<Session>>>,
    by_id: HashMap<String, usize>,
    by_ufrag: HashMap<String, usize>,
    by_address: HashMap<SocketAddr, usize>,
    streams: Vec<EgressStream>,
    out: SendBatch,
    stopping: bool,
}

impl Shard {
    pub fn new(parts: ShardParts) -> Shard {
        Shard {
            parts,
            started: Instant::now(),
            sessions: Vec::new(),
            by_id: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            streams: Vec::new(),
            out: SendBatch::new(ARENA_BYTES, ARENA_MESSAGES),
            stopping: false,
        }
    }

    /// Runs until [`Command::Shutdown`], or until the handle is gone.
    pub fn run(mut self) {
        let mut batch = ReceiveBatch::new();
        let mut next_tick = Instant::now();
        while !self.stopping {
            let ready = wait(&self.parts.socket, &self.parts.waker, self.patience(next_tick)).unwrap_or_default();
            if ready.waker {
                self.parts.waker.drain();
                self.take_commands();
            }
            if ready.socket {
                self.receive(&mut batch);
            }
            self.serve_streams();
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TIMER_TICK;
                self.tick(now);
            }
        }
        for index in 0..self.sessions.len() {
            self.finish(index, CloseReason::Shutdown);
        }
        self.publish_statistics();
    }

    fn patience(&self, next_tick: Instant) -> Duration {
        let now = Instant::now();
        if self.by_id.is_empty() {
            return IDLE_WAIT;
        }
        let deadline = self.streams.iter().filter_map(|stream| stream.deadline(now)).fold(next_tick, Instant::min);
        deadline.saturating_duration_since(now)
    }

    // ------------------------------------------------------------------ commands

    fn take_commands(&mut self) {
        while let Ok(command) = self.parts.commands.try_recv() {
            match command {
                Command::Open(session) => self.open(session),
                Command::Close { session, reason, reply } => {
                    let index = self.by_id.get(&session).copied();
                    if let Some(index) = index {
                        self.finish(index, reason);
                    }
                    if let Some(reply) = reply {
                        let _ = reply.try_send(index.is_some());
                    }
                }
                Command::RestartIce { session, remote, reply } => {
                    let _ = reply.try_send(self.restart_ice(&session, remote));
                }
                Command::RequestKeyframe { session } => {
                    if let Some(&index) = self.by_id.get(&session) {
                        self.request_keyframe(index);
                    }
                }
                Command::Sessions { reply } => {
                    let _ = reply.try_send(self.describe());
                }
                Command::Shutdown => self.stopping = true,
            }
        }
    }

    fn open(&mut self, session: Box<Session>) {
        let index = self.sessions.iter().position(Option::is_none).unwrap_or(self.sessions.len());
        if index == self.sessions.len() {
            self.sessions.push(None);
        }
        self.by_id.insert(session.id.clone(), index);
        for ufrag in &session.ufrags {
            self.by_ufrag.insert(ufrag.clone(), index);
        }
        self.sessions[index] = Some(session);
        self.poll(index, Instant::now());
    }

    fn restart_ice(&mut self, id: &str, remote: IceCreds) -> Option<IceCreds> {
        let index = *self.by_id.get(id)?;
        let session = self.sessions[index].as_mut()?;
        let local = IceCreds::new();
        let mut api = session.rtc.direct_api();
        api.set_local_ice_credentials(local.clone());
        api.set_remote_ice_credentials(remote);
        session.ufrags.push(local.ufrag.clone());
        if session.ufrags.len() > 2 {
            let old = session.ufrags.remove(0);
            self.by_ufrag.remove(&old);
        }
        self.by_ufrag.insert(local.ufrag.clone(), index);
        self.poll(index, Instant::now());
        Some(local)
    }

    fn request_keyframe(&mut self, index: usize) {
        let now = Instant::now();
        let Some(session) = self.sessions[index].as_mut() else { return };
        let video = session.media.iter().find(|(_, kind)| *kind == MediaKind::Video).map(|(mid, _)| *mid);
        let Some(mut writer) = video.and_then(|mid| session.rtc.writer(mid)) else { return };
        if writer.request_keyframe(None, KeyframeRequestKind::Pli).is_ok() {
            self.parts.counters.keyframe_requests_out.fetch_add(1, Ordering::Relaxed);
            let _ = session.rtc.handle_input(Input::Timeout(now));
            self.poll(index, now);
        }
    }

    fn describe(&self) -> Vec<SessionStatistics> {
        let now = Instant::now();
        let describe = |index: usize, session: &Session| {
            let viewer = self.streams.iter().find_map(|stream| stream.sent_to(index));
            SessionStatistics {
                id: session.id.clone(),
                kind: session.role.name(),
                stream: session.stream.name().to_owned(),
                state: if session.connected_at.is_some() { "connected" } else { "connecting" },
                age: now.saturating_duration_since(session.opened_at),
                remote: session.remote,
                packets: viewer.map_or(session.datagrams_in, |(packets, _)| packets),
                bytes: viewer.map_or(session.bytes_in, |(_, bytes)| bytes),
                errors: session.errors,
                srtp_profile: session.keys.get().map(|(_, profile)| format!("{profile:?}")),
            }
        };
        let open = self.sessions.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)));
        open.map(|(index, session)| describe(index, session)).collect()
    }

    // ------------------------------------------------------------------ datagrams

    fn receive(&mut self, batch: &mut ReceiveBatch) {
        for _ in 0..RECEIVE_BATCHES {
            let Ok(count) = batch.receive(&self.parts.socket) else { return };
            let now = Instant::now();
            self.parts.counters.datagrams_in.fetch_add(count as u64, Ordering::Relaxed);
            for index in 0..count {
                let (datagram, source) = batch.datagram(index);
                self.datagram(now, datagram, source);
            }
            if count < tallylight_udp::RECEIVE_MESSAGES {
                return;
            }
        }
    }

    fn datagram(&mut self, now: Instant, datagram: &[u8], source: SocketAddr) {
        let source = canonical(source);
        let request = stun::parse_binding_request(datagram);
        let index = match &request {
            Some(request) => self.by_ufrag.get(request.local_ufrag).copied(),
            None => self.by_address.get(&source).copied(),
        };
        let found = index.filter(|&index| self.sessions[index].is_some());
        let (Some(index), Some(local)) = (found, self.local_for(source)) else {
            self.parts.counters.datagrams_unroutable.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(session) = self.sessions[index].as_mut() else { return };
        session.datagrams_in += 1;
        session.bytes_in += datagram.len() as u64;
        let Ok(received) = Receive::new(Protocol::Udp, source, local, datagram) else {
            self.parts.counters.datagrams_malformed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let input = Input::Receive(now, received);
        // For STUN this checks user name and integrity: a forged check is dropped without an answer.
        if request.is_some() && !session.rtc.accepts(&input) {
            self.parts.counters.stun_refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Err(error) = session.rtc.handle_input(input) {
            session.errors += 1;
            self.parts.counters.session_errors.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(session = %session.id, %error, "datagram_refused");
        }
        if let Some(request) = request {
            self.validated(index, source, request.use_candidate);
        }
        self.poll(index, now);
    }

    /// `source` passed an authenticated check: media and DTLS from it are this session's from now on.
    fn validated(&mut self, index: usize, source: SocketAddr, nominated: bool) {
        let Some(session) = self.sessions[index].as_mut() else { return };
        if let Some(forgotten) = session.validate_address(source) {
            self.by_address.remove(&forgotten);
        }
        self.by_address.insert(source, index);
        if (nominated || session.remote.is_none()) && session.remote != Some(source) {
            session.remote = Some(source);
            for stream in &mut self.streams {
                if let Some(viewer) = stream.viewer_mut(index) {
                    viewer.set_remote(source);
                }
            }
        }
    }

    fn local_for(&self, source: SocketAddr) -> Option<SocketAddr> {
        self.parts.local.iter().copied().find(|local| local.is_ipv4() == source.is_ipv4())
    }

    /// Drains str0m after every mutation.
    fn poll(&mut self, index: usize, now: Instant) {
        loop {
            let Some(session) = self.sessions[index].as_mut() else { return };
            match session.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    session.next_timeout = at;
                    if !session.rtc.is_alive() {
                        session.close(CloseReason::ProtocolError);
                    }
                    // All `MediaAdded` events are in by now. Joining changes str0m's streams: drain once more.
                    if !self.try_join(index, now) {
                        return;
                    }
                }
                Ok(Output::Transmit(transmit)) => {
                    self.parts.counters.control_datagrams_out.fetch_add(1, Ordering::Relaxed);
                    // Lost control packets are repeated by their protocols' own timers.
                    let _ = self.parts.socket.send_to(&transmit.contents, transmit.destination);
                }
                Ok(Output::Event(event)) => self.event(index, event, now),
                Err(error) => {
                    session.errors += 1;
                    self.parts.counters.session_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(session = %session.id, %error, "session_error");
                    if !session.rtc.is_alive() {
                        session.close(CloseReason::ProtocolError);
                        return;
                    }
                }
            }
        }
    }

    fn event(&mut self, index: usize, event: Event, now: Instant) {
        let Some(session) = self.sessions[index].as_mut() else { return };
        match event {
            Event::Connected => {
                session.connected_at = Some(now);
                self.parts.counters.connected.fetch_add(1, Ordering::Relaxed);
                let event = SessionEvent::opened(session, now);
                (self.parts.on_event)(event);
            }
            Event::MediaAdded(added) => session.media.push((added.mid, added.kind)),
            Event::MediaData(data) => {
                if let Role::Publisher(ingest) = &mut session.role
                    && ingest.take(data, now)
                {
                    session.stream.request_keyframe(now);
                }
            }
            Event::RawPacket(packet) => {
                if let RawPacket::RtcpRx(rtcp) = *packet {
                    self.rtcp(index, rtcp, now);
                }
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                session.close(CloseReason::ConsentLost);
            }
            Event::Closed => session.close(CloseReason::PeerClosed),
            _ => {}
        }
    }

    fn rtcp(&mut self, index: usize, rtcp: Rtcp, now: Instant) {
        let Some(session) = self.sessions[index].as_ref() else { return };
        match rtcp {
            Rtcp::Pli(_) | Rtcp::Fir(_) => {
                self.parts.counters.keyframe_requests_in.fetch_add(1, Ordering::Relaxed);
                session.stream.request_keyframe(now);
            }
            Rtcp::Nack(nack) => {
                self.parts.counters.nacks_in.fetch_add(1, Ordering::Relaxed);
                let wanted = nack.reports.iter().flat_map(|entry| {
                    let (first, mask) = (entry.pid, entry.blp);
                    std::iter::once(first).chain(
                        (0..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| first.wrapping_add(bit + 1)),
                    )
                });
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.sent_to(index).is_some()) {
                    let sent = stream.retransmit(index, *nack.ssrc, wanted, &mut self.out, &self.parts.socket);
                    self.parts.counters.packets_retransmitted.fetch_add(sent as u64, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    // ------------------------------------------------------------------ viewers

    /// Takes a viewer's egress over from str0m once its keys and its negotiated payload types are known.
    fn try_join(&mut self, index: usize, now: Instant) -> bool {
        let Some(session) = self.sessions[index].as_mut() else { return false };
        let ready = session.connected_at.is_some() && !session.joined && !session.media.is_empty();
        if !ready || !matches!(session.role, Role::Viewer) {
            return false;
        }
        let (Some((material, profile)), Some(remote)) = (session.keys.get(), session.remote) else { return false };
        session.joined = true;
        let sealer = match Sealer::new(&self.parts.crypto, material, profile, self.parts.audit_nonces) {
            Ok(sealer) => sealer,
            Err(error) => {
                tracing::warn!(session = %session.id, %error, "srtp_profile_refused");
                session.close(CloseReason::ProtocolError);
                return false;
            }
        };
        let codec = session.stream.snapshot().tracks.and_then(|set| set.video().map(|track| track.config.clone()));
        let mut lanes = [None, None];
        for (mid, kind) in session.media.clone() {
            let wanted = match kind {
                MediaKind::Video => codec.as_ref().map(|config| config.codec),
                MediaKind::Audio => Some(Codec::Opus),
            };
            let Some(payload_type) = wanted.and_then(|codec| payload_type(session, mid, codec)) else { continue };
            let Some(ssrc) = take_over(session, mid) else { continue };
            lanes[usize::from(kind == MediaKind::Audio)] = Some(Lane::new(ssrc, payload_type, random_u16()));
        }
        let [video, audio] = lanes;
        let viewer = Viewer::new(index, remote, sealer, video, audio);
        let stream = session.stream.clone();
        self.egress(&stream, now).join(viewer, now);
        true
    }

    fn egress(&mut self, stream: &Arc<tallylight_media::Stream>, now: Instant) -> &mut EgressStream {
        let found = self.streams.iter().position(|egress| Arc::ptr_eq(egress.stream(), stream));
        let index = found.unwrap_or_else(|| {
            let waker = self.parts.waker.clone();
            let random = [random_u32(), random_u32()];
            let mut egress = EgressStream::new(stream.clone(), Arc::new(move || waker.wake()), self.started, random);
            egress.take_media(now);
            self.streams.push(egress);
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }

    fn serve_streams(&mut self) {
        let mut misfits = Vec::new();
        for stream in &mut self.streams {
            let now = Instant::now();
            misfits.extend(stream.take_media(now).misfits);
            if stream.deadline(now).is_some_and(|at| at <= now) {
                stream.send(now, &mut self.out, &self.parts.socket);
            }
        }
        for index in misfits {
            self.finish(index, CloseReason::CodecChanged);
        }
    }

    // ------------------------------------------------------------------ timers and endings

    fn tick(&mut self, now: Instant) {
        for index in 0..self.sessions.len() {
            let Some(session) = self.sessions[index].as_mut() else { continue };
            if session.next_timeout <= now {
                let _ = session.rtc.handle_input(Input::Timeout(now));
                self.poll(index, now);
            }
            let Some(session) = self.sessions[index].as_mut() else { continue };
            if session.connected_at.is_none() && now.saturating_duration_since(session.opened_at) > ESTABLISH_TIMEOUT {
                session.close(CloseReason::NeverConnected);
            }
            // Another publisher may have taken the stream before this session was ours to close.
            if let Role::Publisher(ingest) = &session.role
                && let Some(reason) = ingest.over()
            {
                session.close(CloseReason::Ended(reason));
            }
            if let Some(reason) = session.close {
                self.finish(index, reason);
            }
        }
        for stream in &mut self.streams {
            stream.report(now, &self.parts.socket);
        }
        self.publish_statistics();
    }

    /// Says goodbye on the wire, frees everything the session held and reports it.
    fn finish(&mut self, index: usize, reason: CloseReason) {
        let Some(mut session) = self.sessions[index].take() else { return };
        if session.rtc.close().is_ok() {
            while let Ok(Output::Transmit(transmit)) = session.rtc.poll_output() {
                let _ = self.parts.socket.send_to(&transmit.contents, transmit.destination);
            }
        }
        self.by_id.remove(&session.id);
        for ufrag in &session.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        session.addresses.iter().for_each(|address| {
            if self.by_address.get(address) == Some(&index) {
                self.by_address.remove(address);
            }
        });
        self.streams.iter_mut().for_each(|stream| stream.leave(index));
        self.streams.retain(|stream| stream.viewers() > 0);
        (self.parts.on_closed)(&session.id);
        let event = SessionEvent::closed(&session, reason, Instant::now());
        // First the state, then the news of it.
        if let Role::Publisher(ingest) = session.role {
            ingest.end(end_reason(reason));
        }
        (self.parts.on_event)(event);
    }

    fn publish_statistics(&self) {
        let sent = self.out.statistics();
        let store = |counter: &std::sync::atomic::AtomicU64, value: u64| counter.store(value, Ordering::Relaxed);
        store(&self.parts.counters.sessions, self.by_id.len() as u64);
        store(&self.parts.counters.viewers, self.streams.iter().map(|stream| stream.viewers() as u64).sum());
        store(&self.parts.counters.packets_out, sent.packets);
        store(&self.parts.counters.bytes_out, sent.bytes);
        store(&self.parts.counters.send_calls, sent.calls);
        store(&self.parts.counters.send_messages, sent.messages);
        store(&self.parts.counters.send_dropped, sent.dropped);
        store(&self.parts.counters.gso_enabled, u64::from(sent.gso_enabled));
    }
}

fn end_reason(reason: CloseReason) -> EndReason {
    match reason {
        CloseReason::PeerClosed => EndReason::Finished,
        CloseReason::Ended(reason) => reason,
        CloseReason::AccessRevoked => EndReason::Removed,
        CloseReason::ProtocolError | CloseReason::CodecChanged => EndReason::ProtocolError,
        CloseReason::NeverConnected | CloseReason::ConsentLost => EndReason::ConnectionLost,
        CloseReason::Shutdown => EndReason::Shutdown,
    }
}

/// The negotiated payload type for `codec`; for H.264 packetization mode 1 and the nearest profile win.
fn payload_type(session: &Session, mid: Mid, codec: Codec) -> Option<u8> {
    let media = session.rtc.media(mid)?;
    let candidates =
        media.remote_pts().iter().filter_map(|pt| session.rtc.codec_config().find(|params| params.pt() == *pt));
    candidates
        .filter(|params| crate::codec_of(params.spec().codec) == Some(codec))
        .max_by_key(|params| {
            (params.spec().format.packetization_mode.unwrap_or(0), params.spec().format.profile_level_id)
        })
        .map(|params| *params.pt())
}

/// Takes the SSRC str0m announced for `mid` away from str0m, which would otherwise send reports with it
/// under our key (the nonce rule).
fn take_over(session: &mut Session, mid: Mid) -> Option<u32> {
    let mut api = session.rtc.direct_api();
    let ssrc = api.stream_tx_by_mid(mid, None)?.ssrc();
    api.remove_stream_tx(ssrc);
    Some(*ssrc)
}

/// A dual-stack socket reports IPv4 peers as mapped IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(address, |v4| SocketAddr::new(IpAddr::V4(v4), address.port())),
        IpAddr::V4(_) => address,
    }
}

fn random_u32() -> u32 {
    getrandom::u32().expect("the operating system gives random bytes")
}

fn random_u16() -> u16 {
    (random_u32() & 0x7fff) as u16
}
