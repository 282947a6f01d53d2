"""Rules of RFC 8216bis (and ours) that hold over the whole life of a live playlist, reconnects included.

Data in: the playlists a client saw in order, and the bytes of parts and init segments. Data out: violations, each with
the name of its rule. Pure, so planted violations prove that each rule can fail (`tests/kit/test_hls_rules.py`).
Section numbers are those of draft-pantos-hls-rfc8216bis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from support.fmp4 import read_fragments, read_init
from support.playlist import MediaPlaylist, Part, Segment

# Durations are printed with a few decimals, and sample durations round to ticks.
_ROUNDING_S = 0.002
# Beyond this, parts of 200 ms could not give the latency that we promise.
PART_LIMIT_S = 0.2


@dataclass(frozen=True)
class Violation:
    rule: str
    text: str


@dataclass(frozen=True)
class History:
    """Playlists in the order they were received, and media by URI."""

    playlists: Sequence[MediaPlaylist]
    media: dict[str, bytes]

    def segments(self) -> list[Segment]:
        """The latest form of every segment ever listed, by number."""
        latest: dict[int, Segment] = {}
        for playlist in self.playlists:
            for segment in playlist.segments:
                known = latest.get(segment.number)
                # Parts are taken out of the playlist again once they are old (section 6.2.2).
                if known is None or len(segment.parts) >= len(known.parts):
                    latest[segment.number] = segment
        return [latest[number] for number in sorted(latest)]


def check(history: History) -> list[Violation]:
    """All violations found, by every rule."""
    return [Violation(name, text) for name, rule in RULES.items() for text in rule(history)]


def _media_sequence_never_goes_back(history: History) -> Iterator[str]:
    """Section 6.2.2: the media sequence number never decreases, and neither does the newest segment's."""
    for before, after in pairwise(history.playlists):
        if after.media_sequence < before.media_sequence:
            yield f"from {before.media_sequence} to {after.media_sequence}"
        if before.next_part() > after.next_part():
            yield f"the newest part went from {before.next_part()} to {after.next_part()}"


def _segments_are_stable(history: History) -> Iterator[str]:
    """Section 6.2.1: a segment's URI, duration, discontinuity and map never change; a URI names one segment only."""
    seen: dict[int, Segment] = {}
    numbers: dict[str, int] = {}
    for playlist in history.playlists:
        for segment in playlist.segments:
            if segment.uri is None:
                continue
            first = seen.setdefault(segment.number, segment)
            for field in ("uri", "duration_s", "discontinuity", "init_uri", "program_date_time"):
                if getattr(first, field) != getattr(segment, field):
                    yield f"{field} of {segment.number}: {getattr(first, field)} became {getattr(segment, field)}"
            if numbers.setdefault(segment.uri, segment.number) != segment.number:
                yield f"{segment.uri} stands for {numbers[segment.uri]} and {segment.number}"


def _parts_only_grow(history: History) -> Iterator[str]:
    """Section 6.2.1: parts are added at the end, and keep their URI, duration and marks while listed."""
    seen: dict[int, tuple[Part, ...]] = {}
    numbers: dict[str, tuple[int, int]] = {}
    for playlist in history.playlists:
        for segment in playlist.segments:
            known = seen.get(segment.number, ())
            common = min(len(known), len(segment.parts))
            if known[:common] != segment.parts[:common]:
                yield f"parts of {segment.number} changed: {known[:common]} to {segment.parts[:common]}"
            if segment.parts and len(segment.parts) < len(known):
                yield f"{segment.number} lost some of its parts: {len(known)} to {len(segment.parts)}"
            seen[segment.number] = max(known, segment.parts, key=len)
            for index, part in enumerate(segment.parts):
                place = (segment.number, index)
                if numbers.setdefault(part.uri, place) != place:
                    yield f"{part.uri} stands for {numbers[part.uri]} and {place}"


def _discontinuity_sequence_counts(history: History) -> Iterator[str]:
    """Section 6.2.2: it grows by one for each removed segment marked as a discontinuity, and never otherwise."""
    for before, after in pairwise(history.playlists):
        removed = [segment for segment in before.segments if segment.number < after.media_sequence]
        # A client that missed playlists cannot know what left meanwhile.
        if before.segments and before.segments[-1].number + 1 < after.media_sequence:
            if after.discontinuity_sequence < before.discontinuity_sequence:
                yield f"from {before.discontinuity_sequence} back to {after.discontinuity_sequence}"
            continue
        expected = before.discontinuity_sequence + sum(segment.discontinuity for segment in removed)
        if after.discontinuity_sequence != expected:
            yield f"{after.discontinuity_sequence} instead of {expected} at media sequence {after.media_sequence}"


