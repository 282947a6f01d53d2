//! What a media playlist must keep of the ones before it.

use super::parse::{ParsedPlaylist, ParsedSegment, parse};
use super::{Violation, single};
use std::collections::{BTreeMap, HashMap};

/// Takes the playlists of one stream in the order of their receipt.
#[derive(Debug, Default)]
pub struct Checker {
    target_duration_s: Option<u64>,
    part_target_s: Option<f64>,
    media_sequence: Option<u64>,
    discontinuity_sequence: u64,
    newest: Option<u64>,
    segments: BTreeMap<u64, Known>,
    by_uri: HashMap<String, u64>,
    /// The part hinted last, and how many parts were known then.
    hint: Option<String>,
    parts_seen: HashMap<String, u64>,
    playlists: usize,
}

/// What is remembered of a segment.
#[derive(Debug, Default, Clone)]
struct Known {
    discontinuity: bool,
    map: Option<String>,
    program_date_time: Option<String>,
    complete: Option<(String, String)>,
    parts: Vec<String>,
}

impl Checker {
    pub fn new() -> Checker {
        Checker::default()
    }

    /// How many playlists were taken.
    pub fn playlists(&self) -> usize {
        self.playlists
    }

    /// Takes the next playlist and returns what is wrong with it.
    pub fn playlist(&mut self, text: &str) -> Vec<Violation> {
        self.playlists += 1;
        let playlist = match parse(text) {
            Ok(playlist) => playlist,
            Err(error) => return vec![error.into()],
        };
        let mut violations = single::check(&playlist);
        self.constants(&playlist, &mut violations);
        self.sequences(&playlist, &mut violations);
        self.hint(&playlist, &mut violations);
        for (msn, segment) in playlist.numbered() {
            self.segment(msn, segment, &mut violations);
        }
        self.hint = playlist.hint.clone();
        violations
    }

    fn constants(&mut self, playlist: &ParsedPlaylist, violations: &mut Vec<Violation>) {
        if let (Some(from), Some(to)) = (self.target_duration_s, playlist.target_duration_s)
            && from != to
        {
            violations.push(Violation::TargetDurationChanged { from, to });
        }
        if let (Some(from), Some(to)) = (self.part_target_s, playlist.part_target_s)
            && from != to
        {
            violations.push(Violation::PartTargetChanged { from, to });
        }
        self.target_duration_s = playlist.target_duration_s.or(self.target_duration_s);
        self.part_target_s = playlist.part_target_s.or(self.part_target_s);
    }

    fn sequences(&mut self, playlist: &ParsedPlaylist, violations: &mut Vec<Violation>) {
        let now = playlist.media_sequence;
        let skipped_unknown = (now..now + playlist.skipped).any(|msn| !self.segments.contains_key(&msn));
        if skipped_unknown {
            violations.push(Violation::SkippedUnknown { skipped: playlist.skipped });
        }
        if let Some(before) = self.media_sequence {
            if now < before {
                violations.push(Violation::MediaSequenceBack { from: before, to: now });
            }
            self.discontinuities(before, now, playlist.discontinuity_sequence, violations);
        }
        if let Some(newest) =
            playlist.numbered().filter(|(_, segment)| segment.uri.is_some()).map(|(msn, _)| msn).last()
        {
            if let Some(from) = self.newest.filter(|from| newest < *from) {
                violations.push(Violation::NewestBack { from, to: newest });
            }
            self.newest = Some(newest);
        }
        self.media_sequence = Some(now);
        self.discontinuity_sequence = playlist.discontinuity_sequence;
    }

    /// The number grows by the discontinuity tags that left with their segments (RFC 8216bis section 6.2.2);
    /// where segments left unseen it must only not go back.
    fn discontinuities(&self, before: u64, now: u64, found: u64, violations: &mut Vec<Violation>) {
        let gone: Vec<_> = (before..now).map(|msn| self.segments.get(&msn)).take(10_000).collect();
        let all_seen = gone.iter().all(Option::is_some) && gone.len() as u64 == now.saturating_sub(before);
        let left = gone.into_iter().flatten().filter(|segment| segment.discontinuity).count() as u64;
        let expected = self.discontinuity_sequence + left;
        if (all_seen && found != expected) || found < expected {
            violations.push(Violation::DiscontinuitySequence { expected, found });
        }
    }

    /// The first part that is new must be the one hinted before.
    fn hint(&mut self, playlist: &ParsedPlaylist, violations: &mut Vec<Violation>) {
        let parts = || playlist.numbered().flat_map(|(msn, segment)| segment.parts.iter().map(move |part| (msn, part)));
        let new = parts().find(|(_, part)| !self.parts_seen.contains_key(&part.uri)).map(|(_, part)| &part.uri);
        let continues = parts().any(|(_, part)| self.parts_seen.contains_key(&part.uri));
        if let (Some(hinted), Some(found), true) = (&self.hint, new, continues)
            && hinted != found
        {
            violations.push(Violation::HintBroken { hinted: hinted.clone(), found: found.clone() });
        }
        let seen: Vec<_> = parts().map(|(msn, part)| (part.uri.clone(), msn)).collect();
        self.parts_seen.extend(seen);
    }

    fn segment(&mut self, msn: u64, segment: &ParsedSegment, violations: &mut Vec<Violation>) {
        for uri in segment.uri.iter().chain(segment.parts.iter().map(|part| &part.uri)) {
            match self.by_uri.insert(uri.clone(), msn) {
                Some(before) if before != msn => {
                    violations.push(Violation::UriReused { uri: uri.clone(), before, now: msn });
                }
                _ => {}
            }
        }
        let complete = segment.uri.clone().zip(segment.duration_s.map(|seconds| seconds.to_string()));
        let parts: Vec<_> =
            segment.parts.iter().map(|p| format!("{} {} {}", p.uri, p.duration_s, p.independent)).collect();
        let known = self.segments.entry(msn).or_insert_with(|| Known {
            discontinuity: segment.discontinuity,
            map: segment.map.clone(),
            program_date_time: segment.program_date_time.clone(),
            complete: None,
            parts: Vec::new(),
        });
        let mut changed = |before: String, now: String| {
            if before != now {
                violations.push(Violation::SegmentChanged { msn, before, now });
            }
        };
        let start = |discontinuity: bool, map: &Option<String>, time: &Option<String>| {
            format!("discontinuity {discontinuity}, {map:?}, {time:?}")
        };
        changed(
            start(known.discontinuity, &known.map, &known.program_date_time),
            start(segment.discontinuity, &segment.map, &segment.program_date_time),
        );
        match (&known.complete, &complete) {
            (Some(before), Some(now)) => changed(before.0.clone() + " " + &before.1, now.0.clone() + " " + &now.1),
            (Some(before), None) => changed(before.0.clone(), "incomplete".into()),
            (None, _) => known.complete = complete,
        }
        for (index, (before, now)) in known.parts.iter().zip(&parts).enumerate().filter(|(_, (a, b))| a != b) {
            violations.push(Violation::PartChanged { msn, index, before: before.clone(), now: now.clone() });
        }
        if parts.len() > known.parts.len() {
            known.parts = parts;
        }
    }
}
