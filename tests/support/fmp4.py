"""Just enough of fragmented MP4 (ISO/IEC 14496-12) to check what a packager promises about time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Flags of tfhd, trun and a sample (ISO/IEC 14496-12 sections 8.8.7, 8.8.8, 8.8.3.1).
_TFHD_BASE_DATA_OFFSET, _TFHD_DESCRIPTION, _TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_TRUN_DATA_OFFSET, _TRUN_FIRST_FLAGS = 0x1, 0x4
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_COMPOSITION = 0x100, 0x200, 0x400, 0x800
_SAMPLE_IS_NON_SYNC = 0x10000


@dataclass(frozen=True)
class TrackHeader:
    """What the init segment says of one track."""

    track_id: int
    kind: str  # "video" or "audio"
    timescale_hz: int


@dataclass(frozen=True)
class Fragment:
    """One track's samples in one movie fragment; times in ticks of the track."""

    track_id: int
    decode_time: int
    duration: int
    samples: int
    starts_with_sync: bool


def read_init(data: bytes) -> dict[int, TrackHeader]:
    """Tracks of an init segment, by id."""
    tracks = {}
    for trak in _find(data, b"moov", b"trak"):
        tkhd = next(_find(trak, b"tkhd"))
        mdhd, hdlr = next(_find(trak, b"mdia", b"mdhd")), next(_find(trak, b"mdia", b"hdlr"))
        track_id = struct.unpack_from(">I", tkhd, 20 if tkhd[0] else 12)[0]
        timescale_hz = struct.unpack_from(">I", mdhd, 20 if mdhd[0] else 12)[0]
        kind = {b"vide": "video", b"soun": "audio"}[hdlr[8:12]]
        tracks[track_id] = TrackHeader(track_id, kind, timescale_hz)
    return tracks


def read_fragments(data: bytes) -> list[Fragment]:
    """All fragments of a part or a segment, in order."""
    return [_read_fragment(traf) for moof in _find(data, b"moof") for traf in _find(moof, b"traf")]


def _read_fragment(traf: bytes) -> Fragment:
    tfhd, tfdt = next(_find(traf, b"tfhd")), next(_find(traf, b"tfdt"))
    flags, track_id = _flags(tfhd), struct.unpack_from(">I", tfhd, 4)[0]
    decode_time = struct.unpack_from(">Q" if tfdt[0] else ">I", tfdt, 4)[0]
    at = 8 + (8 if flags & _TFHD_BASE_DATA_OFFSET else 0) + (4 if flags & _TFHD_DESCRIPTION else 0)
    default_duration = default_flags = 0
    if flags & _TFHD_DURATION:
        default_duration = struct.unpack_from(">I", tfhd, at)[0]
        at += 4
    at += 4 if flags & _TFHD_SIZE else 0
    if flags & _TFHD_FLAGS:
        default_flags = struct.unpack_from(">I", tfhd, at)[0]
    duration = samples = 0
    first_flags: int | None = None
    for trun in _find(traf, b"trun"):
        run_duration, run_samples, run_first_flags = _read_run(trun, default_duration, default_flags)
        duration, samples = duration + run_duration, samples + run_samples
        first_flags = run_first_flags if first_flags is None else first_flags
    return Fragment(track_id, decode_time, duration, samples, not (first_flags or 0) & _SAMPLE_IS_NON_SYNC)


def _read_run(trun: bytes, default_duration: int, default_flags: int) -> tuple[int, int, int]:
    """Total duration, number of samples, flags of the first."""
    flags, count = _flags(trun), struct.unpack_from(">I", trun, 4)[0]
    at = 8 + (4 if flags & _TRUN_DATA_OFFSET else 0)
    first_flags: int | None = None
    if flags & _TRUN_FIRST_FLAGS:
        first_flags = struct.unpack_from(">I", trun, at)[0]
        at += 4
    duration = 0
    for index in range(count):
        duration += struct.unpack_from(">I", trun, at)[0] if flags & _TRUN_DURATION else default_duration
        at += (4 if flags & _TRUN_DURATION else 0) + (4 if flags & _TRUN_SIZE else 0)
        if index == 0 and first_flags is None:
            first_flags = struct.unpack_from(">I", trun, at)[0] if flags & _TRUN_FLAGS else default_flags
        at += (4 if flags & _TRUN_FLAGS else 0) + (4 if flags & _TRUN_COMPOSITION else 0)
    return duration, count, first_flags or 0


def _find(data: bytes, *path: bytes) -> Iterator[bytes]:
    """Payloads of all boxes at a path of types."""
    for kind, payload in _boxes(data):
        if kind == path[0]:
            if len(path) == 1:
                yield payload
            else:
                yield from _find(payload, *path[1:])


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            size, header = struct.unpack_from(">Q", data, at + 8)[0], 16
        end = at + size if size else len(data)
        if end > len(data) or end < at + header:
            raise ValueError(f"box {kind!r} at {at} claims {size} bytes of {len(data)}")
        yield kind, data[at + header : end]
        at = end
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes after the last box")


def _flags(full_box: bytes) -> int:
    return int.from_bytes(full_box[1:4], "big")