def _target_duration_holds(history: History) -> Iterator[str]:
    """Section 4.4.3.1: constant, and no segment's rounded duration is above it."""
    targets = {playlist.target_duration_s for playlist in history.playlists}
    if len(targets) > 1:
        yield f"changed: {sorted(targets)}"
    for segment in history.segments():
        if segment.duration_s is not None and int(segment.duration_s + 0.5) > min(targets):
            yield f"segment {segment.number} lasts {segment.duration_s} s with a target of {min(targets)} s"


def _part_target_holds(history: History) -> Iterator[str]:
    """Section 4.4.3.7: constant; no part is longer, and but for a segment's last none is shorter than 85 % of it.

    Where the picture that a part would have ended before was never sent, the muxer ends it one picture earlier rather
    than leave a sliver without a picture before the keyframe: a segment's last two parts may then share what is less
    than a whole one and a bit (`boundary` in `fmp4/src/muxer.rs`).
    """
    targets = {playlist.part_target_s for playlist in history.playlists}
    target = next(iter(targets))
    if len(targets) > 1 or target is None:
        yield f"missing or changed: {targets}"
        return
    if target > PART_LIMIT_S:
        yield f"is {target} s, above {PART_LIMIT_S} s"
    for segment in history.segments():
        for index, part in enumerate(segment.parts):
            if part.duration_s > target:
                yield f"part {segment.number}.{index} lasts {part.duration_s} s with a target of {target} s"
            after = segment.parts[index + 1 :]
            avoids_sliver = (
                len(after) == 1 and part.duration_s > 0.5 * target and part.duration_s + after[0].duration_s > target
            )
            if after and not avoids_sliver and not part.gap and part.duration_s < 0.85 * target - _ROUNDING_S:
                yield f"part {segment.number}.{index} lasts {part.duration_s} s, below 85 % of {target} s"


def _parts_add_up(history: History) -> Iterator[str]:
    """Section 4.4.4.9: the parts of a segment are the segment."""
    for segment in history.segments():
        if segment.complete and segment.parts and segment.duration_s is not None:
            total = sum(part.duration_s for part in segment.parts)
            if abs(total - segment.duration_s) > _ROUNDING_S * len(segment.parts):
                yield f"parts of {segment.number} last {total:.4f} s, the segment {segment.duration_s:.4f} s"


def _server_control_allows_low_latency(history: History) -> Iterator[str]:
    """Section 4.4.3.8: blocking reload; PART-HOLD-BACK >= 3 parts, HOLD-BACK and CAN-SKIP-UNTIL as bounded there."""
    for playlist in (history.playlists[0], history.playlists[-1]):
        control, target, part = playlist.server_control, playlist.target_duration_s, playlist.part_target_s or 0.0
        if control.get("CAN-BLOCK-RELOAD") != "YES":
            yield "no CAN-BLOCK-RELOAD=YES"
        if float(control.get("PART-HOLD-BACK", 0)) < 3 * part - 1e-9:
            yield f"PART-HOLD-BACK={control.get('PART-HOLD-BACK')} with parts of {part} s"
        if float(control.get("HOLD-BACK", 3 * target)) < 3 * target:
            yield f"HOLD-BACK={control['HOLD-BACK']} with a target duration of {target} s"
        if float(control.get("CAN-SKIP-UNTIL", 0)) < 6 * target:
            yield f"CAN-SKIP-UNTIL={control.get('CAN-SKIP-UNTIL')} with a target duration of {target} s"


def _window_is_long_enough(history: History) -> Iterator[str]:
    """Section 6.2.2: nothing is removed while the playlist would last less than three target durations without it."""
    for playlist in history.playlists:
        total = sum(segment.duration_s or 0.0 for segment in playlist.segments)
        if playlist.media_sequence > history.playlists[0].media_sequence and total < 3 * playlist.target_duration_s:
            yield f"lasts {total:.1f} s at media sequence {playlist.media_sequence}"


