//! The datagrams one viewer receives: their sizes, and which of them come together.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// Packets further apart than this are separate bursts: a train arrives within microseconds, frames come 33 ms apart.
const BURST_GAP: Duration = Duration::from_millis(2);
/// More than any sensible recording; a pattern file is input like any other.
const MAX_BURSTS: usize = 100_000;

/// Datagrams sent together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// Since the start of the pattern.
    pub at_us: u64,
    /// UDP payload bytes of each datagram, encrypted as on the wire.
    pub sizes: Vec<usize>,
}

/// A stretch of one viewer's stream that can be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pub duration_us: u64,
    pub bursts: Vec<Burst>,
}

#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is not a pattern: {error}")]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("the pattern is empty, longer than {MAX_BURSTS} bursts, not in order of time or past its duration")]
    Shape,
}

impl Pattern {
    /// Groups packets (time since the start, size) into bursts.
    pub fn of_packets(packets: &[(Duration, usize)], duration: Duration) -> Self {
        let mut bursts: Vec<Burst> = Vec::new();
        let mut previous = None;
        for (at, size) in packets {
            match (previous, bursts.last_mut()) {
                (Some(before), Some(burst)) if at.saturating_sub(before) < BURST_GAP => burst.sizes.push(*size),
                _ => bursts.push(Burst { at_us: micros(*at), sizes: vec![*size] }),
            }
            previous = Some(*at);
        }
        Self { duration_us: micros(duration), bursts }
    }

    pub fn packets(&self) -> usize {
        self.bursts.iter().map(|burst| burst.sizes.len()).sum()
    }

    pub fn bytes(&self) -> usize {
        self.bursts.iter().flat_map(|burst| &burst.sizes).sum()
    }

    pub fn read(path: &Path) -> Result<Self, PatternError> {
        let text = fs::read(path).map_err(|error| PatternError::File { path: path.into(), error })?;
        let pattern: Self =
            serde_json::from_slice(&text).map_err(|error| PatternError::Json { path: path.into(), error })?;
        pattern.check()
    }

    pub fn write(&self, path: &Path) -> Result<(), PatternError> {
        let text = serde_json::to_vec(self).map_err(|error| PatternError::Json { path: path.into(), error })?;
        fs::write(path, text).map_err(|error| PatternError::File { path: path.into(), error })
    }

    fn check(self) -> Result<Self, PatternError> {
        let ordered = self.bursts.is_sorted_by_key(|burst| burst.at_us);
        let within = self.bursts.last().is_some_and(|burst| burst.at_us <= self.duration_us);
        let filled = self.bursts.iter().all(|burst| !burst.sizes.is_empty());
        if ordered && within && filled && self.bursts.len() <= MAX_BURSTS { Ok(self) } else { Err(PatternError::Shape) }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_close_together_are_one_burst() {
        let at = |ms: f64, size| (Duration::from_secs_f64(ms / 1000.0), size);
        let packets = [at(0.0, 1200), at(0.1, 1200), at(1.9, 300), at(33.0, 1200), at(40.0, 120)];
        let pattern = Pattern::of_packets(&packets, Duration::from_millis(66));
        let sizes: Vec<_> = pattern.bursts.iter().map(|burst| burst.sizes.clone()).collect();
        assert_eq!(sizes, [vec![1200, 1200, 300], vec![1200], vec![120]]);
        assert_eq!((pattern.packets(), pattern.bytes(), pattern.bursts[1].at_us), (5, 4020, 33_000));
    }

    #[test]
    fn patterns_that_cannot_be_played_are_refused() {
        let burst = |at_us, sizes: &[usize]| Burst { at_us, sizes: sizes.to_vec() };
        let pattern = |bursts: &[Burst]| Pattern { duration_us: 100, bursts: bursts.to_vec() }.check();
        assert!(pattern(&[burst(0, &[1]), burst(50, &[1])]).is_ok());
        assert!(pattern(&[]).is_err());
        assert!(pattern(&[burst(50, &[1]), burst(0, &[1])]).is_err());
        assert!(pattern(&[burst(101, &[1])]).is_err());
        assert!(pattern(&[burst(0, &[])]).is_err());
    }
}
