//! The media playlist as text.

use crate::snapshot::Snapshot;
use crate::window::{Part, Segment};
use crate::{
    CAN_SKIP_UNTIL_S, PART_HOLD_BACK_S, PART_TARGET_S, PARTS_LISTED_S, Resource, TARGET_DURATION_S, TIMESCALE_HZ,
};
use std::fmt::{self, Write};

/// Seconds with microseconds: a tick is 11 us, so sums stay exact to the eye.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0 * 1_000_000 / TIMESCALE_HZ;
        write!(f, "{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
    }
}

/// Renders a media playlist, with `skip` as a delta update if enough can be skipped.
pub(crate) fn render(snapshot: &Snapshot, skip: bool) -> String {
    let mut out = String::with_capacity(8192);
    // Writing into a String cannot fail.
    let _ = write_playlist(&mut out, snapshot, if skip { skippable(snapshot) } else { 0 });
    out
}

/// Segments older than the skip boundary (RFC 8216bis section 4.4.5.2).
fn skippable(snapshot: &Snapshot) -> usize {
    let mut newer = 0;
    let mut kept = 0;
    for segment in snapshot.listed.iter().rev() {
        if newer >= CAN_SKIP_UNTIL_S * TIMESCALE_HZ {
            break;
        }
        newer += segment.duration_ticks;
        kept += 1;
    }
    snapshot.listed.len() - kept
}

fn write_playlist(out: &mut String, snapshot: &Snapshot, skipped: usize) -> fmt::Result {
    // Version 9: EXT-X-SKIP (RFC 8216bis section 8).
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{TARGET_DURATION_S}")?;
    writeln!(
        out,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={PART_HOLD_BACK_S:.3},CAN-SKIP-UNTIL={CAN_SKIP_UNTIL_S}.0"
    )?;
    writeln!(out, "#EXT-X-PART-INF:PART-TARGET={PART_TARGET_S:.3}")?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", snapshot.media_sequence())?;
    writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", snapshot.discontinuity_sequence)?;
    if skipped > 0 {
        writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
    }
    let first_with_parts = first_with_parts(snapshot);
    let mut init = None;
    for (index, segment) in snapshot.listed.iter().enumerate().skip(skipped) {
        if segment.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if init.replace(segment.init) != Some(segment.init) {
            writeln!(out, "#EXT-X-MAP:URI=\"{}\"", Resource::Init(segment.init))?;
        }
        write_segment(out, snapshot, segment, index >= first_with_parts)?;
    }
    // No hint over a discontinuity: hls.js counts the hinted part to the segment before it, and then refuses the
    // playlist that says otherwise ("discontinuity sequence mismatch").
    if !snapshot.ended && !snapshot.discontinuity_next {
        let next = Resource::Part { window: snapshot.first_msn, index: snapshot.next_part };
        writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{next}\"")?;
    }
    Ok(())
}

fn write_segment(out: &mut String, snapshot: &Snapshot, segment: &Segment, parts: bool) -> fmt::Result {
    writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", segment.program_date_time)?;
    if parts {
        for (index, part) in (segment.first_part..).zip(&segment.parts) {
            write_part(out, Resource::Part { window: snapshot.first_msn, index }, part)?;
        }
    }
    if segment.whole.is_some() {
        writeln!(out, "#EXTINF:{},\n{}", Seconds(segment.duration_ticks), Resource::Segment(segment.msn))?;
    }
    Ok(())
}

fn write_part(out: &mut String, name: Resource, part: &Part) -> fmt::Result {
    write!(out, "#EXT-X-PART:DURATION={},URI=\"{name}\"", Seconds(part.duration_ticks))?;
    writeln!(out, "{}", if part.independent { ",INDEPENDENT=YES" } else { "" })
}

/// Index of the first listed segment whose parts are shown.
fn first_with_parts(snapshot: &Snapshot) -> usize {
    let mut newer = 0;
    let shown = snapshot.listed.iter().rev().take_while(|segment| {
        let shown = newer < PARTS_LISTED_S * TIMESCALE_HZ;
        newer += segment.duration_ticks;
        shown
    });
    snapshot.listed.len() - shown.count()
}
