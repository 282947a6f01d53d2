"""Between decoder and function: a short queue that lets go of the oldest pictures when the function falls behind."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av

# The tap hands out chunks of 200 ms: at 60 pictures a second 12 come together. Of 1080p these are 50 MB.
MAX_FRAMES = 16
# Ten seconds of sound; more waits only behind a function that hangs.
MAX_SOUND_PACKETS = 512


@dataclass(frozen=True)
class Picture:
    """A decoded picture and when it came, on the monotonic clock."""

    decoded: av.VideoFrame
    time_s: float
    arrived_s: float


@dataclass(frozen=True)
class Sound:
    """An encoded piece of sound, passed on as it is."""

    packet: av.Packet[Any]
    time_s: float


Item = Picture | Sound


@dataclass(frozen=True)
class QueueState:
    """`age_s` is how long the oldest picture that is not done yet has waited, the one in the function included."""

    length: int
    age_s: float
    dropped: int


class FrameQueue:
    """One writer, one reader, in order of arrival. Full: the oldest picture goes, and is counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: deque[Item] = deque()
        self._pictures = 0
        self._dropped = 0
        self._in_work: Picture | None = None
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            if isinstance(item, Picture):
                self._pictures += 1
                if self._pictures > MAX_FRAMES:
                    self._drop_oldest(Picture)
                    self._pictures -= 1
                    self._dropped += 1
            elif len(self._items) - self._pictures > MAX_SOUND_PACKETS:
                self._drop_oldest(Sound)
            self._changed.notify()

    def end(self) -> None:
        """No more comes; the reader gets what is there, then None."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self) -> Item | None:
        """The next item, once there is one; asking for it says that the one before is done. None at the end."""
        with self._changed:
            self._in_work = None
            self._changed.wait_for(lambda: self._items or self._ended)
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Picture):
                self._pictures -= 1
                self._in_work = item
            return item

    def state(self) -> QueueState:
        with self._changed:
            waiting = (item for item in self._items if isinstance(item, Picture))
            oldest = self._in_work or next(waiting, None)
            age_s = 0.0 if oldest is None else self._clock() - oldest.arrived_s
            return QueueState(self._pictures, age_s, self._dropped)

    def _drop_oldest(self, kind: type[Item]) -> None:
        index = next(index for index, item in enumerate(self._items) if isinstance(item, kind))
        del self._items[index]
