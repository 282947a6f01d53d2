//! Real ICE, DTLS and SRTP over loopback: a str0m client against this crate, in one process.

use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol as NetProtocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tallylight_media::codec::h264::AvcConfig;
use tallylight_media::{
    AccessUnit, Codec, Protocol, Publication, PublisherInfo, Stream, Streams, Track, TrackConfig, TrackId,
};
use tallylight_webrtc::{OfferError, PatchError, Patched, SessionEvent, WebRtc, WebRtcConfig};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Far above what any step takes on a busy machine; reaching it is a failure, not a pass.
const PATIENCE: Duration = Duration::from_secs(20);
/// Parameter sets of a 320x240 constrained baseline stream, by x264.
const SPS: [u8; 23] = [
    0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0f, 0x03,
    0xc5, 0x0a, 0xa8, 0x00,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x0f, 0xc8];

struct Server {
    webrtc: WebRtc,
    streams: Streams,
    events: Arc<Mutex<Vec<SessionEvent>>>,
}

fn server() -> Server {
    let events: Arc<Mutex<Vec<SessionEvent>>> = Arc::default();
    let sink = events.clone();
    let config = WebRtcConfig { bind: SocketAddr::new(LOCALHOST, 0), candidates: vec![LOCALHOST], audit_nonces: true };
    let webrtc = WebRtc::start(config, Arc::new(move |event| sink.lock().unwrap().push(event))).unwrap();
    Server { webrtc, streams: Streams::new(1), events }
}

impl Server {
    fn closed_with(&self) -> Option<&'static str> {
        self.events.lock().unwrap().iter().find_map(|event| event.reason)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.webrtc.shutdown();
    }
}

/// A publisher of made-up H.264: a keyframe, then one small picture per call. The first payload bytes count up.
struct Source {
    publication: Publication,
    number: u32,
    keyframe_requests: Arc<AtomicUsize>,
}

impl Source {
    fn start(stream: &Arc<Stream>, has_b_frames: bool) -> Source {
        let keyframe_requests = Arc::new(AtomicUsize::new(0));
        let counter = keyframe_requests.clone();
        let info = PublisherInfo {
            session: "source".into(),
            protocol: Protocol::Rtmp,
            request_keyframe: Some(Arc::new(move || {
                counter.fetch_add(1, Ordering::SeqCst);
            })),
            close: Arc::new(|_| {}),
        };
        let mut publication = stream.publish(info, Instant::now()).unwrap();
        let sets = AvcConfig::from_parameter_sets(&[Bytes::from_static(&SPS)], &[Bytes::from_static(&PPS)]).unwrap();
        let config = TrackConfig {
            codec: Codec::H264,
            timescale_hz: 90_000,
            extradata: sets.to_bytes(),
            width: 320,
            height: 240,
            sample_rate_hz: 0,
            channels: 0,
            has_b_frames,
        };
        publication.set_tracks(vec![Track { id: TrackId::VIDEO, config }]);
        Source { publication, number: 0, keyframe_requests }
    }

    fn push(&mut self, keyframe: bool, size: usize) {
        let mut nal = vec![if keyframe { 0x65 } else { 0x41 }];
        nal.extend_from_slice(&self.number.to_be_bytes());
        nal.resize(size, 0xab);
        let mut data = (nal.len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(&nal);
        let pts = i64::from(self.number) * 3000;
        let now = Instant::now();
        let unit = AccessUnit { track: TrackId::VIDEO, pts, dts: pts, keyframe, data: data.into(), arrived_at: now };
        assert!(self.publication.push(unit, now));
        self.number += 1;
    }
}

/// A viewer: str0m in frame mode, with a switch that loses media packets on the way in.
struct Client {
    socket: UdpSocket,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    offer: String,
    connected: bool,
    frames: Vec<(u32, u64)>,
    lose_every: usize,
    media_packets: usize,
    closed: bool,
}

impl Client {
    fn new(configure: impl FnOnce(str0m::RtcConfig) -> str0m::RtcConfig) -> Client {
        let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut rtc = configure(Rtc::builder()).set_reordering_size_video(500).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        Client {
            socket,
            rtc,
            pending: Some(pending),
            offer: offer.to_sdp_string(),
            connected: false,
            frames: Vec::new(),
            lose_every: usize::MAX,
            media_packets: 0,
            closed: false,
        }
    }

    fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    /// One turn of the client's loop: a datagram or a timer.
    fn turn(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => {
                    self.socket.send_to(&transmit.contents, transmit.destination).unwrap();
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(Event::MediaData(media)) => {
                    // Annex B: find our slice and read its number.
                    let slice =
                        media.data.windows(5).position(|w| w[..4] == [0, 0, 0, 1] && matches!(w[4] & 31, 1 | 5));
                    let start = slice.expect("a slice in every frame") + 5;
                    let number = u32::from_be_bytes(media.data[start..start + 4].try_into().unwrap());
                    self.frames.push((number, media.time.numer()));
                }
                Output::Event(_) => {}
            }
        }
        let mut buffer = [0u8; 2048];
        let local = self.socket.local_addr().unwrap();
        if let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            if datagram[0] & 0xc0 == 0x80 && !(200..208).contains(&datagram[1]) {
                self.media_packets += 1;
                if self.media_packets.is_multiple_of(self.lose_every) {
                    return;
                }
            }
            if let Ok(receive) = Receive::new(NetProtocol::Udp, source, local, datagram) {
                self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
                return;
            }
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Client) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "gave up waiting for: {what}");
            self.turn();
        }
    }
}

fn join(server: &Server, stream: &Arc<Stream>) -> (Client, String) {
    let mut client = Client::new(|config| config);
    let answer = server.webrtc.whep(stream, &client.offer, LOCALHOST).unwrap();
    client.accept(&answer.sdp);
    client.until("the connection", |client| client.connected);
    (client, answer.session)
}

#[test]
fn a_viewer_in_the_middle_of_a_gop_gets_every_frame_since_the_keyframe_in_order() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 20_000);
    (0..30).for_each(|_| source.push(false, 3_000));
    let (mut client, _) = join(&server, &stream);
    client.until("the cached frames", |client| client.frames.len() >= 31);
    (0..10).for_each(|_| source.push(false, 3_000));
    client.until("the live frames", |client| client.frames.len() >= 41);
    let numbers: Vec<u32> = client.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers, (0..41).collect::<Vec<_>>());
    let ticks: Vec<u64> = client.frames.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(ticks[..30].iter().all(|step| *step == 90), "cached frames are squeezed to 1 ms: {ticks:?}");
    assert!(ticks[30..].iter().all(|step| *step == 3000), "live frames keep their time: {ticks:?}");
}

#[test]
fn lost_packets_are_repaired_by_retransmission() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 20_000);
    let (mut client, _) = join(&server, &stream);
    client.until("the keyframe", |client| client.frames.len() == 1);
    client.lose_every = 10;
    for expected in 2..=100 {
        source.push(false, 6_000);
        client.until("the next frame", |client| client.frames.len() >= expected);
    }
    assert!(client.media_packets > 500);
    let numbers: Vec<u32> = client.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    let counter = |wanted: &str| {
        let all = server.webrtc.statistics();
        all.into_iter().find(|(name, _)| *name == wanted).unwrap().1
    };
    assert!(counter("nacks_in") > 0, "the losses were really there");
    assert!(counter("packets_retransmitted") > 0);
}

#[test]
fn an_offer_that_cannot_play_the_stream_is_refused_in_words() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let vp8_only = Client::new(|config| config.clear_codecs().enable_vp8(true));
    let offer = &vp8_only.offer;
    assert!(matches!(server.webrtc.whep(&stream, offer, LOCALHOST), Err(OfferError::NothingOnAir)));
    let source = Source::start(&stream, false);
    let refused = server.webrtc.whep(&stream, offer, LOCALHOST).unwrap_err();
    assert!(matches!(refused, OfferError::CodecNotPlayable { codec: Codec::H264 }));
    assert!(refused.to_string().contains("H264"));
    assert!(matches!(server.webrtc.whep(&stream, "v=1", LOCALHOST), Err(OfferError::Syntax(_))));
    drop(source);
    let _source = Source::start(&stream, true);
    let client = Client::new(|config| config);
    assert!(matches!(server.webrtc.whep(&stream, &client.offer, LOCALHOST), Err(OfferError::BFrames)));
}

#[test]
fn viewers_stay_through_a_publisher_that_comes_back() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 2_000);
    let (mut client, _) = join(&server, &stream);
    client.until("the first picture", |client| client.frames.len() == 1);
    drop(source);
    let mut source = Source::start(&stream, false);
    source.push(true, 2_000);
    source.push(false, 2_000);
    client.until("the second publisher's pictures", |client| client.frames.len() >= 3);
    let times: Vec<u64> = client.frames.iter().map(|frame| frame.1).collect();
    assert!(times.is_sorted(), "RTP time goes on over the change: {times:?}");
}

