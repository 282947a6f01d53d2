//! One WHEP viewer: a UDP socket, str0m for ICE and DTLS, and the counters.

use crate::dtls::{self, ProfileSlot};
use crate::sdp::PayloadTypes;
use crate::signalling::Answer;
use crate::tally::{Count, RtpFields, Stretch, TrackTally};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::CryptoProvider;
use str0m::crypto::dtls::{DtlsCert, SrtpProfile};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tallylight_udp::UdpSocket;

/// A keyframe burst of one viewer fits many times over.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// A viewer sends only STUN, DTLS and RTCP.
const SEND_BUFFER_BYTES: usize = 1 << 17;

#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    #[error("no offer could be made")]
    Offer,
    #[error("WebRTC: {0}")]
    Rtc(String),
    #[error("ICE was disconnected")]
    Disconnected,
}

fn rtc_error(error: impl std::fmt::Display) -> ViewerError {
    ViewerError::Rtc(error.to_string())
}

/// What is the same for all viewers.
pub struct Settings {
    pub address: IpAddr,
    pub crypto: Arc<CryptoProvider>,
    pub certificate: DtlsCert,
}

/// Totals of one viewer since it joined.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// RTP packets of any kind, and their UDP payload bytes.
    pub packets: u64,
    pub bytes: u64,
    /// Media packets given to str0m and those it decrypted (sampled viewers only).
    pub fed: u64,
    pub decrypted: u64,
}

/// One kind of media as this viewer receives it.
#[derive(Default)]
struct Track {
    ssrc: u32,
    tally: Option<TrackTally>,
    armed: Option<Stretch>,
}

impl Track {
    fn arm(&mut self, stretch: Stretch) {
        self.armed = Some(stretch);
        if let Some(tally) = &mut self.tally {
            tally.arm(stretch);
        }
    }

    fn packet(&mut self, fields: RtpFields) {
        if self.tally.is_none() || self.ssrc != fields.ssrc {
            self.ssrc = fields.ssrc;
            let mut tally = TrackTally::new(fields);
            if let Some(stretch) = self.armed {
                tally.arm(stretch);
            }
            self.tally = Some(tally);
        } else if let Some(tally) = &mut self.tally {
            tally.packet(fields);
        }
    }

    fn count(&self) -> Count {
        self.tally.as_ref().map(TrackTally::count).unwrap_or_default()
    }
}

pub struct Viewer {
    pub socket: UdpSocket,
    local: SocketAddr,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    profile: ProfileSlot,
    payload_types: PayloadTypes,
    /// Decrypts everything it receives.
    sampled: bool,
    next_timeout: Instant,
    posted_at: Option<Instant>,
    audio: Track,
    video: Track,
    pub session: Option<String>,
    pub post: Option<Duration>,
    pub connected: Option<Duration>,
    pub first_rtp: Option<Duration>,
    /// When the counted stretch of video began and ended.
    pub stretch_began: Option<Instant>,
    pub stretch_ended: Option<Instant>,
    pub totals: Totals,
    /// Set once; a failed viewer is left alone.
    pub failure: Option<ViewerError>,
}

