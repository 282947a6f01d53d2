"""One decoded picture, as the function of a processor gets it."""

from dataclasses import dataclass
from typing import cast

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A picture to look at or to draw on, in place.

    Planar YUV 4:2:0, as decoders give it and encoders take it, so nothing is converted unless asked for. Values are in
    limited range: black is Y 16, white is Y 235, grey is U = V = 128.

    Attributes:
        picture: dtype uint8, shape `(height * 3 // 2, width)`: the rows of Y, then those of U, then those of V.
            Contiguous and writable; it is the function's until the function returns.
        width: In pixels; even.
        height: In pixels; even.
        number: Counts the pictures that this processor has handed out, from 0.
        time_s: Media time of the source in seconds; grows within a publication, and starts over with the next one.
    """

    picture: Pixels
    width: int
    height: int
    number: int
    time_s: float

    @property
    def y(self) -> Pixels:
        """Brightness: a view of shape `(height, width)`."""
        return self.picture[: self.height]

    @property
    def u(self) -> Pixels:
        """Blue difference: a view of shape `(height // 2, width // 2)`."""
        return self._chroma(0)

    @property
    def v(self) -> Pixels:
        """Red difference: a view of shape `(height // 2, width // 2)`."""
        return self._chroma(1)

    def rgb(self) -> Pixels:
        """A copy in RGB, shape `(height, width, 3)`. Costs about as much as encoding does."""
        return _pixels(av.VideoFrame.from_ndarray(self.picture, format="yuv420p").reformat(format="rgb24"))

    def set_rgb(self, pixels: Pixels) -> None:
        """Replaces the picture by one in RGB of the same size, shape `(height, width, 3)`, dtype uint8."""
        if pixels.shape != (self.height, self.width, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"expected uint8 {(self.height, self.width, 3)}, got {pixels.dtype} {pixels.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self.picture[:] = _pixels(frame.reformat(format="yuv420p"))

    def _chroma(self, index: int) -> Pixels:
        area, size = self.height * self.width, self.height * self.width // 4
        flat = self.picture.reshape(-1)[area + index * size : area + (index + 1) * size]
        return flat.reshape(self.height // 2, self.width // 2)


def read_frame(decoded: av.VideoFrame, number: int, time_s: float) -> Frame:
    """Copies a decoded picture out of the decoder's memory; other formats and odd sizes become even 4:2:0."""
    width, height = decoded.width // 2 * 2, decoded.height // 2 * 2
    if decoded.format.name != "yuv420p" or (width, height) != (decoded.width, decoded.height):
        decoded = decoded.reformat(width, height, "yuv420p")
    return Frame(_pixels(decoded), width, height, number, time_s)


def _pixels(frame: av.VideoFrame) -> Pixels:
    return cast("Pixels", frame.to_ndarray())
