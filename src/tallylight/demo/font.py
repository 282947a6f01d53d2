"""A 5x7 bitmap font: just the characters the test card shows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

GLYPH_WIDTH, GLYPH_HEIGHT = 5, 7

# One glyph a line: seven rows of five pixels, each row one number, its highest bit at the left.
_GLYPHS: dict[str, tuple[int, ...]] = {
    " ": (0, 0, 0, 0, 0, 0, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
    ":": (0, 12, 12, 0, 12, 12, 0),
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (28, 18, 17, 17, 17, 18, 28),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "F": (31, 16, 16, 30, 16, 16, 16),
    "G": (14, 17, 16, 23, 17, 17, 15),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "X": (17, 17, 10, 4, 10, 17, 17),
    "Y": (17, 17, 17, 10, 4, 4, 4),
}


def text_mask(text: str, scale: int) -> npt.NDArray[np.bool_]:
    """True where the text has ink; one pixel of the font is `scale` pixels high and wide."""
    return np.concatenate([_glyph_mask(character, scale) for character in text], axis=1)


@lru_cache(maxsize=256)
def _glyph_mask(character: str, scale: int) -> npt.NDArray[np.bool_]:
    """One glyph and the empty column that parts it from the next."""
    rows = [
        [bool(row >> (GLYPH_WIDTH - 1 - column) & 1) for column in range(GLYPH_WIDTH)] + [False]
        for row in _GLYPHS[character]
    ]
    return np.kron(np.array(rows, dtype=np.bool_), np.ones((scale, scale), dtype=np.bool_))
