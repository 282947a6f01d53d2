//! One stream on its way to its WebRTC viewers: access units in, one GSO train per viewer and frame out.
//!
//! Exists only while the stream has viewers. Units are packetized once; each viewer then costs a header
//! patch, a seal and a share of a `sendmmsg`. Audio waits up to [`AUDIO_HOLD`] for a video frame to ride with.

use crate::ring::TrackRing;
use crate::viewer::Viewer;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tallylight_media::stream::OpusDemand;
use tallylight_media::{
    AccessUnit, Codec, EndReason, Item, JoinPoint, Stream, Subscription, TrackConfig, TrackId, TrackSet, Waker,
};
use tallylight_rtp::Packetizer;
use tallylight_rtp::rtcp::{self, SenderReport};
use tallylight_udp::{SendBatch, UdpSocket};

/// How long audio may wait for the next video frame, to be the tail of its train: 15 % fewer system calls
/// for less than half an Opus frame of delay.
const AUDIO_HOLD: Duration = Duration::from_millis(8);
/// A catching-up viewer gets this many packets per tick: 77 Mb/s, which a browser's 64 KiB socket buffer survives.
const CATCH_UP_PACKETS: usize = 16;
/// All catching-up viewers of a stream together, per tick: joins must not starve those who are watching.
const CATCH_UP_TOTAL: usize = 512;
/// A late pass makes up for at most this many ticks, so that a burst to one viewer stays below 64 packets.
const CATCH_UP_MAX_TICKS: usize = 4;
const CATCH_UP_TICK: Duration = Duration::from_millis(2);
/// Largest RTP payload: with header and GCM tag a datagram of 1,200 bytes, safe on every path that carries QUIC.
const MAX_PAYLOAD: usize = 1200 - crate::viewer::RTP_HEADER - 16;
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// The RTP clocks of one stream: all viewers share them. `ticks = time since the shard started + a random start`.
struct Clocks {
    started: Instant,
    video_start: u32,
    audio_start: u32,
    /// Stream time zero on the shard's clock, for the current epoch, in nanoseconds.
    epoch_start_ns: Option<i128>,
}

impl Clocks {
    fn anchor(&mut self, unit: &AccessUnit, rate_hz: u32) {
        if self.epoch_start_ns.is_none() {
            let arrived = unit.arrived_at.saturating_duration_since(self.started).as_nanos() as i128;
            self.epoch_start_ns = Some(arrived - i128::from(unit.pts) * 1_000_000_000 / i128::from(rate_hz));
        }
    }

    fn rtp_timestamp(&self, pts: i64, rate_hz: u32, start: u32) -> u32 {
        let offset = self.epoch_start_ns.unwrap_or(0) * i128::from(rate_hz) / 1_000_000_000;
        ((i128::from(pts) + offset) as u32).wrapping_add(start)
    }

    fn rtp_now(&self, now: Instant, rate_hz: u32, start: u32) -> u32 {
        let elapsed = now.saturating_duration_since(self.started).as_nanos();
        ((elapsed * u128::from(rate_hz) / 1_000_000_000) as u32).wrapping_add(start)
    }
}

/// What the shard must do after media was handled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sessions whose negotiated codec no longer fits the stream: close them, their players rejoin.
    pub misfits: Vec<usize>,
}

pub struct EgressStream {
    stream: Arc<Stream>,
    subscription: Subscription,
    tracks: Option<Arc<TrackSet>>,
    video_packetizer: Option<(Packetizer, TrackConfig)>,
    audio_packetizer: Option<Packetizer>,
    video: TrackRing,
    audio: TrackRing,
    clocks: Clocks,
    viewers: Vec<Viewer>,
    opus: Option<OpusDemand>,
    audio_since: Option<Instant>,
    video_waiting: bool,
    /// Some viewer has not had everything in the ring.
    catching_up: bool,
    next_catch_up: Instant,
    /// Head of the video ring when live viewers were last served: who is beyond it keeps up.
    flushed_head: u64,
    rotation: usize,
    next_report: Instant,
    scratch: Vec<Bytes>,
}

