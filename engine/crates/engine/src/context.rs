//! What every part of the engine shares: made once in `main`, handed around as `Arc<Engine>`.

use crate::cuts::Cuts;
use crate::hls::HlsStore;
use crate::peers::Peers;
use crate::playback::{Admitted, Gate};
use crate::sessions::Sessions;
use crate::status::Surroundings;
use crate::tap::Taps;
use crate::timestamps::unix_milliseconds;
use crate::viewers::Viewers;
use crate::{Admission, Config, Counters, EventLog};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};
use tallylight_media::{StreamSnapshot, Streams};
use tokio::sync::watch;

pub struct Engine {
    pub config: Config,
    pub streams: Arc<Streams>,
    pub admission: Admission,
    pub events: Arc<EventLog>,
    pub counters: Arc<Counters>,
    /// RTMP peers; WebRTC keeps its own.
    pub sessions: Sessions,
    pub hls: HlsStore,
    /// Who may play.
    pub gate: Arc<Gate>,
    /// WHEP sessions with what they were let in by.
    pub admitted: Admitted,
    /// Whose publishers were cut lately.
    pub cuts: Cuts,
    pub taps: Taps,
    /// WebRTC, once its socket is bound (its events need this context first).
    pub peers: OnceLock<Arc<dyn Peers>>,
    pub viewers: Viewers,
    /// Rings when a viewer of some stream should be told something new at once.
    pub live_changes: watch::Sender<u64>,
    /// Random per process: tells a restarted engine from the same one.
    pub boot_id: String,
    pub started: Instant,
}

impl Engine {
    pub fn new(config: Config) -> Arc<Engine> {
        let counters = Arc::new(Counters::default());
        let events = Arc::new(EventLog::new());
        let gate = Arc::new(Gate::open(config.policy_file.clone()));
        Arc::new(Engine {
            streams: Arc::new(Streams::new(unix_milliseconds(SystemTime::now()))),
            admission: Admission::new(&config.control_socket, counters.clone()),
            hls: HlsStore::new(events.clone(), counters.clone(), gate.clone()),
            gate,
            admitted: Admitted::default(),
            cuts: Cuts::default(),
            taps: Taps::new(events.clone(), counters.clone()),
            events,
            counters,
            sessions: Sessions::default(),
            peers: OnceLock::new(),
            viewers: Viewers::default(),
            live_changes: watch::Sender::new(0),
            boot_id: random_id(),
            started: Instant::now(),
            config,
        })
    }

    /// Whether the HLS playlist of this publication has something to play.
    pub fn hls_ready(&self, snapshot: &StreamSnapshot) -> bool {
        snapshot.tracks.is_some() && self.hls.ready(&snapshot.name, snapshot.epoch)
    }

    /// Asks WebRTC on a thread that may wait. None before WebRTC has started, or when it broke down.
    pub async fn with_peers<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Peers) -> T + Send + 'static) -> Option<T> {
        let peers = self.peers.get()?.clone();
        tokio::task::spawn_blocking(move || ask(&*peers)).await.ok()
    }

    pub fn surroundings(&self, snapshot: &StreamSnapshot) -> Surroundings {
        Surroundings { viewers: self.viewers.of(&snapshot.name), hls_ready: self.hls_ready(snapshot) }
    }
}

/// 128 random bits in hex: ids of sessions (whose possession grants access to them) and of this process.
///
/// Panics when the system has no randomness: nothing here could be safe then.
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random generator");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
