//! Decode times of consecutive parts or segments.

use super::Violation;
use std::collections::HashMap;

/// What one track has in one part or segment: from `tfdt` and the sample durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSpan {
    pub uri: String,
    pub track: u32,
    pub timescale_hz: u32,
    pub start_ticks: u64,
    pub duration_ticks: u64,
    /// The playlist marks a discontinuity before it.
    pub discontinuity: bool,
}

/// Checks that each track's decode time continues where the span before it ended. After a discontinuity
/// times start anew (RFC 8216bis section 4.4.4.3).
pub fn check_media(spans: &[MediaSpan]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut ends: HashMap<u32, u64> = HashMap::new();
    for span in spans {
        let seconds = |ticks: u64| ticks as f64 / f64::from(span.timescale_hz.max(1));
        if let Some(end) = ends.get(&span.track).copied().filter(|_| !span.discontinuity) {
            let (uri, track, from_s, to_s) = (span.uri.clone(), span.track, seconds(end), seconds(span.start_ticks));
            if span.start_ticks < end {
                violations.push(Violation::DecodeTimeBack { track, uri, from_s, to_s });
            } else if span.start_ticks > end {
                violations.push(Violation::DecodeTimeGap { track, uri, from_s, to_s });
            }
        }
        ends.insert(span.track, span.start_ticks + span.duration_ticks);
    }
    violations
}
