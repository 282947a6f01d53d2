//! A named programme: at most one publisher, any number of subscribers, the current group of pictures.

use crate::queue::{Queue, Subscription, Waker};
use crate::{AccessUnit, Item, Kind, Ledger, LedgerSnapshot, Track, TrackId, TrackSet};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// A publisher that has sent no media for this long yields to a new one with the same right
/// (hardening matrix B7: a half-open connection must not lock its owner out).
pub const GHOST_AFTER: Duration = Duration::from_secs(3);
/// A stream is on air while media arrived within this time: longer than any keyframe or Wi-Fi hiccup
/// seen in practice, shorter than a viewer's patience.
pub const ON_AIR_WINDOW: Duration = Duration::from_secs(5);
/// Keyframe requests to one publisher, all viewers together: at most one a second (matrix E6).
const KEYFRAME_REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// The GOP cache holds what a joining viewer needs. Beyond this the encoder has no sensible keyframe
/// interval, and joiners wait for the next keyframe instead.
const GOP_CACHE_MAX_BYTES: usize = 16 << 20;
const GOP_CACHE_MAX_UNITS: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Rtmp,
    Whip,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Rtmp => "rtmp",
            Protocol::Whip => "whip",
        }
    }

    /// The founding document's word for where a broadcast comes from.
    pub fn stream_type(self) -> &'static str {
        match self {
            Protocol::Rtmp => "RTMP_STREAM",
            Protocol::Whip => "WEBRTC_STREAM",
        }
    }
}

/// Why a publication ended. Endings are not failures: each has its own sentence on the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The publisher said goodbye (RTMP deleteStream, WHIP DELETE).
    Finished,
    /// The connection went away without a goodbye.
    ConnectionLost,
    /// No media arrived for too long and the session was closed.
    Stalled,
    /// It had sent nothing for a while, and another publisher with the same right came.
    Replaced,
    /// Another publisher with the same right asked to take over.
    TakenOver,
    /// An operator cut it.
    Removed,
    /// Its stream key was rotated.
    KeyRotated,
    /// What it sent could not be understood or broke a limit.
    ProtocolError,
    /// The server is shutting down.
    Shutdown,
}

impl EndReason {
    /// Stable code for events and the API.
    pub fn code(self) -> &'static str {
        match self {
            EndReason::Finished => "finished",
            EndReason::ConnectionLost => "connection_lost",
            EndReason::Stalled => "stalled",
            EndReason::Replaced => "replaced",
            EndReason::TakenOver => "taken_over",
            EndReason::Removed => "removed",
            EndReason::KeyRotated => "key_rotated",
            EndReason::ProtocolError => "protocol_error",
            EndReason::Shutdown => "shutdown",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("stream {stream:?} already has a publisher that is sending; stop it first")]
    Busy { stream: String, session: String },
}

/// Who publishes, and how to reach them. The two hooks must not block and may be called from any thread.
#[derive(Clone)]
pub struct PublisherInfo {
    pub session: String,
    pub protocol: Protocol,
    pub request_keyframe: Option<Arc<dyn Fn() + Send + Sync>>,
    pub close: Arc<dyn Fn(EndReason) + Send + Sync>,
}

/// Where a new subscriber starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinPoint {
    /// At the last keyframe, with everything since it: a picture at once.
    LastKeyframe,
    /// With the next unit.
    Live,
}

/// Rates measured over the last whole second or more of one track, and how fresh it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrackRates {
    pub bitrate_bps: f64,
    pub units_per_second: f64,
    /// Distance of the last two keyframes in seconds of media time (video only).
    pub keyframe_interval_s: Option<f64>,
    /// When its newest unit came; a publisher's picture can stop while its sound goes on.
    pub last_unit_at: Option<Instant>,
}

#[derive(Debug, Clone)]
pub struct StreamSnapshot {
    pub name: String,
    pub epoch: u64,
    pub publisher: Option<PublisherSnapshot>,
    pub tracks: Option<Arc<TrackSet>>,
    pub rates: Vec<(TrackId, TrackRates)>,
    /// Why the last publication ended, while none is on.
    pub last_end: Option<EndReason>,
    pub last_media_at: Option<Instant>,
    pub subscribers: usize,
    pub ingest_in: LedgerSnapshot,
    pub ingest_out: LedgerSnapshot,
}

#[derive(Debug, Clone)]
pub struct PublisherSnapshot {
    pub session: String,
    pub protocol: Protocol,
    pub started_at: SystemTime,
    pub since: Instant,
}

