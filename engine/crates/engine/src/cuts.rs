//! Which streams' publishers were cut lately. The control plane finds a key right, the key is rotated, and only then does the
//! publisher take its stream: without this it would stay on air although the cut came after what let it in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longer than any publisher is on its way from the question to the stream (two seconds for the answer, then its offer's turn).
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Cuts(Mutex<HashMap<String, Instant>>);

impl Cuts {
    /// To be called before the publisher of now is closed: then one who comes meanwhile is either closed too, or sees this.
    pub fn record(&self, stream: &str, now: Instant) {
        let mut cuts = self.lock();
        cuts.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        cuts.insert(stream.to_owned(), now);
    }

    /// Whether the stream's publisher was cut at this time or later. Whoever asked for admission then must ask again, both
    /// before and after it takes the stream.
    pub fn any_since(&self, stream: &str, asked_at: Instant) -> bool {
        self.lock().get(stream).is_some_and(|at| *at >= asked_at)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_for_who_asked_before_it() {
        let cuts = Cuts::default();
        let asked_at = Instant::now();
        assert!(!cuts.any_since("main", asked_at));
        cuts.record("main", asked_at);
        assert!(cuts.any_since("main", asked_at), "at the same time: the cut wins");
        assert!(!cuts.any_since("main", asked_at + Duration::from_millis(1)));
        assert!(!cuts.any_since("other", asked_at));
    }

    #[test]
    fn old_cuts_are_forgotten() {
        let cuts = Cuts::default();
        let now = Instant::now();
        cuts.record("main", now);
        cuts.record("other", now + REMEMBERED);
        assert_eq!(cuts.lock().len(), 1);
    }
}