impl EgressStream {
    pub fn new(stream: Arc<Stream>, waker: Waker, started: Instant, random: [u32; 2]) -> EgressStream {
        let subscription = stream.subscribe(JoinPoint::LastKeyframe, waker);
        EgressStream {
            stream,
            subscription,
            tracks: None,
            video_packetizer: None,
            audio_packetizer: None,
            video: TrackRing::default(),
            audio: TrackRing::default(),
            clocks: Clocks { started, video_start: random[0], audio_start: random[1], epoch_start_ns: None },
            viewers: Vec::new(),
            opus: None,
            audio_since: None,
            video_waiting: false,
            catching_up: false,
            next_catch_up: started,
            flushed_head: 0,
            rotation: 0,
            next_report: started,
            scratch: Vec::new(),
        }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Packets and payload bytes sent to one session's viewer, if it is here.
    pub fn sent_to(&self, session: usize) -> Option<(u64, u64)> {
        let viewer = self.viewers.iter().find(|viewer| viewer.session == session)?;
        let lanes = [viewer.video.as_ref(), viewer.audio.as_ref()].into_iter().flatten();
        Some(lanes.fold((0, 0), |(packets, bytes), lane| (packets + lane.packets, bytes + lane.octets)))
    }

    pub fn viewer_mut(&mut self, session: usize) -> Option<&mut Viewer> {
        self.viewers.iter_mut().find(|viewer| viewer.session == session)
    }

    /// Adds a viewer at the newest keyframe; asks for one if there is none.
    pub fn join(&mut self, mut viewer: Viewer, now: Instant) {
        if !viewer.start(&self.video, &self.audio) {
            self.stream.request_keyframe(now);
        }
        self.viewers.push(viewer);
        self.catching_up = true;
        self.next_report = now;
        self.update_opus();
    }

    pub fn leave(&mut self, session: usize) {
        self.viewers.retain(|viewer| viewer.session != session);
        self.update_opus();
    }

    /// Takes what the stream queued. Returns which sessions no longer fit.
    pub fn take_media(&mut self, now: Instant) -> Progress {
        let mut progress = Progress::default();
        while let Some(item) = self.subscription.try_next() {
            match item {
                Item::Tracks(tracks) => self.set_tracks(tracks, &mut progress),
                Item::Unit(unit) => self.take_unit(&unit, now),
                Item::Gap { dropped } => {
                    self.stream.deliver_in.record_dropped(dropped);
                    self.video.forget_keyframe();
                }
                Item::End(reason) => self.end(reason),
            }
        }
        progress
    }

    /// When [`EgressStream::send`] must be called at the latest.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.video_waiting {
            return Some(now);
        }
        let audio = self.audio_since.map(|since| since + AUDIO_HOLD);
        let catch_up = self.catching_up.then_some(self.next_catch_up);
        audio.into_iter().chain(catch_up).min()
    }

    /// Sends what is due: a whole frame to every live viewer, a bounded burst to those catching up.
    pub fn send(&mut self, now: Instant, out: &mut SendBatch, socket: &UdpSocket) {
        let audio_due = self.audio_since.is_some_and(|since| now >= since + AUDIO_HOLD);
        let fresh = self.video_waiting || audio_due;
        let ticks = self.catch_up_ticks(now);
        let mut catch_up_left = CATCH_UP_TOTAL * ticks;
        let mut first_unserved = None;
        let mut catching_up = false;
        let (mut bytes, mut jumps) = (0, 0);
        let count = self.viewers.len();
        for step in 0..count {
            let index = (self.rotation + step) % count;
            let viewer = &mut self.viewers[index];
            let live = viewer.is_live(self.flushed_head);
            let budget = if live { usize::MAX } else { catch_up_left.min(CATCH_UP_PACKETS * ticks) };
            if budget == 0 {
                first_unserved.get_or_insert(index);
                catching_up = true;
                continue;
            }
            if live && !fresh {
                continue;
            }
            let sent = viewer.send(&self.video, &self.audio, budget, out, socket);
            bytes += sent.bytes as u64;
            jumps += u64::from(sent.jumped);
            if !live {
                catch_up_left -= sent.packets;
                catching_up |= !viewer.caught_up(&self.video);
            }
        }
        out.flush(socket);
        // Nobody is always last, and who got nothing this time comes first next time.
        self.rotation = first_unserved.unwrap_or(self.rotation.wrapping_add(1));
        self.catching_up = catching_up;
        if bytes > 0 {
            self.stream.deliver_out.record_bytes(bytes, now);
        }
        if jumps > 0 {
            self.stream.deliver_out.record_dropped(jumps);
            self.stream.request_keyframe(now);
        }
        if fresh {
            self.video_waiting = false;
            self.audio_since = None;
            self.flushed_head = self.video.head();
        }
    }

    /// Ticks of catching up that are due: more than one when a pass over many viewers took longer than a tick.
    fn catch_up_ticks(&mut self, now: Instant) -> usize {
        if now < self.next_catch_up {
            return 0;
        }
        let late = now.saturating_duration_since(self.next_catch_up);
        self.next_catch_up = now + CATCH_UP_TICK;
        let missed = late.as_nanos() / CATCH_UP_TICK.as_nanos();
        1 + usize::try_from(missed).unwrap_or(usize::MAX).min(CATCH_UP_MAX_TICKS - 1)
    }

    /// Answers one viewer's NACK. Returns how many packets were sent again.
    pub fn retransmit(
        &mut self,
        session: usize,
        ssrc: u32,
        wanted: impl Iterator<Item = u16>,
        out: &mut SendBatch,
        socket: &UdpSocket,
    ) -> usize {
        let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.session == session) else { return 0 };
        let sent = viewer.retransmit(ssrc, wanted, &self.video, &self.audio, out, socket);
        out.flush(socket);
        sent
    }

    /// Sender reports to all viewers when they are due (RFC 3550 section 6.4.1): they carry lip sync.
    pub fn report(&mut self, now: Instant, socket: &UdpSocket) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + SENDER_REPORT_INTERVAL;
        let ntp_timestamp = rtcp::ntp_timestamp(SystemTime::now());
        let mut report = Vec::with_capacity(64);
        let video = self.clocks.rtp_now(now, 90_000, self.clocks.video_start);
        let audio = self.clocks.rtp_now(now, 48_000, self.clocks.audio_start);
        for viewer in &mut self.viewers {
            for (lane, timestamp) in [(&viewer.video, video), (&viewer.audio, audio)] {
                let Some(lane) = lane.as_ref().filter(|lane| lane.packets > 0) else { continue };
                report.clear();
                let (packets, octets) = (lane.packets as u32, lane.octets as u32);
                SenderReport { ssrc: lane.ssrc, ntp_timestamp, rtp_timestamp: timestamp, packets, octets }
                    .put(&mut report);
                // One name for both tracks: they belong together (RFC 3550 section 6.5.1).
                rtcp::put_cname(&mut report, lane.ssrc, self.stream.name());
                let datagram = viewer.sealer.seal_rtcp(&report);
                // A lost report costs nothing: the next one comes in two seconds.
                let _ = socket.send_to(&datagram, viewer.remote);
            }
        }
    }

    fn set_tracks(&mut self, tracks: Arc<TrackSet>, progress: &mut Progress) {
        let new_epoch = self.tracks.as_ref().is_none_or(|old| old.epoch != tracks.epoch);
        let codec = |set: &TrackSet| set.video().map(|track| track.config.codec);
        let changed = self.tracks.as_ref().is_some_and(|old| codec(old) != codec(&tracks));
        if changed || tracks.video().is_some_and(|track| track.config.has_b_frames) {
            progress.misfits.extend(self.viewers.iter().map(|viewer| viewer.session));
        }
        if new_epoch {
            self.clocks.epoch_start_ns = None;
            self.video.forget_keyframe();
            self.viewers.iter_mut().for_each(Viewer::restart);
        }
        // The packetizer stays as long as the codec does: its picture ids must not jump back.
        let kept = self.video_packetizer.take().map(|(packetizer, _)| packetizer);
        self.video_packetizer = tracks.video().map(|track| {
            let codec = track.config.codec;
            let kept = kept.filter(|packetizer| packetizer.codec() == codec);
            (kept.unwrap_or_else(|| Packetizer::new(codec)), track.config.clone())
        });
        self.audio_packetizer = tracks.audio().map(|_| Packetizer::new(Codec::Opus));
        self.tracks = Some(tracks);
        self.update_opus();
    }

    fn take_unit(&mut self, unit: &AccessUnit, now: Instant) {
        self.scratch.clear();
        if unit.track == TrackId::VIDEO {
            let Some((packetizer, config)) = &mut self.video_packetizer else { return };
            self.stream.deliver_in.record(unit, true, now);
            self.clocks.anchor(unit, config.timescale_hz);
            if packetizer.packetize(unit, config, MAX_PAYLOAD, &mut self.scratch).is_err() {
                self.stream.deliver_in.record_error();
                return;
            }
            let timestamp = self.clocks.rtp_timestamp(unit.pts, 90_000, self.clocks.video_start);
            self.video.push_frame(&self.scratch, timestamp, unit.keyframe, true);
            self.video_waiting = true;
            if unit.keyframe {
                for viewer in &mut self.viewers {
                    viewer.start(&self.video, &self.audio);
                }
            }
        } else if unit.track == self.opus_track() {
            let Some(packetizer) = &mut self.audio_packetizer else { return };
            let Some(config) = self.tracks.as_ref().and_then(|set| set.audio()).map(|track| &track.config) else {
                return;
            };
            self.stream.deliver_in.record(unit, false, now);
            self.clocks.anchor(unit, 48_000);
            if packetizer.packetize(unit, config, MAX_PAYLOAD, &mut self.scratch).is_err() {
                self.stream.deliver_in.record_error();
                return;
            }
            let timestamp = self.clocks.rtp_timestamp(unit.pts, 48_000, self.clocks.audio_start);
            self.audio.push_frame(&self.scratch, timestamp, false, false);
            self.audio_since.get_or_insert(now);
            for viewer in &mut self.viewers {
                viewer.start_audio(&self.audio);
            }
        }
    }

    fn end(&mut self, _reason: EndReason) {
        self.opus = None;
        self.tracks = None;
        self.video.forget_keyframe();
    }

    /// Which audio track viewers hear: the publisher's own Opus, or the one made from its AAC.
    fn opus_track(&self) -> TrackId {
        if self.needs_opus() { TrackId::AUDIO_OPUS } else { TrackId::AUDIO }
    }

    fn needs_opus(&self) -> bool {
        let audio = self.tracks.as_ref().and_then(|set| set.audio());
        audio.is_some_and(|track| track.config.codec == Codec::Aac)
    }

    fn update_opus(&mut self) {
        let wanted = self.needs_opus() && self.viewers.iter().any(|viewer| viewer.audio.is_some());
        match (wanted, self.opus.is_some()) {
            (true, false) => self.opus = Some(self.stream.want_opus()),
            (false, true) => self.opus = None,
            _ => {}
        }
    }
}