impl StreamSnapshot {
    /// Media is arriving: the only meaning of ON_AIR.
    pub fn on_air(&self, now: Instant) -> bool {
        self.publisher.is_some()
            && self.tracks.is_some()
            && self.last_media_at.is_some_and(|at| now.saturating_duration_since(at) < ON_AIR_WINDOW)
    }
}

#[derive(Default)]
struct Meter {
    since: Option<Instant>,
    bytes: u64,
    units: u64,
    last_keyframe_dts: Option<i64>,
    rates: TrackRates,
}

struct Publisher {
    info: PublisherInfo,
    started_at: SystemTime,
    since: Instant,
    over: Arc<OnceLock<EndReason>>,
}

#[derive(Default)]
struct Inner {
    epoch: u64,
    publisher: Option<Publisher>,
    tracks: Option<Arc<TrackSet>>,
    last_media_at: Option<Instant>,
    last_end: Option<EndReason>,
    gop: Vec<AccessUnit>,
    gop_bytes: usize,
    queues: Vec<Arc<Queue>>,
    meters: HashMap<TrackId, Meter>,
    last_keyframe_request: Option<Instant>,
}

type OpusHook = Box<dyn Fn(Arc<Stream>) + Send + Sync>;

/// A named programme. Shared; all methods may be called from any thread and none blocks on a peer.
pub struct Stream {
    name: String,
    inner: Mutex<Inner>,
    epochs: Arc<AtomicU64>,
    /// Viewers that need Opus made from the publisher's AAC.
    opus_wanted: AtomicUsize,
    opus_hook: Arc<RwLock<Option<OpusHook>>>,
    pub ingest_in: Ledger,
    pub ingest_out: Ledger,
    pub package_in: Ledger,
    pub package_out: Ledger,
    pub deliver_in: Ledger,
    pub deliver_out: Ledger,
}

impl Stream {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Becomes the stream's publisher, or says who already is.
    ///
    /// A publisher without media for [`GHOST_AFTER`] is told to close and yields.
    pub fn publish(self: &Arc<Self>, info: PublisherInfo, now: Instant) -> Result<Publication, PublishError> {
        let mut inner = self.lock();
        if let Some(old) = inner.publisher.as_ref().filter(|_| !inner.has_ghost(now)) {
            return Err(PublishError::Busy { stream: self.name.clone(), session: old.info.session.clone() });
        }
        Ok(self.enter(&mut inner, info, now))
    }

    /// Becomes the stream's publisher, whoever is; that one is told to close.
    pub fn take_over(self: &Arc<Self>, info: PublisherInfo, now: Instant) -> Publication {
        self.enter(&mut self.lock(), info, now)
    }

    /// One step under the lock, so of any number that come at once each sees the one before it.
    fn enter(self: &Arc<Self>, inner: &mut Inner, info: PublisherInfo, now: Instant) -> Publication {
        let reason = if inner.has_ghost(now) { EndReason::Replaced } else { EndReason::TakenOver };
        if let Some(old) = &inner.publisher {
            let close = old.info.close.clone();
            self.end_locked(inner, reason);
            close(reason);
        }
        inner.epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let over = Arc::new(OnceLock::new());
        inner.publisher = Some(Publisher { info, started_at: SystemTime::now(), since: now, over: over.clone() });
        inner.last_end = None;
        inner.last_media_at = None;
        inner.meters.clear();
        Publication { stream: self.clone(), epoch: inner.epoch, version: 0, over }
    }

    /// Starts reading. The first item is `Tracks` (at once if something is on air). The subscription
    /// outlives publishers: after `End` a later publisher's `Tracks` follow.
    pub fn subscribe(&self, from: JoinPoint, waker: Waker) -> Subscription {
        let queue = Queue::new(waker);
        let mut inner = self.lock();
        if let Some(tracks) = &inner.tracks {
            queue.push(Item::Tracks(tracks.clone()));
            if from == JoinPoint::LastKeyframe {
                for unit in &inner.gop {
                    queue.push(Item::Unit(unit.clone()));
                }
            }
        }
        inner.queues.retain(|queue| queue.is_open());
        inner.queues.push(queue.clone());
        Subscription::new(queue)
    }

    /// Asks the publisher for a keyframe, all viewers together at most once a second.
    pub fn request_keyframe(&self, now: Instant) {
        let hook = {
            let mut inner = self.lock();
            let recent = inner
                .last_keyframe_request
                .is_some_and(|at| now.saturating_duration_since(at) < KEYFRAME_REQUEST_INTERVAL);
            let Some(publisher) = &inner.publisher else { return };
            let Some(hook) = publisher.info.request_keyframe.clone() else { return };
            if recent {
                return;
            }
            inner.last_keyframe_request = Some(now);
            hook
        };
        hook();
    }

