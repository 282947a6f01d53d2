//! How many viewers each stream has, counted once a second for everybody who shows it.

use serde::Serialize;
use std::collections::HashMap;
use std::sync::Mutex;
use tallylight_webrtc::SessionStatistics;

/// Viewers of one stream by the way they watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ViewerCount {
    pub webrtc: u64,
    pub hls: u64,
}

impl ViewerCount {
    pub fn sum(self) -> u64 {
        self.webrtc + self.hls
    }
}

#[derive(Default)]
pub struct Viewers(Mutex<HashMap<String, ViewerCount>>);

impl Viewers {
    pub fn of(&self, stream: &str) -> ViewerCount {
        self.lock().get(stream).copied().unwrap_or_default()
    }

    /// Counts anew.
    pub fn count(&self, webrtc: Vec<SessionStatistics>, hls: HashMap<String, u64>) {
        let mut counts: HashMap<String, ViewerCount> =
            hls.into_iter().map(|(stream, hls)| (stream, ViewerCount { webrtc: 0, hls })).collect();
        for session in webrtc {
            if session.kind == "whep" && session.state == "connected" {
                counts.entry(session.stream).or_default().webrtc += 1;
            }
        }
        *self.lock() = counts;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, ViewerCount>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
