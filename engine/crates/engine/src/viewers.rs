//! How many WebRTC viewers each stream has, counted once a second for everybody who shows it.

use std::collections::HashMap;
use std::sync::Mutex;
use tallylight_webrtc::SessionStatistics;

#[derive(Default)]
pub struct Viewers(Mutex<HashMap<String, u64>>);

impl Viewers {
    pub fn of(&self, stream: &str) -> u64 {
        self.lock().get(stream).copied().unwrap_or(0)
    }

    /// Counts anew.
    pub fn count(&self, sessions: Vec<SessionStatistics>) {
        let mut counts = HashMap::new();
        for session in sessions {
            if session.kind == "whep" && session.state == "connected" {
                *counts.entry(session.stream).or_default() += 1;
            }
        }
        *self.lock() = counts;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
