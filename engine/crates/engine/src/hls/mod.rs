//! LL-HLS of every stream: the packager behind it and the answers below `/hls/`.
//!
//! ```text
//! Stream ── subscription ──> packager (task per stream: Muxer, Window) ── watch ──> Snapshot ──> answer
//! ```
//! [`HlsStore::ensure`] starts a stream's packager; it outlives publishers. [`HlsStore::answer`] serves
//! snapshots and holds requests for what comes next.

mod answer;
mod packager;
#[cfg(test)]
mod tests;
mod viewers;

pub use answer::HlsRequest;

pub(crate) use packager::own_tracks;

use crate::playback::Gate;
use crate::{Counters, EventLog};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};
use tallylight_hls::Snapshot;
use tallylight_media::Stream;
use tokio::sync::{Semaphore, watch};
pub use viewers::{HlsSession, HlsViewers};

/// Requests held at the same time, all streams together. Each costs a connection's memory (about 20 KB), so
/// this is 80 MB. At five parts a second a viewer of LL-HLS has one or two held nearly all the time.
const MAX_HELD: usize = 4096;

/// 2020-01-01, the start of the count that media sequence numbers begin at.
const SEQUENCE_ORIGIN: Duration = Duration::from_secs(1_577_836_800);

/// The HLS side of all streams.
pub struct HlsStore {
    events: Arc<EventLog>,
    counters: Arc<Counters>,
    gate: Arc<Gate>,
    pub viewers: Arc<HlsViewers>,
    streams: RwLock<HashMap<String, Packaged>>,
    held: Semaphore,
}

/// One stream and the newest snapshot of its window.
#[derive(Clone)]
struct Packaged {
    stream: Arc<Stream>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl HlsStore {
    pub fn new(events: Arc<EventLog>, counters: Arc<Counters>, gate: Arc<Gate>) -> HlsStore {
        let (viewers, streams, held) = (Arc::default(), RwLock::default(), Semaphore::new(MAX_HELD));
        HlsStore { events, counters, gate, viewers, streams, held }
    }

    /// Starts packaging a stream, once; called by every ingest that is allowed to publish on it.
    ///
    /// Panics outside of a Tokio runtime.
    pub fn ensure(&self, stream: Arc<Stream>) {
        if self.get(stream.name()).is_some() {
            return;
        }
        let mut streams = self.streams.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        streams.entry(stream.name().to_owned()).or_insert_with(|| {
            let snapshots = packager::start(stream.clone(), first_msn(SystemTime::now()), self.events.clone());
            Packaged { stream, snapshots }
        });
    }

    /// Whether a playlist of this publication has something to play.
    pub fn ready(&self, stream: &str, epoch: u64) -> bool {
        let Some(packaged) = self.get(stream) else { return false };
        let snapshot = packaged.snapshots.borrow();
        snapshot.is_playable() && snapshot.newest_init().is_some_and(|init| init.epoch == epoch)
    }

    fn get(&self, stream: &str) -> Option<Packaged> {
        self.streams.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(stream).cloned()
    }
}

/// Seconds since 2020: larger than any number of an earlier process, as segments are longer than a second.
fn first_msn(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH + SEQUENCE_ORIGIN).unwrap_or_default().as_secs()
}
