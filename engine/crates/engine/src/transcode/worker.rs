//! One thread per stream whose viewers need Opus made from AAC.

use super::{TranscodeError, Transcoder};
use crate::{Counters, EventLog};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tallylight_media::{
    AccessUnit, Codec, Item, JoinPoint, Stream, Subscription, Track, TrackConfig, TrackId, TrackSet, Waker,
};

/// A worker stays this long after its last viewer left: a player that reconnects finds it running.
pub const LINGER: Duration = Duration::from_secs(2);

/// Which streams have a worker.
pub struct Workers {
    events: Arc<EventLog>,
    counters: Arc<Counters>,
    linger: Duration,
    running: Mutex<HashSet<String>>,
}

impl Workers {
    pub fn new(events: Arc<EventLog>, counters: Arc<Counters>, linger: Duration) -> Arc<Workers> {
        Arc::new(Workers { events, counters, linger, running: Mutex::default() })
    }

    /// Starts the stream's worker unless it runs.
    pub fn start(self: &Arc<Self>, stream: Arc<Stream>) {
        if !self.lock().insert(stream.name().to_owned()) {
            return;
        }
        let name = stream.name().to_owned();
        let registration = Registration { workers: self.clone(), name: name.clone(), left: Cell::new(false) };
        let spawned = thread::Builder::new().name("opus".to_owned()).spawn(move || run(&stream, &registration));
        if let Err(error) = spawned {
            // The closure and its registration are dropped already.
            self.counters.transcoder_errors.increment();
            self.emit_stopped(&name, "thread_failed", &error.to_string());
        }
    }

    fn emit_stopped(&self, stream: &str, reason: &'static str, message: &str) {
        let fields = [("stream", stream.into()), ("reason", reason.into()), ("message", message.into())];
        self.events.emit("transcoder_stopped", &fields);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A worker's place in [`Workers`]; given back when the thread ends, however it ends.
struct Registration {
    workers: Arc<Workers>,
    name: String,
    /// The place may belong to another worker already.
    left: Cell<bool>,
}

impl Registration {
    /// Gives the place back if nobody wants Opus. Deciding under the lock closes the race with a viewer who
    /// comes at this moment: it counts itself first and looks for the worker afterwards.
    /// `farewell` runs before a successor can start.
    fn leave_if_unwanted(&self, stream: &Stream, farewell: impl FnOnce()) -> bool {
        let mut running = self.workers.lock();
        let leave = !stream.opus_wanted();
        if leave {
            farewell();
            running.remove(&self.name);
            self.left.set(true);
        }
        leave
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.left.get() {
            self.workers.lock().remove(&self.name);
        }
    }
}

fn run(stream: &Arc<Stream>, registration: &Registration) {
    let this = thread::current();
    let waker: Waker = Arc::new(move || this.unpark());
    let subscription = stream.subscribe(JoinPoint::Live, waker);
    let mut worker = Worker { stream, workers: &registration.workers, current: None, packets: Vec::new() };
    let mut unwanted_since = None;
    loop {
        worker.drain(&subscription);
        if stream.opus_wanted() {
            unwanted_since = None;
        } else {
            let since: Instant = *unwanted_since.get_or_insert_with(Instant::now);
            let over = since.elapsed() >= worker.workers.linger;
            if over && registration.leave_if_unwanted(stream, || worker.stop("not_needed")) {
                return;
            }
        }
        // Woken by every queued item; the time-out only serves the linger.
        thread::park_timeout(worker.workers.linger.clamp(Duration::from_millis(10), Duration::from_millis(500)));
    }
}

struct Worker<'a> {
    stream: &'a Arc<Stream>,
    workers: &'a Workers,
    current: Option<Current>,
    packets: Vec<super::OpusPacket>,
}

/// What is being transcoded now.
struct Current {
    epoch: u64,
    track: TrackId,
    config: TrackConfig,
    /// None when this track cannot be transcoded; said once.
    transcoder: Option<Transcoder>,
}

impl Worker<'_> {
    fn drain(&mut self, subscription: &Subscription) {
        while let Some(item) = subscription.try_next() {
            match item {
                Item::Tracks(tracks) => self.take_tracks(&tracks),
                Item::Unit(unit) => self.take_unit(&unit),
                // The times of what follows say how long the gap was.
                Item::Gap { .. } => {}
                Item::End(_) => self.stop("publisher_ended"),
            }
        }
    }

    fn take_tracks(&mut self, tracks: &TrackSet) {
        let aac = tracks.audio().filter(|track| track.config.codec == Codec::Aac);
        let same = match (&self.current, aac) {
            (Some(current), Some(track)) => current.epoch == tracks.epoch && current.config == track.config,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.stop("tracks_changed");
        if let Some(track) = aac {
            self.begin(tracks.epoch, track);
        }
    }

    fn begin(&mut self, epoch: u64, track: &Track) {
        let name = self.stream.name();
        let transcoder = match Transcoder::new(&track.config) {
            Ok(transcoder) => {
                let fields = [
                    ("stream", name.into()),
                    ("sample_rate_hz", track.config.sample_rate_hz.into()),
                    ("channels", track.config.channels.into()),
                ];
                self.workers.events.emit("transcoder_started", &fields);
                self.workers.counters.transcoders.increment();
                Some(transcoder)
            }
            Err(error) => {
                self.workers.counters.transcoder_errors.increment();
                self.workers.emit_stopped(name, refusal(&error), &error.to_string());
                None
            }
        };
        self.current = Some(Current { epoch, track: track.id, config: track.config.clone(), transcoder });
    }

    fn stop(&mut self, reason: &'static str) {
        if let Some(Current { transcoder: Some(_), .. }) = self.current.take() {
            self.workers.counters.transcoders.decrement();
            self.workers.emit_stopped(self.stream.name(), reason, "");
        }
    }

    fn take_unit(&mut self, unit: &AccessUnit) {
        let Some(Current { epoch, track, transcoder: Some(transcoder), .. }) = &mut self.current else { return };
        if unit.track != *track {
            return;
        }
        self.packets.clear();
        if transcoder.push(unit.pts, &unit.data, &mut self.packets).is_err() {
            self.workers.counters.transcoder_errors.increment();
        }
        for packet in self.packets.drain(..) {
            let derived = AccessUnit {
                track: TrackId::AUDIO_OPUS,
                pts: packet.pts,
                dts: packet.pts,
                keyframe: true,
                data: packet.data,
                arrived_at: unit.arrived_at,
            };
            self.stream.push_derived(*epoch, derived);
        }
    }
}

/// Stable code of why a track cannot be transcoded.
fn refusal(error: &TranscodeError) -> &'static str {
    match error {
        TranscodeError::Channels { .. } => "channels_unsupported",
        TranscodeError::Unsupported { .. } => "codec_unsupported",
        TranscodeError::Configuration(_) => "configuration_unreadable",
        _ => "setup_failed",
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