#[test]
fn a_keyframe_request_reaches_the_publisher_at_most_once_a_second() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let source = Source::start(&stream, false);
    let before = Instant::now();
    let (mut client, _) = join(&server, &stream);
    let requests = source.keyframe_requests.clone();
    client.until("a request for the missing keyframe", |_| requests.load(Ordering::SeqCst) > 0);
    for _ in 0..1000 {
        stream.request_keyframe(Instant::now());
    }
    let allowed = 1 + before.elapsed().as_secs() as usize + 1;
    assert!(requests.load(Ordering::SeqCst) <= allowed);
}

#[test]
fn deleting_a_session_frees_it_and_tells_the_peer() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 2_000);
    let (mut client, session) = join(&server, &stream);
    assert_eq!(server.webrtc.sessions().len(), 1);
    assert!(server.webrtc.close(&session));
    client.until("the goodbye", |client| client.closed);
    assert!(!server.webrtc.close(&session), "a second DELETE finds nothing");
    assert_eq!(server.closed_with(), Some("peer_closed"));
    assert!(server.webrtc.sessions().is_empty());
    assert_eq!(stream.snapshot().subscribers, 0);
}

#[test]
fn ice_restarts_over_patch() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 2_000);
    let (mut client, session) = join(&server, &stream);
    client.until("the first picture", |client| client.frames.len() == 1);
    let mut api = client.rtc.sdp_api();
    let credentials = api.ice_restart(true);
    drop(api);
    let fragment = format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", credentials.ufrag, credentials.pass);
    let wrong = server.webrtc.patch(&session, &fragment, Some("\"nonsense\""));
    assert!(matches!(wrong, Err(PatchError::PreconditionFailed)));
    let Patched::Restarted { fragment, .. } = server.webrtc.patch(&session, &fragment, Some("*")).unwrap() else {
        panic!("a restart was asked for")
    };
    let value = |name: &str| fragment.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let remote = str0m::IceCreds { ufrag: value("a=ice-ufrag:"), pass: value("a=ice-pwd:") };
    let mut api = client.rtc.direct_api();
    api.set_local_ice_credentials(credentials);
    api.set_remote_ice_credentials(remote);
    for expected in 2..20 {
        source.push(false, 2_000);
        client.until("pictures after the restart", |client| client.frames.len() >= expected);
    }
}

/// Hardening matrix F2: every length in the shapes of STUN, DTLS, RTP and RTCP, from the viewer's own
/// address and from a stranger's, before and after the connection.
#[test]
fn no_datagram_of_any_length_harms_a_session() {
    let server = server();
    let stream = server.streams.get_or_create("main");
    let mut source = Source::start(&stream, false);
    source.push(true, 2_000);
    let mut client = Client::new(|config| config);
    let answer = server.webrtc.whep(&stream, &client.offer, LOCALHOST).unwrap();
    let candidate = answer.sdp.lines().find(|line| line.starts_with("a=candidate")).unwrap();
    let port: u16 = candidate.split(' ').nth(5).unwrap().parse().unwrap();
    let target = SocketAddr::new(LOCALHOST, port);
    let stranger = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let sweep = |socket: &UdpSocket| {
        for length in 0..=1500usize {
            for first in [0x00u8, 0x01, 0x16, 0x14, 0x17, 0x80, 0x81, 0xb0, 0xff] {
                let mut datagram = vec![0x5a; length];
                if let Some(byte) = datagram.first_mut() {
                    *byte = first;
                }
                if length >= 20 && first < 2 {
                    datagram[2..4].copy_from_slice(&((length - 20) as u16).to_be_bytes());
                    datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                }
                if length > 2 && first == 0x81 {
                    datagram[1] = 205;
                }
                let _ = socket.send_to(&datagram, target);
            }
        }
    };
    sweep(&stranger);
    sweep(&client.socket);
    client.accept(&answer.sdp);
    client.until("the connection", |client| client.connected);
    client.until("the first picture", |client| client.frames.len() == 1);
    sweep(&stranger);
    sweep(&client.socket);
    for expected in 2..20 {
        source.push(false, 2_000);
        client.until("pictures after the sweep", |client| client.frames.len() >= expected);
    }
    assert_eq!(server.webrtc.sessions().len(), 1);
    let answered = stranger.recv_from(&mut [0; 2048]);
    assert!(answered.is_err(), "a stranger gets not one byte back: {answered:?}");
}
