"""A processor: draws on every picture of a stream and publishes the result as the stream NAME-processed.

    .venv/bin/python examples/videoProcess.py main

Start it on the host of the server, with the same settings. It reads what is on air on `main`, draws a clock bar and a
lamp, and the result plays on /watch/main-processed like any other stream. Change `draw`, and it is your own.
"""

import sys

import numpy as np

from tallylight.processing import Frame
from tallylight.processing.command_line import main

BLACK, WHITE, GREY = 16, 235, 128
BITS = 16


def draw(frame: Frame) -> None:
    """Draws on one picture, in place: `frame.y` is its brightness, `frame.u` and `frame.v` are its colour."""
    bar_height = frame.height // 18 // 2 * 2
    draw_counter(frame, bar_height)
    draw_lamp(frame, top=2 * bar_height, size=2 * bar_height)


def draw_counter(frame: Frame, height: int) -> None:
    """A bar along the top whose blocks spell the picture's number in binary, white for 1, for programs to read."""
    bits = frame.number >> np.arange(BITS - 1, -1, -1) & 1
    block_of_column = np.arange(frame.width) * BITS // frame.width
    frame.y[:height] = np.where(bits, WHITE, BLACK)[block_of_column]
    frame.u[: height // 2] = frame.v[: height // 2] = GREY


def draw_lamp(frame: Frame, top: int, size: int) -> None:
    """A red square at the left that is lit in every other second of media time."""
    lit = int(frame.time_s) % 2 == 0
    rows, columns = slice(top, top + size), slice(size // 2, size // 2 + size)
    half_rows, half_columns = slice(top // 2, (top + size) // 2), slice(size // 4, size // 4 + size // 2)
    frame.y[rows, columns] = 98 if lit else 40
    frame.u[half_rows, half_columns] = 102 if lit else GREY
    frame.v[half_rows, half_columns] = 222 if lit else GREY


if __name__ == "__main__":
    sys.exit(main(draw, "Draw on every picture of a stream, and publish the result."))
