"""What a viewer saw and heard of the test card, and the questions the suites ask about it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt

from tallylight.demo import testcard

SAMPLE_RATE_HZ = 48_000
# Blocks of the bar that `examples/videoProcess.py` draws along the top, and when one is surely black or white.
BAR_BITS = 16
_SURE_BLACK, _SURE_WHITE = 95, 160


@dataclass(frozen=True)
class SeenFrame:
    """One decoded picture: the number on it, its media time, and when it was decoded (Unix time)."""

    counter: int | None
    flash: bool
    media_s: float
    at_s: float
    width: int
    height: int
    # What `examples/videoProcess.py` drew, if it did.
    bar: int | None = None


@dataclass
class Sound:
    """Decoded mono sound, and the media time of its first sample."""

    starts_s: float | None = None
    pieces: list[npt.NDArray[np.int16]] = field(default_factory=list)

    def add(self, media_s: float, pcm: npt.NDArray[np.int16]) -> None:
        """Appends a piece; a gap in media time is filled with silence, so that positions stay times."""
        if self.starts_s is None:
            self.starts_s = media_s
        gap = round((media_s - self.starts_s - self.duration_s()) * SAMPLE_RATE_HZ)
        if gap > 480:  # 10 ms: more than rounding
            self.pieces.append(np.zeros(gap, dtype=np.int16))
        self.pieces.append(pcm)

    def duration_s(self) -> float:
        return sum(piece.size for piece in self.pieces) / SAMPLE_RATE_HZ

    def beeps_s(self) -> list[float]:
        """Media times of the beeps' onsets."""
        if self.starts_s is None:
            return []
        return [self.starts_s + onset for onset in testcard.find_beeps(np.concatenate(self.pieces), SAMPLE_RATE_HZ)]


def read_frame(frame: av.VideoFrame, media_s: float, at_s: float) -> SeenFrame:
    """Reads the card off a decoded picture."""
    luma = luma_of(frame)
    return SeenFrame(
        testcard.read_counter(luma),
        testcard.is_flash(luma),
        media_s,
        at_s,
        frame.width,
        frame.height,
        read_bar(luma),
    )


def read_bar(luma: npt.NDArray[np.uint8]) -> int | None:
    """The number in the bar that the example draws, or None when there is no bar."""
    height, width = luma.shape
    rows = height // 18 // 2 * 2
    value = 0
    for index in range(BAR_BITS):
        left, right = index * width // BAR_BITS, (index + 1) * width // BAR_BITS
        quarter = (right - left) // 4
        level = float(luma[rows // 4 : rows * 3 // 4 + 1, left + quarter : right - quarter].mean())
        if _SURE_BLACK < level < _SURE_WHITE:
            return None
        value = value << 1 | (level >= _SURE_WHITE)
    return value


def media_time_s(frame: av.VideoFrame | av.AudioFrame) -> float:
    """Presentation time in seconds."""
    assert frame.pts is not None
    assert frame.time_base is not None
    return float(frame.pts * frame.time_base)


def luma_of(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """The Y plane, in limited range, without copying the others."""
    plane = frame.planes[0]
    pixels = np.frombuffer(memoryview(plane), dtype=np.uint8)
    return pixels.reshape(plane.height, plane.line_size)[:, : plane.width]


def flash_onsets_s(frames: list[SeenFrame]) -> list[float]:
    """Media times at which the flash went on; frames in presentation order."""
    return [after.media_s for before, after in pairwise(frames) if after.flash and not before.flash]


def lip_sync_ms(frames: list[SeenFrame], sound: Sound, sound_offset_s: float = 0.0) -> list[float]:
    """Sound minus picture for each flash that has a beep within half a second; positive when the sound is late.

    Args:
        sound_offset_s: Added to media times of the sound to put them on the picture's clock.
    """
    beeps = [beep + sound_offset_s for beep in sound.beeps_s()]
    offsets = [min((beep - flash for beep in beeps), key=abs, default=1.0) for flash in flash_onsets_s(frames)]
    return [offset * 1000 for offset in offsets if abs(offset) < 0.5]


def missing_pictures(frames: list[SeenFrame]) -> int:
    """Pictures missing between the first and the last; asserts that all are readable and that numbers only rise."""
    unreadable = [index for index, frame in enumerate(frames) if frame.counter is None]
    assert not unreadable, f"{len(unreadable)} of {len(frames)} pictures without a readable counter: {unreadable[:10]}"
    counters = [frame.counter for frame in frames if frame.counter is not None]
    backward = [(before, after) for before, after in pairwise(counters) if after <= before]
    assert not backward, f"pictures out of order: {backward[:5]}"
    return counters[-1] - counters[0] + 1 - len(counters)


def assert_counter_runs(frames: list[SeenFrame]) -> None:
    """Every picture carries a readable number, and the numbers rise by one: in order, nothing missing."""
    missing = missing_pictures(frames)
    counters = [frame.counter for frame in frames if frame.counter is not None]
    gaps = [(before, after) for before, after in pairwise(counters) if after != before + 1]
    assert not missing, f"{missing} pictures missing, at {gaps[:5]}"


def latency_s(frames: list[SeenFrame], frame_rate: int) -> float:
    """Median age of a picture when it was decoded, from the number on it (numbers count from the Unix epoch)."""
    return statistics.median(frame.at_s - frame.counter / frame_rate for frame in frames if frame.counter is not None)
