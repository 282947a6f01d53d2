"""A moving picture and a beep from which a test can measure order, latency and lip sync.

Frames are numbered from the Unix epoch: `frame_number = floor(unix_time_s * frame_rate)`, and audio samples likewise.
So one number says everything: the clock on the picture, the coded strip that a program reads back, the flash in the
first tenth of every second, and the beep that belongs to it. A reader that sees frame `n` at time `t` knows the
glass-to-glass latency, `t - n / frame_rate`, without asking the publisher anything.

Data in: a frame number or a sample index. Data out: a planar YUV420 picture (rows of Y, then U, then V, as PyAV's
`VideoFrame.from_ndarray(..., format="yuv420p")` takes it) or 16-bit PCM. Nothing here reads a clock or does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tallylight.demo.font import GLYPH_HEIGHT, GLYPH_WIDTH, text_mask

Luma = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.uint8]
Pcm = npt.NDArray[np.int16]

# The strip: 40 bits of frame number and 8 of checksum, most significant first, in two rows of 24 blocks. 40 bits at
# 60 frames a second last 580 years. At 640x360 a block is 26x20 pixels: it spans whole macroblocks of every codec, so
# it survives 300 kb/s and a resize by two in either direction.
COUNTER_BITS = 40
CHECKSUM_BITS = 8
STRIP_COLUMNS = 24
STRIP_ROWS = 2
COUNTER_LIMIT = 1 << COUNTER_BITS
_STRIP_ROW_SHARE = 18  # each row of the strip takes 1/18 of the picture's height

# Limited range luma (16 to 235, BT.601). What a decoder gives back for a flat block stays within a few steps of
# these; between the two limits a block is unreadable rather than guessed.
BLACK, WHITE = 16, 235
_SURE_BLACK, _SURE_WHITE = 95, 160
_GREY = 150  # small print

# The flash lasts as long as the beep: a tenth of a second, so that at 30 frames a second it is on for 3 of them.
FLASH_DURATION_S = 0.1
BEEP_FREQUENCY_HZ = 1000
_BEEP_AMPLITUDE = 0.25  # of full scale: clearly heard, not startling
_BEEP_RAMP_S = 0.001  # softens the click; shorter than any skew we measure

# Shapes are even numbers of pixels, so that luma and chroma edges coincide.
_TALLY_RED = (98, 102, 222)  # #ff3b30 in BT.601
_PANEL = (29, 130, 127)  # #16181d
_BARS = (
    (180, 128, 128), (168, 44, 136), (145, 147, 44), (133, 63, 52), (63, 193, 204), (51, 109, 212), (28, 212, 120),
)  # fmt: skip  # 75 % colour bars, Rec. ITU-R BT.471 values in Y, Cb, Cr


@dataclass(frozen=True)
class Area:
    """A rectangle of luma pixels."""

    top: int
    left: int
    height: int
    width: int

    def middle(self) -> Area:
        """The inner half in each direction: what compression at the edges cannot reach."""
        return Area(
            self.top + self.height // 4, self.left + self.width // 4, max(1, self.height // 2), max(1, self.width // 2)
        )


def strip_area(width: int, height: int) -> Area:
    """Where the coded strip is: the lowest 2/18 of the picture, edge to edge."""
    rows = _even(height * STRIP_ROWS / _STRIP_ROW_SHARE)
    return Area(height - rows, 0, rows, width)


def flash_area(width: int, height: int) -> Area:
    """Where the flash is: a square at the right, a fifth of the height."""
    side = _even(height / 5)
    return Area(_even(height * 0.6), width - side - _even(height / 18), side, side)


def is_flash_frame(frame_number: int, frame_rate: int) -> bool:
    """Whether this frame lies in the first tenth of its second."""
    return frame_number % frame_rate < frame_rate * FLASH_DURATION_S


def draw(frame_number: int, width: int, height: int, frame_rate: int = 30) -> Picture:
    """The picture of one frame: shape `(height * 3 // 2, width)`, Y then U then V.

    Args:
        frame_number: Counted from the Unix epoch; below 2**40.
        width: Even, at least 320.
        height: Divisible by 4, at least 180.
    """
    _check_size(width, height)
    if not 0 <= frame_number < COUNTER_LIMIT:
        raise ValueError(f"frame number {frame_number} does not fit {COUNTER_BITS} bits")
    picture = _background(width, height).copy()
    canvas = _Canvas(picture, width, height)
    _draw_strip(canvas, frame_number)
    _draw_sweep(canvas, frame_number, frame_rate)
    _draw_clock(canvas, frame_number, frame_rate)
    if is_flash_frame(frame_number, frame_rate):
        canvas.fill(flash_area(width, height), (WHITE, 128, 128))
    return picture


def read_counter(luma: Luma) -> int | None:
    """The frame number coded into a decoded picture of any size, or None when the strip cannot be read.

    Args:
        luma: The Y plane, shape `(height, width)`.
    """
    height, width = luma.shape
    area = strip_area(width, height)
    rows, columns = area.height / STRIP_ROWS, width / STRIP_COLUMNS
    bits = 0
    for index in range(STRIP_ROWS * STRIP_COLUMNS):
        row, column = divmod(index, STRIP_COLUMNS)
        block = Area(area.top + round(row * rows), round(column * columns), round(rows), round(columns))
        level = _mean(luma, block.middle())
        if _SURE_BLACK < level < _SURE_WHITE:
            return None
        bits = bits << 1 | (level >= _SURE_WHITE)
    frame_number, checksum = bits >> CHECKSUM_BITS, bits & ((1 << CHECKSUM_BITS) - 1)
    return frame_number if checksum == _checksum(frame_number) else None


def is_flash(luma: Luma) -> bool:
    """Whether the flash is lit in a decoded picture of any size."""
    height, width = luma.shape
    return _mean(luma, flash_area(width, height).middle()) >= _SURE_WHITE


def beep(first_sample: int, count: int, sample_rate_hz: int) -> Pcm:
    """`count` samples of mono sound from `first_sample` on, counted from the Unix epoch.

    A tone burst of 1 kHz in the first tenth of every second, else silence.
    """
    in_second = (first_sample + np.arange(count, dtype=np.int64)) % sample_rate_hz
    time_s = in_second / sample_rate_hz
    edge = np.minimum(time_s, FLASH_DURATION_S - time_s) / _BEEP_RAMP_S
    tone = np.sin(2 * np.pi * BEEP_FREQUENCY_HZ * time_s) * np.clip(edge, 0.0, 1.0)
    return (tone * _BEEP_AMPLITUDE * 32767).astype(np.int16)


def find_beeps(pcm: npt.NDArray[np.generic], sample_rate_hz: int) -> list[float]:
    """Onsets of the tone bursts in decoded mono sound, in seconds from its first sample.

    The tone is shifted to zero frequency and averaged over 4 ms on both sides alike, so the envelope reaches half its
    height where the burst began, however soft the decoder made the edge. Bursts shorter than half of what was sent
    are noise.
    """
    signal = np.asarray(pcm, dtype=np.float64)
    window = max(1, round(0.004 * sample_rate_hz))
    if signal.size < window:
        return []
    turns = np.exp(-2j * np.pi * BEEP_FREQUENCY_HZ / sample_rate_hz * np.arange(signal.size))
    envelope = np.abs(np.convolve(signal * turns, np.ones(window) / window, mode="same"))
    peak = float(envelope.max())
    if peak <= 0.0:
        return []
    loud = np.concatenate(([False], envelope > peak / 2, [False]))
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    starts, ends = edges[::2], edges[1::2]
    # A burst already under way at the first sample has no onset to report.
    return [
        start / sample_rate_hz
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if start > 0 and end - start >= FLASH_DURATION_S / 2 * sample_rate_hz
    ]


class _Canvas:
    """Writes one shape into the three planes of a picture."""

    def __init__(self, picture: Picture, width: int, height: int) -> None:
        chroma = height * width // 4
        flat = picture.reshape(-1)
        self.width, self.height = width, height
        self.y = picture[:height]
        self.u = flat[height * width : height * width + chroma].reshape(height // 2, width // 2)
        self.v = flat[height * width + chroma :].reshape(height // 2, width // 2)

    def fill(self, area: Area, colour: tuple[int, int, int]) -> None:
        self.y[area.top : area.top + area.height, area.left : area.left + area.width] = colour[0]
        rows = slice(area.top // 2, (area.top + area.height) // 2)
        columns = slice(area.left // 2, (area.left + area.width) // 2)
        self.u[rows, columns], self.v[rows, columns] = colour[1], colour[2]

    def text(self, text: str, top: int, left: int, scale: int, luma: int = WHITE) -> None:
        mask = text_mask(text, scale)
        target = self.y[top : top + mask.shape[0], left : left + mask.shape[1]]
        target[mask[: target.shape[0], : target.shape[1]]] = luma

    def text_in_middle(self, text: str, top: int, scale: int, luma: int = WHITE) -> None:
        self.text(text, top, (self.width - text_mask(text, scale).shape[1]) // 2, scale, luma)


@lru_cache(maxsize=4)
def _background(width: int, height: int) -> Picture:
    """Everything that does not move."""
    picture = np.empty((height * 3 // 2, width), dtype=np.uint8)
    canvas = _Canvas(picture, width, height)
    canvas.fill(Area(0, 0, height, width), _PANEL)
    bars_height, step = _even(height * 0.42), width / len(_BARS)
    for index, colour in enumerate(_BARS):
        left = _even(index * step)
        canvas.fill(Area(0, left, bars_height, _even((index + 1) * step) - left), colour)
    ramp = np.linspace(BLACK, WHITE, width).astype(np.uint8)
    canvas.fill(Area(bars_height, 0, _even(height * 0.06), width), (BLACK, 128, 128))
    canvas.y[bars_height : bars_height + _even(height * 0.06)] = ramp
    scale = max(1, height // 180)
    lamp = _even(GLYPH_HEIGHT * scale)
    top, left, line = _even(height * 0.62), _even(height / 24), 2 * GLYPH_HEIGHT * scale
    canvas.fill(Area(top, left, lamp, lamp), _TALLY_RED)
    canvas.text("TALLYLIGHT", top, left + lamp + 2 * scale, scale)
    canvas.text("TEST CARD", top + line, left, scale, _GREY)
    canvas.text(f"{width} X {height}", top + 2 * line, left, scale, _GREY)
    canvas.fill(flash_area(width, height), (44, 130, 127))
    return picture


def _draw_strip(canvas: _Canvas, frame_number: int) -> None:
    area = strip_area(canvas.width, canvas.height)
    code = frame_number << CHECKSUM_BITS | _checksum(frame_number)
    count = STRIP_ROWS * STRIP_COLUMNS
    levels = np.array([WHITE if code >> (count - 1 - index) & 1 else BLACK for index in range(count)], dtype=np.uint8)
    rows = np.minimum(np.arange(area.height) * STRIP_ROWS // area.height, STRIP_ROWS - 1)
    columns = np.minimum(np.arange(area.width) * STRIP_COLUMNS // area.width, STRIP_COLUMNS - 1)
    canvas.fill(area, (BLACK, 128, 128))
    canvas.y[area.top :] = levels.reshape(STRIP_ROWS, STRIP_COLUMNS)[np.ix_(rows, columns)]


def _draw_sweep(canvas: _Canvas, frame_number: int, frame_rate: int) -> None:
    """A red marker that crosses the picture once in two seconds: a stutter shows to the eye."""
    period = 2 * frame_rate
    size = _even(canvas.height / 20)
    left = _even((frame_number % period) / period * (canvas.width - size))
    canvas.fill(Area(_even(canvas.height * 0.51), left, size, size), _TALLY_RED)


def _draw_clock(canvas: _Canvas, frame_number: int, frame_rate: int) -> None:
    seconds, frames = divmod(frame_number, frame_rate)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{frames * 100 // frame_rate:02}"
    scale = max(1, canvas.width // (len(clock) * (GLYPH_WIDTH + 1) * 2))
    top = _even(canvas.height * 0.62)
    canvas.text_in_middle(clock, top, scale)
    small = max(1, scale // 2)
    canvas.text_in_middle(f"UTC  FRAME {frame_number}", top + (GLYPH_HEIGHT + 3) * scale, small, _GREY)


def _checksum(frame_number: int) -> int:
    """CRC-8 (polynomial 0x07) over the five bytes of the number, started at 0xFF so that all-black is not a code."""
    crc = 0xFF
    for byte in frame_number.to_bytes(COUNTER_BITS // 8, "big"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def _mean(luma: Luma, area: Area) -> float:
    return float(luma[area.top : area.top + area.height, area.left : area.left + area.width].mean())


def _even(value: float) -> int:
    return int(value) // 2 * 2


def _check_size(width: int, height: int) -> None:
    # Below this the strip's blocks are smaller than a macroblock and stop surviving compression.
    if width < 320 or height < 180 or width % 2 or height % 4:
        raise ValueError(f"{width}x{height}: width must be even and >= 320, height divisible by 4 and >= 180")
