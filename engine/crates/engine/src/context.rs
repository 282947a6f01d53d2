//! What every part of the engine shares: made once in `main`, handed around as `Arc<Engine>`.

use crate::hls::HlsStore;
use crate::sessions::Sessions;
use crate::timestamps::unix_milliseconds;
use crate::{Admission, Config, Counters, EventLog};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tallylight_media::Streams;

pub struct Engine {
    pub config: Config,
    pub streams: Arc<Streams>,
    pub admission: Admission,
    pub events: Arc<EventLog>,
    pub counters: Arc<Counters>,
    /// RTMP peers; WebRTC keeps its own.
    pub sessions: Sessions,
    pub hls: HlsStore,
    /// Random per process: tells a restarted engine from the same one.
    pub boot_id: String,
    pub started: Instant,
}

impl Engine {
    pub fn new(config: Config) -> Arc<Engine> {
        let counters = Arc::new(Counters::default());
        let events = Arc::new(EventLog::new());
        Arc::new(Engine {
            streams: Arc::new(Streams::new(unix_milliseconds(SystemTime::now()))),
            admission: Admission::new(&config.control_socket, counters.clone()),
            hls: HlsStore::new(events.clone()),
            events,
            counters,
            sessions: Sessions::default(),
            boot_id: random_id(),
            started: Instant::now(),
            config,
        })
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
