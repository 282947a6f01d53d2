//! From a stream's units to snapshots of its HLS window.

use crate::EventLog;
use crate::timestamps::rfc3339;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tallylight_fmp4::{Chunk, InitSegment, Muxer, Output, TIMESCALE_HZ};
use tallylight_hls::{InitName, Part, Snapshot, Window, WindowBounds};
use tallylight_media::{AccessUnit, Codec, Item, JoinPoint, Kind, Stream, Subscription, TrackId, TrackSet};
use tokio::sync::{Notify, watch};

/// A publisher that can be asked sends a keyframe at least once a segment target: browsers have no fixed
/// interval.
const KEYFRAME_EVERY: Duration = Duration::from_secs(2);

/// Media of a stream that is off the air stays this long, for players that are still inside the window.
const KEEP_AFTER_END: Duration = Duration::from_secs(60);

/// Items taken from the queue before others get a turn: a whole burst at a join is shorter.
const BATCH: usize = 256;

/// Starts the task of one stream. It lives as long as somebody looks at its snapshots.
pub(super) fn start(stream: Arc<Stream>, first_msn: u64, events: Arc<EventLog>) -> watch::Receiver<Arc<Snapshot>> {
    let arrived = Arc::new(Notify::new());
    let waker = arrived.clone();
    // Subscribed before this returns: nothing that is published from now on is missed.
    let subscription = stream.subscribe(JoinPoint::LastKeyframe, Arc::new(move || waker.notify_one()));
    let packager = Packager::new(stream, first_msn);
    let (sender, receiver) = watch::channel(Arc::new(packager.window.snapshot()));
    tokio::spawn(run(packager, subscription, arrived, sender, events));
    receiver
}

