"""Each rule of the playlist checker holds on a good history and finds the violation planted for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from support import hls_rules
from support.hls_rules import History
from support.playlist import MediaPlaylist, Part, Segment, apply_delta, parse_media, parse_multivariant

TIMESCALE_HZ = 90_000
PART_TICKS = 18_000  # 0.2 s
PARTS = 10  # in a segment of 2 s
CONTROL = {"CAN-BLOCK-RELOAD": "YES", "PART-HOLD-BACK": "0.6", "CAN-SKIP-UNTIL": "12.0"}


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def init_segment() -> bytes:
    """One video track, id 1."""
    tkhd = box(b"tkhd", struct.pack(">IIII", 0, 0, 0, 1) + bytes(68))
    mdhd = box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, TIMESCALE_HZ, 0, 0))
    hdlr = box(b"hdlr", struct.pack(">II4s", 0, 0, b"vide") + bytes(13))
    return box(b"moov", box(b"trak", tkhd + box(b"mdia", mdhd + hdlr)))


def part_media(decode_time: int, duration: int = PART_TICKS, *, sync: bool = False) -> bytes:
    """Two samples in one fragment."""
    tfhd = box(b"tfhd", struct.pack(">II", 0x020000, 1))
    tfdt = box(b"tfdt", struct.pack(">IQ", 0x01000000, decode_time))
    flags = 0x02000000 if sync else 0x01010000
    trun = box(b"trun", struct.pack(">IIIIII", 0x105, 2, 0, flags, duration // 2, duration - duration // 2))
    return box(b"moof", box(b"mfhd", bytes(8)) + box(b"traf", tfhd + tfdt + trun)) + box(b"mdat", b"")


def segment(number: int, parts: int = PARTS, *, complete: bool = True) -> Segment:
    listed = tuple(Part(f"p{number}.{index}.m4s", 0.2, independent=index == 0) for index in range(parts))
    return Segment(
        number,
        f"s{number}.m4s" if complete else None,
        2.0 if complete else None,
        listed,
        init_uri="init.mp4",
        program_date_time=f"2026-11-25T00:00:{number * 2:02}.000Z" if complete else None,
    )


def playlist(first: int, last: int, open_parts: int) -> MediaPlaylist:
    """Complete segments `first` to `last`, then one that grows."""
    segments = [segment(number) for number in range(first, last + 1)]
    if open_parts:
        segments.append(segment(last + 1, open_parts, complete=False))
    return MediaPlaylist(
        version=9,
        target_duration_s=2,
        media_sequence=first,
        part_target_s=0.2,
        server_control=dict(CONTROL),
        segments=tuple(segments),
        preload_hint=f"p{last + 1}.{open_parts}.m4s",
    )


def good_history() -> History:
    playlists = [playlist(0, 3, 1), playlist(0, 3, 2), playlist(0, 3, 9), playlist(0, 4, 0), playlist(1, 4, 1)]
    media = {"init.mp4": init_segment()}
    for number in range(6):
        for index in range(PARTS):
            at = (number * PARTS + index) * PART_TICKS
            media[f"p{number}.{index}.m4s"] = part_media(at, sync=index == 0)
    return History(playlists, media)


def rules_broken(history: History) -> set[str]:
    return {violation.rule for violation in hls_rules.check(history)}


def test_a_good_history_breaks_no_rule() -> None:
    assert hls_rules.check(good_history()) == []


def change_segment(number: int, change: Callable[[Segment], Segment], *, last_only: bool = True) -> History:
    """The good history with one segment changed, in its last playlist or in all."""
    history = good_history()
    playlists = list(history.playlists)
    for index in range(len(playlists) - 1 if last_only else 0, len(playlists)):
        changed = tuple(change(s) if s.number == number else s for s in playlists[index].segments)
        playlists[index] = replace(playlists[index], segments=changed)
    return History(playlists, history.media)


def change_playlists(change: Callable[[MediaPlaylist], MediaPlaylist], *, last_only: bool = False) -> History:
    history = good_history()
    playlists = list(history.playlists)
    first = len(playlists) - 1 if last_only else 0
    return History([*playlists[:first], *(change(playlist) for playlist in playlists[first:])], history.media)


def change_media(uri: str, data: bytes) -> History:
    history = good_history()
    return History(history.playlists, {**history.media, uri: data})


def change_part(index: int, **fields: object) -> Callable[[Segment], Segment]:
    def change(segment: Segment) -> Segment:
        parts = list(segment.parts)
        parts[index] = replace(parts[index], **fields)  # type: ignore[arg-type]
        return replace(segment, parts=tuple(parts))

    return change


PLANTED: dict[str, tuple[str, Callable[[], History]]] = {
    "the sequence goes back": (
        "media_sequence", lambda: History([*good_history().playlists, playlist(0, 3, 1)], {})),
    "a segment gets another uri": ("segments_stable", lambda: change_segment(3, lambda s: replace(s, uri="other.m4s"))),
    "a uri is used again": (
        "segments_stable", lambda: change_segment(4, lambda s: replace(s, uri="s2.m4s"), last_only=False)),
    "a duration changes": ("segments_stable", lambda: change_segment(2, lambda s: replace(s, duration_s=1.9))),
    "a part gets another uri": ("parts_grow", lambda: change_segment(4, change_part(3, uri="other.m4s"))),
    "some parts leave": ("parts_grow", lambda: change_segment(4, lambda s: replace(s, parts=s.parts[:5]))),
    "a discontinuity is counted that was none": (
        "discontinuity_sequence",
        lambda: change_playlists(lambda p: replace(p, discontinuity_sequence=1), last_only=True)),
    "a removed discontinuity is not counted": (
        "discontinuity_sequence",
        lambda: change_segment(0, lambda s: replace(s, discontinuity=True), last_only=False)),
    "the target duration changes": (
        "target_duration", lambda: change_playlists(lambda p: replace(p, target_duration_s=3), last_only=True)),
    "a segment is too long": (
        "target_duration", lambda: change_segment(3, lambda s: replace(s, duration_s=2.6), last_only=False)),
    "a part is too long": (
        "part_target", lambda: change_segment(3, change_part(4, duration_s=0.201), last_only=False)),
    "a part is too short": (
        "part_target", lambda: change_segment(3, change_part(4, duration_s=0.1), last_only=False)),
    "the last part but one is a sliver": (
        "part_target", lambda: change_segment(3, change_part(8, duration_s=0.08), last_only=False)),
    "parts are longer than promised": (
        "part_target", lambda: change_playlists(lambda p: replace(p, part_target_s=0.5))),
    "parts and segment differ": (
        "parts_add_up", lambda: change_segment(3, lambda s: replace(s, duration_s=2.1), last_only=False)),
    "no blocking reload": ("server_control", lambda: change_playlists(lambda p: replace(p, server_control={}))),
    "too little hold-back": (
        "server_control",
        lambda: change_playlists(lambda p: replace(p, server_control={**CONTROL, "PART-HOLD-BACK": "0.4"}))),
    "the window shrinks": (
        "window", lambda: History([*good_history().playlists, playlist(3, 4, 2)], good_history().media)),
    "a hint does not come true": (
        "preload_hint", lambda: change_playlists(lambda p: replace(p, preload_hint="other.m4s"))),
    "a segment starts with no keyframe": (
        "independent", lambda: change_segment(3, change_part(0, independent=False), last_only=False)),
    "independent is a lie": ("independent", lambda: change_media("p3.0.m4s", part_media(30 * PART_TICKS))),
    "a decode time jumps": ("decode_times", lambda: change_media("p3.4.m4s", part_media(34 * PART_TICKS + 900))),
    "a fragment overlaps the next": (
        "decode_times", lambda: change_media("p3.4.m4s", part_media(34 * PART_TICKS, PART_TICKS + 900))),
    "media are longer than said": ("durations", lambda: change_media("p3.9.m4s", part_media(39 * PART_TICKS, 28_000))),
    "the date goes back": (
        "program_date_time",
        lambda: change_segment(
            3, lambda s: replace(s, program_date_time="2026-11-25T00:00:01.000Z"), last_only=False)),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found(planted: str) -> None:
    rule, history = PLANTED[planted]
    assert rule in rules_broken(history())


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _ in PLANTED.values()} == set(hls_rules.RULES)


LOW_LATENCY = """#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-MAP:URI="init-1.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-25T00:00:00.000Z
#EXTINF:2.00000,
s7.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init-2.mp4"
#EXT-X-PART:DURATION=0.2,URI="p8.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.13333,URI="p8.1.m4s"
#EXTINF:0.33333,
s8.m4s
#EXT-X-PART:DURATION=0.2,URI="p9.0.m4s",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p9.1.m4s"
"""


def test_a_low_latency_playlist_is_read() -> None:
    read = parse_media(LOW_LATENCY)
    assert (read.version, read.target_duration_s, read.part_target_s, read.media_sequence) == (9, 2, 0.2, 7)
    assert [(s.number, s.uri, s.discontinuity, s.init_uri) for s in read.segments] == [
        (7, "s7.m4s", False, "init-1.mp4"),
        (8, "s8.m4s", True, "init-2.mp4"),
        (9, None, False, "init-2.mp4"),
    ]
    assert read.segments[1].parts == (Part("p8.0.m4s", 0.2, independent=True), Part("p8.1.m4s", 0.13333))
    assert (read.preload_hint, read.next_part()) == ("p9.1.m4s", (9, 1))


def test_a_delta_update_gives_the_whole_playlist() -> None:
    lines = LOW_LATENCY.splitlines()
    skipped = "\n".join([*lines[:7], "#EXT-X-SKIP:SKIPPED-SEGMENTS=1", *lines[11:]])
    whole = parse_media(LOW_LATENCY)
    assert apply_delta(whole, parse_media(skipped)) == whole
    with pytest.raises(ValueError, match="did not have"):
        apply_delta(replace(whole, segments=whole.segments[1:]), parse_media(skipped))


def test_a_multivariant_playlist_is_read() -> None:
    variants = parse_multivariant(
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.42c01e,mp4a.40.2",RESOLUTION=640x360\nmedia.m3u8\n'
    )
    assert variants[0].uri == "media.m3u8"
    assert variants[0].attributes["CODECS"] == "avc1.42c01e,mp4a.40.2"
