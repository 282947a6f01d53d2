//! One reader of a tap: from a stream's units to the bytes of its answer.

use crate::hls::own_tracks;
use crate::{Counters, EventLog};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tallylight_fmp4::{Muxer, Output};
use tallylight_media::{Item, Stream, Subscription, TrackId};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};

/// Why a tap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// The publication is over, and everything of it has been handed out.
    PublicationEnded,
    /// What follows needs another init segment, and one MP4 has one: ask again.
    TracksChanged,
    ReaderGone,
    Shutdown,
}

impl Closed {
    fn code(self) -> &'static str {
        match self {
            Closed::PublicationEnded => "publication_ended",
            Closed::TracksChanged => "tracks_changed",
            Closed::ReaderGone => "reader_gone",
            Closed::Shutdown => "shutdown",
        }
    }
}

pub(super) struct Reader {
    stream: Arc<Stream>,
    /// The publication this tap began with; it shows no other.
    epoch: u64,
    counters: Arc<Counters>,
    bytes_out: mpsc::Sender<Bytes>,
    muxer: Muxer,
    /// Not sent yet: it goes out with the first chunk, so tracks announced one by one become one MP4.
    init: Option<Bytes>,
    started: bool,
    sent: u64,
    dropped: u64,
}

impl Reader {
    pub(super) fn new(
        stream: Arc<Stream>,
        epoch: u64,
        counters: Arc<Counters>,
        bytes_out: mpsc::Sender<Bytes>,
    ) -> Reader {
        let muxer = Muxer::new();
        Reader { stream, epoch, counters, bytes_out, muxer, init: None, started: false, sent: 0, dropped: 0 }
    }

    /// Runs until the publication, the reader or the engine ends. `_place` is free again after that.
    pub(super) async fn run(
        mut self,
        subscription: Subscription,
        arrived: Arc<Notify>,
        mut shutdown: watch::Receiver<bool>,
        events: Arc<EventLog>,
        _place: OwnedSemaphorePermit,
    ) {
        let began = Instant::now();
        let stream = self.stream.clone();
        self.counters.tap_open.increment();
        events.emit("tap_opened", &[("stream", stream.name().into())]);
        let bytes_out = self.bytes_out.clone();
        let closed = tokio::select! {
            closed = self.pump(&subscription, &arrived) => closed,
            () = bytes_out.closed() => Closed::ReaderGone,
            _ = shutdown.wait_for(|down| *down) => Closed::Shutdown,
        };
        self.counters.tap_open.decrement();
        let fields = [
            ("stream", stream.name().into()),
            ("reason", closed.code().into()),
            ("duration_s", began.elapsed().as_secs_f64().into()),
            ("bytes", self.sent.into()),
            ("dropped", self.dropped.into()),
        ];
        events.emit("tap_closed", &fields);
    }

    /// Takes units only as fast as their chunks leave; what waits meanwhile waits in the bounded queue.
    async fn pump(&mut self, subscription: &Subscription, arrived: &Notify) -> Closed {
        loop {
            while let Some(item) = subscription.try_next() {
                let ended = self.take(item);
                while let Some(output) = self.muxer.poll() {
                    if let Err(closed) = self.hand_out(output).await {
                        return closed;
                    }
                }
                if let Some(closed) = ended {
                    return closed;
                }
            }
            arrived.notified().await;
        }
    }

    fn take(&mut self, item: Item) -> Option<Closed> {
        match item {
            Item::Tracks(tracks) if tracks.epoch != self.epoch => return Some(Closed::PublicationEnded),
            Item::Tracks(tracks) => {
                if let Err(error) = self.muxer.set_tracks(own_tracks(&tracks)) {
                    tracing::warn!(stream = self.stream.name(), %error, "tap_tracks_refused");
                    return Some(Closed::TracksChanged);
                }
            }
            // Made for WebRTC viewers from the publisher's own audio, which is here already.
            Item::Unit(unit) if unit.track == TrackId::AUDIO_OPUS => {}
            Item::Unit(unit) => {
                self.muxer.push(unit);
                if self.muxer.wants_keyframe() {
                    // The stream coalesces requests to one a second.
                    self.stream.request_keyframe(Instant::now());
                }
            }
            Item::Gap { dropped } => {
                self.dropped += dropped;
                self.counters.tap_dropped.add(dropped);
                self.muxer.discontinuity();
            }
            Item::End(_) => {
                self.muxer.end();
                return Some(Closed::PublicationEnded);
            }
        }
        None
    }

    async fn hand_out(&mut self, output: Output) -> Result<(), Closed> {
        match output {
            Output::Init(_) if self.started => Err(Closed::TracksChanged),
            Output::Init(init) => {
                self.init = Some(init.bytes);
                Ok(())
            }
            // Audio from before the first picture: a decoder could not begin there.
            Output::Chunk(chunk) if !self.started && !chunk.independent => Ok(()),
            Output::Chunk(chunk) => {
                self.started = true;
                if let Some(init) = self.init.take() {
                    self.send(init).await?;
                }
                self.send(chunk.bytes).await
            }
            // The muxer's timeline goes on, and MP4 has no mark for it.
            Output::Discontinuity | Output::End => Ok(()),
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Closed> {
        let count = bytes.len() as u64;
        self.bytes_out.send(bytes).await.map_err(|_| Closed::ReaderGone)?;
        self.sent += count;
        self.counters.tap_bytes.add(count);
        Ok(())
    }
}
