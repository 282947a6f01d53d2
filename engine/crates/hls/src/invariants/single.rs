//! What one media playlist must show by itself.

use super::Violation;
use super::parse::{ParsedPlaylist, ParsedSegment};

/// Decimal fractions in the text: half a microsecond per number.
const ROUNDING_S: f64 = 2e-6;

pub(super) fn check(playlist: &ParsedPlaylist) -> Vec<Violation> {
    let mut violations = missing_tags(playlist);
    let (Some(target_s), Some(part_target_s)) = (playlist.target_duration_s, playlist.part_target_s) else {
        return violations;
    };
    if let Some(hold_back_s) = playlist.hold_back_s.filter(|held| *held + ROUNDING_S < 3.0 * part_target_s) {
        violations.push(Violation::HoldBack { hold_back_s, target_s: part_target_s });
    }
    if let Some(skip_until_s) = playlist.skip_until_s.filter(|until| *until < 6.0 * target_s as f64) {
        violations.push(Violation::SkipUntil { skip_until_s, target_s });
    }
    let mut map: Option<&String> = None;
    for segment in &playlist.segments {
        segment_length(segment, target_s, &mut violations);
        part_lengths(segment, part_target_s, &mut violations);
        match (&segment.map, map) {
            (None, _) => violations.push(Violation::NoMap { uri: label(segment) }),
            (Some(now), Some(before)) if now != before && !segment.discontinuity => {
                violations.push(Violation::MapWithoutDiscontinuity { map: now.clone() });
            }
            _ => {}
        }
        map = segment.map.as_ref();
    }
    violations
}

fn missing_tags(playlist: &ParsedPlaylist) -> Vec<Violation> {
    let needed = [
        ("EXT-X-VERSION of 9 or more", playlist.version.is_some_and(|version| version >= 9)),
        ("EXT-X-TARGETDURATION", playlist.target_duration_s.is_some()),
        ("EXT-X-PART-INF", playlist.part_target_s.is_some()),
        ("PART-HOLD-BACK", playlist.hold_back_s.is_some()),
        ("CAN-BLOCK-RELOAD=YES", playlist.can_block_reload),
    ];
    needed.into_iter().filter(|(_, there)| !there).map(|(tag, _)| Violation::TagMissing { tag }).collect()
}

fn segment_length(segment: &ParsedSegment, target_s: u64, violations: &mut Vec<Violation>) {
    let Some(duration_s) = segment.duration_s else { return };
    if duration_s.round() > target_s as f64 {
        violations.push(Violation::SegmentTooLong { uri: label(segment), duration_s, target_s });
    }
    let parts_s: f64 = segment.parts.iter().map(|part| part.duration_s).sum();
    let tolerance_s = ROUNDING_S * (segment.parts.len() + 1) as f64;
    if !segment.parts.is_empty() && (parts_s - duration_s).abs() > tolerance_s {
        violations.push(Violation::PartSum { uri: label(segment), parts_s, segment_s: duration_s });
    }
}

/// RFC 8216bis section 4.4.4.9: at most the part target; at least 85 % of it, except for independent
/// parts, the last of a segment, and (by our cut rule) the ones that lead up to it.
fn part_lengths(segment: &ParsedSegment, target_s: f64, violations: &mut Vec<Violation>) {
    let last = segment.parts.len().saturating_sub(1);
    for (index, part) in segment.parts.iter().enumerate() {
        let (uri, duration_s) = (part.uri.clone(), part.duration_s);
        if duration_s > target_s + ROUNDING_S {
            violations.push(Violation::PartTooLong { uri, duration_s, target_s });
        } else if duration_s < 0.85 * target_s - ROUNDING_S
            && index < last
            && !part.independent
            && !segment.parts[index + 1].independent
        {
            violations.push(Violation::PartTooShort { uri, duration_s, target_s });
        }
    }
}

pub(super) fn label(segment: &ParsedSegment) -> String {
    let part = || segment.parts.first().map(|part| part.uri.clone());
    segment.uri.clone().or_else(part).unwrap_or_default()
}