    /// Tells the publisher to close, if there is one. Returns whether there was.
    pub fn close_publisher(&self, reason: EndReason) -> bool {
        let close = self.lock().publisher.as_ref().map(|publisher| publisher.info.close.clone());
        close.as_ref().inspect(|close| close(reason)).is_some()
    }

    /// Registers one viewer's need for Opus made from AAC; ends when the guard is dropped.
    pub fn want_opus(self: &Arc<Self>) -> OpusDemand {
        let first = self.opus_wanted.fetch_add(1, Ordering::AcqRel) == 0;
        if let (true, Some(start)) = (first, &*self.opus_hook.read().unwrap_or_else(|p| p.into_inner())) {
            start(self.clone());
        }
        OpusDemand(self.clone())
    }

    pub fn opus_wanted(&self) -> bool {
        self.opus_wanted.load(Ordering::Acquire) > 0
    }

    /// Fans out a unit made inside the engine (`TrackId::AUDIO_OPUS`). Not counted as ingest, not cached.
    pub fn push_derived(&self, epoch: u64, unit: AccessUnit) {
        let mut inner = self.lock();
        if inner.epoch == epoch && inner.publisher.is_some() {
            inner.queues.retain(|queue| queue.push(Item::Unit(unit.clone())));
        }
    }

    pub fn snapshot(&self) -> StreamSnapshot {
        let inner = self.lock();
        StreamSnapshot {
            name: self.name.clone(),
            epoch: inner.epoch,
            publisher: inner.publisher.as_ref().map(|publisher| PublisherSnapshot {
                session: publisher.info.session.clone(),
                protocol: publisher.info.protocol,
                started_at: publisher.started_at,
                since: publisher.since,
            }),
            tracks: inner.tracks.clone(),
            rates: inner.meters.iter().map(|(id, meter)| (*id, meter.rates)).collect(),
            last_end: inner.last_end,
            last_media_at: inner.last_media_at,
            subscribers: inner.queues.iter().filter(|queue| queue.is_open()).count(),
            ingest_in: self.ingest_in.snapshot(),
            ingest_out: self.ingest_out.snapshot(),
        }
    }