def _preload_hints_come_true(history: History) -> Iterator[str]:
    """Section 4.4.5.3: what is hinted is what comes next, unless the publisher left in between."""
    for before, after in pairwise(history.playlists):
        if before.preload_hint is None:
            continue
        number, index = before.next_part()
        segment, following = after.segment(number), after.segment(number + 1)
        came = [part.uri for part in segment.parts[index:]] if segment else []
        # The hinted part may open the next segment; after a discontinuity the hint is void.
        if segment is not None and segment.complete and not came:
            came = [part.uri for part in following.parts] if following else []
            if following is None or following.discontinuity:
                continue
        if came and not (segment and segment.discontinuity) and came[0] != before.preload_hint:
            yield f"hinted {before.preload_hint}, came {came[0]}"


def _segments_start_independent(history: History) -> Iterator[str]:
    """Every segment can be decoded from its start, and INDEPENDENT=YES is the truth (section 4.4.4.9)."""
    for segment in history.segments():
        if segment.parts and not segment.parts[0].independent:
            yield f"segment {segment.number} does not start with an independent part"
        for part in segment.parts:
            if part.independent and part.uri in history.media and segment.init_uri in history.media:
                tracks = read_init(history.media[segment.init_uri])
                video = [f for f in read_fragments(history.media[part.uri]) if tracks[f.track_id].kind == "video"]
                if video and not video[0].starts_with_sync:
                    yield f"{part.uri} is marked independent but starts with another picture"


def _decode_times_continue(history: History) -> Iterator[str]:
    """Section 3: without a discontinuity each track's fragments follow each other without gap or overlap (tfdt)."""
    expected: dict[int, int] = {}
    for segment in history.segments():
        if segment.discontinuity:
            expected = {}
        if segment.init_uri not in history.media:
            continue
        tracks = read_init(history.media[segment.init_uri])
        for part in segment.parts:
            if part.uri not in history.media:
                expected = {}
                continue
            for fragment in read_fragments(history.media[part.uri]):
                track = tracks[fragment.track_id]
                off = fragment.decode_time - expected.get(fragment.track_id, fragment.decode_time)
                if abs(off) > track.timescale_hz * _ROUNDING_S:
                    yield f"{part.uri}: {track.kind} starts {off} ticks of 1/{track.timescale_hz} s off"
                expected[fragment.track_id] = fragment.decode_time + fragment.duration


def _durations_are_true(history: History) -> Iterator[str]:
    """What the playlist says of a segment is what its media lasts."""
    for segment in history.segments():
        if not segment.complete or segment.init_uri not in history.media or not segment.parts:
            continue
        if any(part.uri not in history.media for part in segment.parts):
            continue
        tracks = read_init(history.media[segment.init_uri])
        lasts: dict[str, float] = defaultdict(float)
        for part in segment.parts:
            for fragment in read_fragments(history.media[part.uri]):
                track = tracks[fragment.track_id]
                lasts[track.kind] += fragment.duration / track.timescale_hz
        media_s = lasts.get("video", lasts.get("audio", 0.0))
        # One picture's length may belong to the next segment where a publisher left.
        if abs(media_s - (segment.duration_s or 0.0)) > 0.05:
            yield f"segment {segment.number} says {segment.duration_s} s, its media lasts {media_s:.3f} s"


def _program_date_time_rises(history: History) -> Iterator[str]:
    """Section 4.4.4.6: later segments have later dates."""
    dated = [segment for segment in history.segments() if segment.program_date_time]
    for before, after in pairwise(dated):
        if str(after.program_date_time) <= str(before.program_date_time):
            yield f"{before.number}: {before.program_date_time}, {after.number}: {after.program_date_time}"


RULES: dict[str, Callable[[History], Iterator[str]]] = {
    "media_sequence": _media_sequence_never_goes_back,
    "segments_stable": _segments_are_stable,
    "parts_grow": _parts_only_grow,
    "discontinuity_sequence": _discontinuity_sequence_counts,
    "target_duration": _target_duration_holds,
    "part_target": _part_target_holds,
    "parts_add_up": _parts_add_up,
    "server_control": _server_control_allows_low_latency,
    "window": _window_is_long_enough,
    "preload_hint": _preload_hints_come_true,
    "independent": _segments_start_independent,
    "decode_times": _decode_times_continue,
    "durations": _durations_are_true,
    "program_date_time": _program_date_time_rises,
}
