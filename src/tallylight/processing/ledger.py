"""A processor's own counters, written by its threads and read by the reporter."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tallylight.errors import TallylightError
from tallylight.processing.queue import FrameQueue, QueueState

State = Literal["starting", "running", "waiting", "failed"]

# As long as the border allows.
MAX_SENTENCE = 500


@dataclass
class Side:
    """Counters of what came in or went out. Bytes are encoded ones."""

    frames: int = 0
    bytes: int = 0
    errors: int = 0
    last_s: float | None = None


@dataclass
class Ledger:
    """Counters since the start, the state, and why it is not better."""

    name: str
    source: str
    target: str | None
    pid: int
    clock: Callable[[], float] = time.monotonic
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "starting"
    error: TallylightError | None = None
    taken: Side = field(default_factory=Side)
    given: Side = field(default_factory=Side)
    _queue: FrameQueue | None = None
    _dropped: int = 0
    _marks: tuple[float, int, int] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, frames: int, count: int) -> None:
        """So many pictures and encoded bytes came in."""
        self._count(self.taken, frames, count)

    def gave(self, frames: int, count: int) -> None:
        """So many pictures and encoded bytes went out."""
        self._count(self.given, frames, count)

    def failed_once(self, side: Side) -> None:
        with self._lock:
            side.errors += 1

    def become(self, state: State, error: TallylightError | None = None) -> bool:
        """Takes a state; True when it, or the error, is another than before."""
        with self._lock:
            same = (self.state, _code(self.error)) == (state, _code(error))
            self.state, self.error = state, error
            return not same

    def follow(self, queue: FrameQueue | None) -> None:
        """The queue of the run that begins; what the one before dropped stays counted."""
        with self._lock:
            if self._queue is not None:
                self._dropped += self._queue.state().dropped
            self._queue = queue

    def report(self) -> dict[str, Any]:
        """The body of a report. Rates are taken since the last one."""
        with self._lock:
            now_s = self.clock()
            fps_in, fps_out = self._rates(now_s)
            queue = self._queue.state() if self._queue is not None else QueueState(0, 0.0, 0)
            return {
                "name": self.name,
                "input": self.source,
                "output": self.target,
                "pid": self.pid,
                "state": self.state,
                "error": None
                if self.error is None
                else {"code": self.error.code, "sentence": self.error.sentence()[:MAX_SENTENCE]},
                "started_at": self.started_at.isoformat(),
                "in": _side(self.taken, now_s),
                "out": _side(self.given, now_s),
                "queue": {
                    "length": queue.length,
                    "age_ms": round(queue.age_s * 1000, 1),
                    "dropped": self._dropped + queue.dropped,
                },
                "fps_in": round(fps_in, 2),
                "fps_out": round(fps_out, 2),
            }

    def _rates(self, now_s: float) -> tuple[float, float]:
        before, self._marks = self._marks, (now_s, self.taken.frames, self.given.frames)
        if before is None or now_s <= before[0]:
            return 0.0, 0.0
        seconds = now_s - before[0]
        return (self.taken.frames - before[1]) / seconds, (self.given.frames - before[2]) / seconds

    def _count(self, side: Side, frames: int, count: int) -> None:
        with self._lock:
            side.frames += frames
            side.bytes += count
            if frames:
                side.last_s = self.clock()


def _code(error: TallylightError | None) -> str | None:
    return None if error is None else error.code


def _side(side: Side, now_s: float) -> dict[str, Any]:
    age_ms = None if side.last_s is None else round((now_s - side.last_s) * 1000, 1)
    return {"frames": side.frames, "bytes": side.bytes, "errors": side.errors, "age_ms": age_ms}
