//! Blocking playlist reload (RFC 8216bis section 6.2.5.2) as a pure decision.

use crate::snapshot::Snapshot;

/// A part index may lie this far ahead: three seconds of parts (RFC 8216bis section 6.2.5.2, the Advance
/// Part Limit), 15 with a part target of 0.2 s.
const ADVANCE_PART_LIMIT: u64 = (3.0 / crate::PART_TARGET_S) as u64;

/// Delivery directives of a playlist request (RFC 8216bis section 6.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadQuery {
    pub msn: Option<u64>,
    pub part: Option<u64>,
    pub skip: bool,
}

/// Why a playlist request is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReload {
    #[error("{directive} is not a number")]
    NotANumber { directive: &'static str },
    #[error("{directive} is neither YES nor v2")]
    NotASkip { directive: &'static str },
    #[error("_HLS_part needs _HLS_msn")]
    PartWithoutSequence,
    #[error("_HLS_msn {msn} is more than two segments ahead; the newest is {newest}")]
    TooFarAhead { msn: u64, newest: u64 },
    #[error("_HLS_part {part} is more than {ADVANCE_PART_LIMIT} parts ahead")]
    PartTooFarAhead { part: u64 },
}

/// What to do with a playlist request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    Ready,
    Wait,
    Bad(BadReload),
}

impl ReloadQuery {
    /// Reads the directives of a query string; parameters of others are left alone.
    pub fn parse(query: &str) -> Result<ReloadQuery, BadReload> {
        let mut parsed = ReloadQuery::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = |directive| value.parse::<u64>().map_err(|_| BadReload::NotANumber { directive });
            match name {
                "_HLS_msn" => parsed.msn = Some(number("_HLS_msn")?),
                "_HLS_part" => parsed.part = Some(number("_HLS_part")?),
                // v2 also skips date ranges; this server writes none.
                "_HLS_skip" if matches!(value, "YES" | "v2") => parsed.skip = true,
                "_HLS_skip" => return Err(BadReload::NotASkip { directive: "_HLS_skip" }),
                _ => {}
            }
        }
        match parsed {
            ReloadQuery { msn: None, part: Some(_), .. } => Err(BadReload::PartWithoutSequence),
            parsed => Ok(parsed),
        }
    }
}

impl Snapshot {
    /// Whether a playlist request can be answered with this snapshot.
    pub fn reload(&self, query: ReloadQuery) -> Reload {
        let Some(msn) = query.msn else { return ready_if(self.is_playable()) };
        // `next_msn` is the segment being filled; the newest complete one comes before it.
        let newest = self.next_msn.saturating_sub(1);
        if msn > newest.saturating_add(2) {
            return Reload::Bad(BadReload::TooFarAhead { msn, newest });
        }
        if !self.is_playable() {
            return Reload::Wait;
        }
        let open_parts =
            self.listed.last().filter(|last| last.whole.is_none()).map_or(0, |open| open.parts.len() as u64);
        let Some(part) = query.part else { return ready_if(msn < self.next_msn) };
        let known = if msn == self.next_msn { open_parts } else { 0 };
        if msn >= self.next_msn && part > known + ADVANCE_PART_LIMIT {
            return Reload::Bad(BadReload::PartTooFarAhead { part });
        }
        if msn >= self.next_msn {
            return ready_if(part < known);
        }
        // A part after the last one of a complete segment means the first of the next.
        let beyond = msn == newest
            && self.listed.iter().find(|segment| segment.msn == msn).is_some_and(|s| part >= s.parts.len() as u64);
        ready_if(!beyond || open_parts > 0)
    }
}

fn ready_if(ready: bool) -> Reload {
    if ready { Reload::Ready } else { Reload::Wait }
}