    fn push(&self, epoch: u64, unit: AccessUnit, now: Instant) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch || inner.publisher.is_none() {
            return false;
        }
        let Some(track) = inner.tracks.as_ref().and_then(|set| set.get(unit.track)).cloned() else {
            self.ingest_out.record_error();
            return true;
        };
        let video = track.kind() == Kind::Video;
        self.ingest_out.record(&unit, video, now);
        inner.last_media_at = Some(now);
        inner.meter(&track, &unit, now);
        inner.cache(&unit, video);
        inner.queues.retain(|queue| queue.push(Item::Unit(unit.clone())));
        true
    }

    fn end_locked(&self, inner: &mut Inner, reason: EndReason) {
        if let Some(publisher) = inner.publisher.take() {
            let _ = publisher.over.set(reason);
        }
        inner.tracks = None;
        inner.last_end = Some(reason);
        inner.gop = Vec::new();
        inner.gop_bytes = 0;
        inner.queues.retain(|queue| queue.push(Item::End(reason)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// Whether the publisher has been silent for so long that it yields.
    fn has_ghost(&self, now: Instant) -> bool {
        let last = self.publisher.as_ref().map(|publisher| self.last_media_at.unwrap_or(publisher.since));
        last.is_some_and(|last| now.saturating_duration_since(last) >= GHOST_AFTER)
    }

    fn meter(&mut self, track: &Track, unit: &AccessUnit, now: Instant) {
        let meter = self.meters.entry(track.id).or_default();
        let since = *meter.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Duration::from_secs(1) {
            meter.rates.bitrate_bps = meter.bytes as f64 * 8.0 / elapsed.as_secs_f64();
            meter.rates.units_per_second = meter.units as f64 / elapsed.as_secs_f64();
            (meter.since, meter.bytes, meter.units) = (Some(now), 0, 0);
        }
        meter.rates.last_unit_at = Some(now);
        meter.bytes += unit.data.len() as u64;
        meter.units += 1;
        if track.kind() == Kind::Video && unit.keyframe {
            if let Some(last) = meter.last_keyframe_dts {
                meter.rates.keyframe_interval_s = Some((unit.dts - last) as f64 / f64::from(track.config.timescale_hz));
            }
            meter.last_keyframe_dts = Some(unit.dts);
        }
    }

    fn cache(&mut self, unit: &AccessUnit, video: bool) {
        let has_video = self.tracks.as_ref().is_some_and(|set| set.video().is_some());
        if video && unit.keyframe {
            self.gop.clear();
            self.gop_bytes = 0;
        } else if !has_video || self.gop.is_empty() {
            return;
        }
        if self.gop.len() >= GOP_CACHE_MAX_UNITS || self.gop_bytes + unit.data.len() > GOP_CACHE_MAX_BYTES {
            self.gop = Vec::new();
            self.gop_bytes = 0;
            return;
        }
        self.gop_bytes += unit.data.len();
        self.gop.push(unit.clone());
    }
}

/// The right to publish on a stream. Dropping it without [`Publication::end`] means the connection was lost.
pub struct Publication {
    stream: Arc<Stream>,
    epoch: u64,
    version: u32,
    over: Arc<OnceLock<EndReason>>,
}

impl Publication {
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Why this publication is over, if it is: also when the stream ended it.
    pub fn over(&self) -> Option<EndReason> {
        self.over.get().copied()
    }

    /// Announces the tracks; again when they change (late second track, new resolution).
    pub fn set_tracks(&mut self, tracks: Vec<Track>) {
        let mut inner = self.stream.lock();
        if inner.epoch != self.epoch || inner.publisher.is_none() {
            return;
        }
        self.version += 1;
        let set = Arc::new(TrackSet {
            epoch: self.epoch,
            version: self.version,
            tracks: tracks.into_iter().map(Arc::new).collect(),
        });
        inner.tracks = Some(set.clone());
        inner.gop.clear();
        inner.gop_bytes = 0;
        inner.queues.retain(|queue| queue.push(Item::Tracks(set.clone())));
    }

    /// Hands one unit to every subscriber. False when this publication is over (another one took the stream).
    pub fn push(&self, unit: AccessUnit, now: Instant) -> bool {
        self.stream.push(self.epoch, unit, now)
    }

    pub fn end(mut self, reason: EndReason) {
        self.finish(reason);
    }

    fn finish(&mut self, reason: EndReason) {
        let mut inner = self.stream.lock();
        if self.over().is_none() {
            self.stream.end_locked(&mut inner, reason);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.finish(EndReason::ConnectionLost);
    }
}

/// One viewer's need for Opus audio; see [`Stream::want_opus`].
pub struct OpusDemand(Arc<Stream>);

impl Drop for OpusDemand {
    fn drop(&mut self) {
        self.0.opus_wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// All streams by name. A stream is made when first asked for and kept while the engine lives: names
/// come only from the control plane's answers, so strangers cannot make them.
pub struct Streams {
    by_name: RwLock<HashMap<String, Arc<Stream>>>,
    epochs: Arc<AtomicU64>,
    opus_hook: Arc<RwLock<Option<OpusHook>>>,
}

impl Streams {
    /// `first_epoch` must be larger than any epoch of an earlier engine process (milliseconds of Unix time do).
    pub fn new(first_epoch: u64) -> Streams {
        Streams { by_name: RwLock::default(), epochs: Arc::new(AtomicU64::new(first_epoch)), opus_hook: Arc::default() }
    }

    /// Sets what starts the AAC-to-Opus transcoder of a stream when its first viewer needs one.
    pub fn on_opus_wanted(&self, hook: impl Fn(Arc<Stream>) + Send + Sync + 'static) {
        *self.opus_hook.write().unwrap_or_else(|p| p.into_inner()) = Some(Box::new(hook));
    }

    pub fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.by_name.read().unwrap_or_else(|p| p.into_inner()).get(name).cloned()
    }

    pub fn get_or_create(&self, name: &str) -> Arc<Stream> {
        if let Some(stream) = self.get(name) {
            return stream;
        }
        let mut map = self.by_name.write().unwrap_or_else(|p| p.into_inner());
        map.entry(name.to_owned())
            .or_insert_with(|| {
                Arc::new(Stream {
                    name: name.to_owned(),
                    inner: Mutex::default(),
                    epochs: self.epochs.clone(),
                    opus_wanted: AtomicUsize::new(0),
                    opus_hook: self.opus_hook.clone(),
                    ingest_in: Ledger::default(),
                    ingest_out: Ledger::default(),
                    package_in: Ledger::default(),
                    package_out: Ledger::default(),
                    deliver_in: Ledger::default(),
                    deliver_out: Ledger::default(),
                })
            })
            .clone()
    }

    pub fn all(&self) -> Vec<Arc<Stream>> {
        let mut all: Vec<_> = self.by_name.read().unwrap_or_else(|p| p.into_inner()).values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