impl Viewer {
    /// A viewer and the offer to post for it.
    pub fn new(settings: &Settings, sampled: bool, now: Instant) -> Result<(Self, String), ViewerError> {
        let socket = UdpSocket::bind(SocketAddr::new(settings.address, 0))?;
        socket.set_buffer_sizes(RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES)?;
        let local = socket.local_addr()?;
        let profile = dtls::watch_next_session();
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_dtls_cert(settings.certificate.clone())
            .set_crypto_provider(settings.crypto.clone())
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).map_err(rtc_error)?);
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().ok_or(ViewerError::Offer)?;
        let viewer = Self {
            socket,
            local,
            rtc,
            pending: Some(pending),
            profile,
            payload_types: PayloadTypes::default(),
            sampled,
            next_timeout: now,
            posted_at: None,
            audio: Track::default(),
            video: Track::default(),
            session: None,
            post: None,
            connected: None,
            first_rtp: None,
            stretch_began: None,
            stretch_ended: None,
            totals: Totals::default(),
            failure: None,
        };
        Ok((viewer, offer.to_sdp_string()))
    }

    pub fn answered(&mut self, answer: Answer, now: Instant) {
        self.payload_types = PayloadTypes::of_answer(&answer.sdp);
        self.posted_at = Some(answer.posted_at);
        self.post = Some(answer.round_trip);
        self.session = answer.session;
        let result = self.accept(&answer.sdp).and_then(|()| self.advance(Input::Timeout(now)));
        self.note(result);
    }

    fn accept(&mut self, sdp: &str) -> Result<(), ViewerError> {
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(rtc_error)?;
        let pending = self.pending.take().ok_or(ViewerError::Offer)?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(rtc_error)
    }

    /// Runs str0m's timers when they are due.
    pub fn tick(&mut self, now: Instant) {
        if self.failure.is_none() && self.pending.is_none() && self.next_timeout <= now {
            let result = self.advance(Input::Timeout(now));
            self.note(result);
        }
    }

    /// Counts one datagram, and hands it to str0m when it is signalling or this viewer is sampled.
    pub fn datagram(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) {
        if self.failure.is_some() {
            return;
        }
        if let Some(fields) = RtpFields::parse(datagram) {
            let is_media = self.count(fields, datagram.len(), now);
            if !self.sampled {
                return;
            }
            self.totals.fed += u64::from(is_media);
        }
        // What str0m cannot parse is not for this session.
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) else { return };
        let result = self.advance(Input::Receive(now, receive));
        self.note(result);
    }

    /// True for a media packet, false for a retransmission or an unknown payload type.
    fn count(&mut self, fields: RtpFields, bytes: usize, now: Instant) -> bool {
        if self.totals.packets == 0 {
            self.first_rtp = self.posted_at.map(|posted| now - posted);
        }
        self.totals.packets += 1;
        self.totals.bytes += bytes as u64;
        if self.payload_types.video.contains(&fields.payload_type) {
            self.video.packet(fields);
            let count = self.video.count();
            if count.frames == 1 && self.stretch_began.is_none() {
                self.stretch_began = Some(now);
            } else if count.complete && self.stretch_ended.is_none() {
                self.stretch_ended = Some(now);
            }
        } else if self.payload_types.audio.contains(&fields.payload_type) {
            self.audio.packet(fields);
        } else {
            return false;
        }
        true
    }

    /// Counts the given stretches of media from the next frame on.
    pub fn arm(&mut self, video: Stretch, audio: Stretch) {
        self.video.arm(video);
        self.audio.arm(audio);
        (self.stretch_began, self.stretch_ended) = (None, None);
    }

    pub fn video(&self) -> Count {
        self.video.count()
    }

    pub fn audio(&self) -> Count {
        self.audio.count()
    }

    pub fn sampled(&self) -> bool {
        self.sampled
    }

    pub fn profile(&self) -> Option<SrtpProfile> {
        self.profile.get().copied()
    }

    fn advance(&mut self, input: Input) -> Result<(), ViewerError> {
        self.rtc.handle_input(input).map_err(rtc_error)?;
        loop {
            match self.rtc.poll_output().map_err(rtc_error)? {
                Output::Timeout(at) => {
                    self.next_timeout = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    // Lost signalling is repeated by its protocol.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => {
                    self.connected = self.posted_at.map(|posted| posted.elapsed());
                }
                Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected)) => {
                    return Err(ViewerError::Disconnected);
                }
                Output::Event(Event::RtpPacket(_)) => self.totals.decrypted += 1,
                Output::Event(_) => {}
            }
        }
    }

    fn note(&mut self, result: Result<(), ViewerError>) {
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }
}