async fn run(
    mut packager: Packager,
    subscription: Subscription,
    arrived: Arc<Notify>,
    sender: watch::Sender<Arc<Snapshot>>,
    events: Arc<EventLog>,
) {
    loop {
        let mut taken = 0;
        while let Some(item) = subscription.try_next() {
            packager.take(item, Instant::now(), SystemTime::now());
            taken += 1;
            if taken >= BATCH {
                break;
            }
        }
        publish(&mut packager, &sender, &events);
        if taken >= BATCH {
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = arrived.notified() => {}
            () = until(packager.forget_at) => packager.forget(),
            () = sender.closed() => return,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn publish(packager: &mut Packager, sender: &watch::Sender<Arc<Snapshot>>, events: &EventLog) {
    if !std::mem::take(&mut packager.changed) {
        return;
    }
    let snapshot = Arc::new(packager.window.snapshot());
    let started = packager.newly_playable(&snapshot);
    sender.send_replace(snapshot);
    if let Some(epoch) = started {
        events.emit("hls_started", &[("stream", packager.stream.name().into()), ("epoch", epoch.into())]);
    }
}

/// The muxer and the window of one stream. No I/O; time comes in as an argument.
pub(super) struct Packager {
    stream: Arc<Stream>,
    muxer: Muxer,
    pub(super) window: Window,
    /// The window differs from the last snapshot.
    pub(super) changed: bool,
    /// The publication whose `hls_started` was told.
    started_epoch: Option<u64>,
    /// Timeline position and wall clock of the run's first chunk.
    anchor: Option<(u64, SystemTime)>,
    /// Wall clock at the end of the last chunk.
    last_end: Option<SystemTime>,
    last_keyframe: Option<Instant>,
    muxer_dropped: u64,
    muxer_errors: u64,
    forget_at: Option<Instant>,
}

impl Packager {
    pub(super) fn new(stream: Arc<Stream>, first_msn: u64) -> Packager {
        Packager {
            stream,
            muxer: Muxer::new(),
            window: Window::new(first_msn, WindowBounds::default()),
            changed: false,
            started_epoch: None,
            anchor: None,
            last_end: None,
            last_keyframe: None,
            muxer_dropped: 0,
            muxer_errors: 0,
            forget_at: None,
        }
    }

    /// Takes one item of the subscription.
    pub(super) fn take(&mut self, item: Item, now: Instant, wall_clock: SystemTime) {
        match item {
            Item::Tracks(tracks) => self.set_tracks(&tracks),
            Item::Unit(unit) => self.unit(unit, now),
            Item::Gap { dropped } => {
                self.stream.package_in.record_dropped(dropped);
                self.muxer.discontinuity();
            }
            Item::End(_) => {
                self.muxer.end();
                self.forget_at = Some(now + KEEP_AFTER_END);
            }
        }
        while let Some(output) = self.muxer.poll() {
            self.output(output, now, wall_clock);
        }
        self.count_losses();
    }

    /// Lets go of the media of a stream that did not come back.
    fn forget(&mut self) {
        self.forget_at = None;
        self.window.forget();
        self.changed = true;
    }

    fn set_tracks(&mut self, tracks: &Arc<TrackSet>) {
        self.forget_at = None;
        if tracks.video().is_some_and(|video| video.config.codec == Codec::Vp8) {
            // HLS cannot carry VP8 (status::hls_playability says so to people); the units are not muxed.
            self.muxer.end();
            // Those who wait for a playlist learn that none will come.
            self.changed = true;
            return;
        }
        if let Err(error) = self.muxer.set_tracks(own_tracks(tracks)) {
            self.stream.package_in.record_error();
            tracing::warn!(stream = self.stream.name(), %error, "hls_tracks_refused");
        }
    }

    fn unit(&mut self, unit: AccessUnit, now: Instant) {
        // Opus made for WebRTC viewers: HLS carries the publisher's own audio.
        if unit.track == TrackId::AUDIO_OPUS {
            return;
        }
        let video = unit.track == TrackId::VIDEO;
        self.stream.package_in.record(&unit, video, now);
        if video {
            self.want_keyframes(&unit, now);
        }
        self.muxer.push(unit);
    }

    fn want_keyframes(&mut self, unit: &AccessUnit, now: Instant) {
        if unit.keyframe {
            self.last_keyframe = Some(now);
        } else if self.last_keyframe.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_EVERY) {
            // The stream coalesces requests to one a second, and publishers that cannot be asked ignore them.
            self.stream.request_keyframe(now);
        }
    }

    fn output(&mut self, output: Output, now: Instant, wall_clock: SystemTime) {
        match output {
            Output::Init(InitSegment { bytes, tracks }) => {
                self.anchor = None;
                self.window.set_init(InitName { epoch: tracks.epoch, version: tracks.version }, bytes);
            }
            Output::Discontinuity => {
                self.anchor = None;
                self.window.discontinuity();
            }
            Output::Chunk(chunk) => self.chunk(chunk, now, wall_clock),
            Output::End => self.window.end(),
        }
        self.changed = true;
    }

    fn chunk(&mut self, chunk: Chunk, now: Instant, wall_clock: SystemTime) {
        let out = &self.stream.package_out;
        out.record_many(chunk.access_units, chunk.keyframes, chunk.media_bytes, chunk.last_source_pts, now);
        let starts = self.program_time(&chunk, now, wall_clock);
        self.last_end = Some(starts + Duration::from_secs_f64(chunk.duration_s()));
        let part = Part { bytes: chunk.bytes, duration_ticks: chunk.duration_ticks, independent: chunk.independent };
        self.window.push(part, rfc3339(starts));
    }

    /// Wall clock of a chunk's start: the arrival of the run's first unit, plus media time from there. So it
    /// grows as the media does, whatever the network did in between, and it never goes back.
    fn program_time(&mut self, chunk: &Chunk, now: Instant, wall_clock: SystemTime) -> SystemTime {
        let (anchor_ticks, anchor) = *self.anchor.get_or_insert_with(|| {
            let arrived = wall_clock - now.saturating_duration_since(chunk.arrived_at);
            (chunk.start_ticks, self.last_end.map_or(arrived, |end| end.max(arrived)))
        });
        let ticks = chunk.start_ticks.saturating_sub(anchor_ticks);
        anchor + Duration::from_secs_f64(ticks as f64 / f64::from(TIMESCALE_HZ))
    }

    fn count_losses(&mut self) {
        let (dropped, errors) = (self.muxer.dropped(), self.muxer.errors());
        self.stream.package_out.record_dropped(dropped - self.muxer_dropped);
        (self.muxer_errors..errors).for_each(|_| self.stream.package_out.record_error());
        (self.muxer_dropped, self.muxer_errors) = (dropped, errors);
    }

    /// The publication that has something to play for the first time.
    fn newly_playable(&mut self, snapshot: &Snapshot) -> Option<u64> {
        let epoch = snapshot.newest_init().filter(|_| snapshot.is_playable())?.epoch;
        (self.started_epoch.replace(epoch) != Some(epoch)).then_some(epoch)
    }
}

/// The publisher's first video and first audio track, without what the engine makes itself.
pub(crate) fn own_tracks(tracks: &Arc<TrackSet>) -> Arc<TrackSet> {
    let own = |kind: Kind| tracks.tracks.iter().find(move |t| t.kind() == kind && t.id != TrackId::AUDIO_OPUS).cloned();
    Arc::new(TrackSet {
        epoch: tracks.epoch,
        version: tracks.version,
        tracks: [own(Kind::Video), own(Kind::Audio)].into_iter().flatten().collect(),
    })
}
