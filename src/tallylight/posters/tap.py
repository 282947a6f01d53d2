"""The beginning of an engine tap: just enough fragmented MP4 to decode the first keyframe. Pure."""

from collections.abc import Iterable

# A keyframe of 4K at a generous bitrate has about two megabytes, and its chunk holds 200 ms.
MAX_BYTES = 16 * 1024 * 1024


class TapError(Exception):
    """The tap did not begin as agreed; the text says how."""


def first_chunk(pieces: Iterable[bytes]) -> bytes:
    """The init segment and the first chunk (`moof` and `mdat`) of a tap.

    Raises:
        TapError: It ended before that, or is longer than `MAX_BYTES`.
    """
    received = bytearray()
    for piece in pieces:
        received += piece
        if (end := _end_of_chunk(received)) is not None:
            return bytes(received[:end])
        if len(received) > MAX_BYTES:
            raise TapError(f"no whole chunk within {MAX_BYTES} bytes")
    raise TapError("ended before the first chunk")


def _end_of_chunk(received: bytearray) -> int | None:
    """Where the first `mdat` ends, once all of it is here (ISO/IEC 14496-12 section 4.2: size, then type)."""
    start = 0
    while start + 8 <= len(received):
        size = int.from_bytes(received[start : start + 4], "big")
        if size < 8:  # 0 and 1 are the open and the 64 bit size, which the engine does not write
            raise TapError(f"a box of size {size}")
        if received[start + 4 : start + 8] == b"mdat":
            return start + size if start + size <= len(received) else None
        start += size
    return None
