//! Monotonic counters at one side of a link. Every link keeps one at its in side and one at its out side.

use crate::AccessUnit;
use std::sync::Mutex;
use std::time::Instant;

/// Counters of one side of one link; shared, cheap, never reset while its owner lives.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<LedgerSnapshot>);

/// The values of a [`Ledger`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LedgerSnapshot {
    pub bytes: u64,
    pub access_units: u64,
    pub keyframes: u64,
    /// In ticks of the track's timescale.
    pub last_pts: Option<i64>,
    pub last_at: Option<Instant>,
    pub errors: u64,
    /// Units lost here on purpose (a full queue, a missing reference).
    pub dropped: u64,
}

impl Ledger {
    pub fn record(&self, unit: &AccessUnit, video: bool, now: Instant) {
        let mut values = self.lock();
        values.bytes += unit.data.len() as u64;
        values.access_units += 1;
        values.keyframes += u64::from(video && unit.keyframe);
        values.last_pts = Some(unit.pts);
        values.last_at = Some(now);
    }

    pub fn record_bytes(&self, bytes: u64, now: Instant) {
        let mut values = self.lock();
        values.bytes += bytes;
        values.access_units += 1;
        values.last_at = Some(now);
    }

    /// Counts units that left together.
    pub fn record_many(&self, units: u64, keyframes: u64, bytes: u64, last_pts: Option<i64>, now: Instant) {
        let mut values = self.lock();
        values.bytes += bytes;
        values.access_units += units;
        values.keyframes += keyframes;
        values.last_pts = last_pts.or(values.last_pts);
        values.last_at = Some(now);
    }

    pub fn record_error(&self) {
        self.lock().errors += 1;
    }

    pub fn record_dropped(&self, count: u64) {
        self.lock().dropped += count;
    }

    pub fn snapshot(&self) -> LedgerSnapshot {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LedgerSnapshot> {
        // A panic while counting leaves at worst one number short; counting goes on.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
