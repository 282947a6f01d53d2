"""Reads HLS playlists (RFC 8216bis) into plain data, and applies delta updates."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True)
class Part:
    uri: str
    duration_s: float
    independent: bool = False
    gap: bool = False


@dataclass(frozen=True)
class Segment:
    """One media segment; `uri` is None while only parts of it exist."""

    number: int
    uri: str | None
    duration_s: float | None
    parts: tuple[Part, ...] = ()
    discontinuity: bool = False
    init_uri: str | None = None
    program_date_time: str | None = None
    gap: bool = False

    @property
    def complete(self) -> bool:
        return self.uri is not None


@dataclass(frozen=True)
class MediaPlaylist:
    version: int
    target_duration_s: int
    media_sequence: int
    discontinuity_sequence: int = 0
    part_target_s: float | None = None
    server_control: dict[str, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    preload_hint: str | None = None
    skipped: int = 0
    ended: bool = False

    def segment(self, number: int) -> Segment | None:
        return next((segment for segment in self.segments if segment.number == number), None)

    def parts(self) -> list[Part]:
        return [part for segment in self.segments for part in segment.parts]

    def next_part(self) -> tuple[int, int]:
        """Media sequence number and part index that a blocking reload asks for next."""
        if not self.segments:
            return self.media_sequence, 0
        last = self.segments[-1]
        return (last.number + 1, 0) if last.complete else (last.number, len(last.parts))


@dataclass(frozen=True)
class Variant:
    uri: str
    attributes: dict[str, str]


def parse_multivariant(text: str) -> list[Variant]:
    """Variant streams of a multivariant playlist."""
    variants, attributes = [], None
    for line in _lines(text):
        if line.startswith("#EXT-X-STREAM-INF:"):
            attributes = parse_attributes(line.partition(":")[2])
        elif not line.startswith("#") and attributes is not None:
            variants.append(Variant(line, attributes))
            attributes = None
    return variants


def parse_attributes(text: str) -> dict[str, str]:
    """An attribute list; quotes are taken off."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


class _Reader:
    """Collects tags until the URI line that closes a segment."""

    def __init__(self) -> None:
        self.playlist = MediaPlaylist(version=1, target_duration_s=0, media_sequence=0)
        self.segments: list[Segment] = []
        self.init_uri: str | None = None
        self.pending = Segment(0, None, None)

    def read(self, line: str) -> None:
        tag, _, value = line.partition(":")
        if not line.startswith("#"):
            self._close_segment(line)
        elif tag in self._HEADER:
            name, convert = self._HEADER[tag]
            self.playlist = replace(self.playlist, **{name: convert(value)})
        elif tag in self._SEGMENT:
            self._SEGMENT[tag](self, value)

    def _close_segment(self, uri: str | None) -> None:
        number = self.playlist.media_sequence + self.playlist.skipped + len(self.segments)
        self.segments.append(replace(self.pending, number=number, uri=uri, init_uri=self.init_uri))
        self.pending = Segment(0, None, None)

    def finish(self) -> MediaPlaylist:
        if self.pending.parts:
            self._close_segment(None)
        return replace(self.playlist, segments=tuple(self.segments))

    def _part(self, value: str) -> None:
        attributes = parse_attributes(value)
        part = Part(
            attributes["URI"],
            float(attributes["DURATION"]),
            attributes.get("INDEPENDENT") == "YES",
            attributes.get("GAP") == "YES",
        )
        self.pending = replace(self.pending, parts=(*self.pending.parts, part))

    def _map(self, value: str) -> None:
        self.init_uri = parse_attributes(value)["URI"]

    def _preload_hint(self, value: str) -> None:
        attributes = parse_attributes(value)
        if attributes["TYPE"] == "PART":
            self.playlist = replace(self.playlist, preload_hint=attributes["URI"])

    def _skip(self, value: str) -> None:
        self.playlist = replace(self.playlist, skipped=int(parse_attributes(value)["SKIPPED-SEGMENTS"]))

    def _set(self, **fields: object) -> None:
        self.pending = replace(self.pending, **fields)  # type: ignore[arg-type]

    _HEADER: dict[str, tuple[str, Callable[[str], Any]]] = {  # noqa: RUF012
        "#EXT-X-VERSION": ("version", int),
        "#EXT-X-TARGETDURATION": ("target_duration_s", int),
        "#EXT-X-MEDIA-SEQUENCE": ("media_sequence", int),
        "#EXT-X-DISCONTINUITY-SEQUENCE": ("discontinuity_sequence", int),
        "#EXT-X-PART-INF": ("part_target_s", lambda value: float(parse_attributes(value)["PART-TARGET"])),
        "#EXT-X-SERVER-CONTROL": ("server_control", parse_attributes),
        "#EXT-X-ENDLIST": ("ended", lambda _value: True),
    }
    _SEGMENT = {  # noqa: RUF012
        "#EXTINF": lambda self, value: self._set(duration_s=float(value.partition(",")[0])),
        "#EXT-X-DISCONTINUITY": lambda self, _value: self._set(discontinuity=True),
        "#EXT-X-PROGRAM-DATE-TIME": lambda self, value: self._set(program_date_time=value),
        "#EXT-X-GAP": lambda self, _value: self._set(gap=True),
        "#EXT-X-PART": _part,
        "#EXT-X-MAP": _map,
        "#EXT-X-PRELOAD-HINT": _preload_hint,
        "#EXT-X-SKIP": _skip,
    }


def parse_media(text: str) -> MediaPlaylist:
    """A media playlist, delta updates included."""
    lines = _lines(text)
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError(f"not a playlist: {text[:80]!r}")
    reader = _Reader()
    for line in lines[1:]:
        reader.read(line)
    return reader.finish()


def apply_delta(before: MediaPlaylist, delta: MediaPlaylist) -> MediaPlaylist:
    """The whole playlist that a delta update stands for (RFC 8216bis section 6.2.5.1).

    Raises:
        ValueError: The client's own copy does not reach far enough back.
    """
    if not delta.skipped:
        return delta
    known = {segment.number: segment for segment in before.segments}
    numbers = range(delta.media_sequence, delta.media_sequence + delta.skipped)
    missing = [number for number in numbers if number not in known]
    if missing:
        raise ValueError(f"the delta skips segments {missing}, which the playlist before did not have")
    kept = tuple(known[number] for number in numbers)
    # EXT-X-MAP applies until the next one, and a delta may leave it out with the segments it skips.
    init_uri, rest = kept[-1].init_uri, []
    for segment in delta.segments:
        init_uri = segment.init_uri or init_uri
        rest.append(replace(segment, init_uri=init_uri))
    return replace(delta, segments=(*kept, *rest), skipped=0)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
