"""Two looks at every ledger, so that a report can say what moves and not only what once moved."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from tallylight.diagnosis.expose import ExposeLog
from tallylight.diagnosis.facts import Counters, HostFacts, LedgerWindow, Side
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import StreamStatus

log = structlog.get_logger()

# Chunks are 200 ms, pictures 33 ms: in two seconds whatever moves has moved.
WINDOW_S = 2.0
# Older samples say nothing about now.
MAX_WINDOW_S = 10.0
# Often enough that a window is not much longer than it has to be.
SAMPLE_EVERY_S = 1.0
KEPT_SAMPLES = 4


@dataclass(frozen=True)
class _Sample:
    at_s: float
    counters: dict[Side, Counters]
    exposed_bytes: int


@dataclass
class _History:
    samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))
    keyframes: int = 0
    # When a sample first showed the newest keyframe.
    keyframe_s: float | None = None


class LedgerSampler:
    """Keeps the newest samples of the engine's ledgers, and of the machine."""

    def __init__(
        self, engine: EngineClient, expose: ExposeLog, directory: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._expose = expose
        self._directory = directory
        self._clock = clock
        self._streams: dict[str, _History] = {}
        self.host: HostFacts | None = None

    async def sample(self) -> None:
        """Asks the engine and looks at the machine, once."""
        try:
            self.take((await self._engine.streams()).values())
        except EngineAwayError:
            # Whoever asks for a report says so; what moved before is not known to move now.
            self._streams.clear()
        self.host = await asyncio.to_thread(_look_at_host, self._directory)

    def take(self, statuses: Iterable[StreamStatus]) -> None:
        """Takes one sample of each of these streams, and forgets all others."""
        now_s = self._clock()
        self._streams = {
            status.name: self._add(self._streams.get(status.name) or _History(), status, now_s) for status in statuses
        }

    def window(self, status: StreamStatus) -> LedgerWindow | None:
        """How far this stream moved from a sample about two seconds ago to this status; None without such a sample."""
        history = self._streams.get(status.name)
        if history is None:
            return None
        now_s = self._clock()
        before = next((s for s in reversed(history.samples) if WINDOW_S <= now_s - s.at_s <= MAX_WINDOW_S), None)
        if before is None:
            return None
        now = self._sample(status, now_s)
        moved = {side: _minus(now.counters[side], before.counters.get(side, Counters())) for side in now.counters}
        if any(counters.bytes < 0 for counters in moved.values()):
            # The engine started again in between.
            return None
        keyframe_age_s = None if history.keyframe_s is None else now_s - history.keyframe_s
        exposed = max(0, now.exposed_bytes - before.exposed_bytes)
        return LedgerWindow(now_s - before.at_s, moved, exposed, keyframe_age_s)

    def _add(self, history: _History, status: StreamStatus, now_s: float) -> _History:
        sample = self._sample(status, now_s)
        keyframes = sample.counters.get(("ingest", "in"), Counters()).keyframes
        if keyframes != history.keyframes:
            history.keyframes, history.keyframe_s = keyframes, now_s
        history.samples.append(sample)
        return history

    def _sample(self, status: StreamStatus, now_s: float) -> _Sample:
        counters: dict[Side, Counters] = {}
        for link, sides in status.ledger.items():
            for side in ("in", "out"):
                counters[(link, side)] = _counters(sides.get(side, {}))
        return _Sample(now_s, counters, self._expose.facts(status.name).bytes)


def _counters(values: dict[str, object]) -> Counters:
    def count(name: str) -> int:
        value = values.get(name)
        return value if isinstance(value, int) else 0

    return Counters(*(count(name) for name in ("bytes", "access_units", "keyframes", "errors", "dropped")))


def _minus(now: Counters, before: Counters) -> Counters:
    return Counters(
        now.bytes - before.bytes,
        now.access_units - before.access_units,
        now.keyframes - before.keyframes,
        now.errors - before.errors,
        now.dropped - before.dropped,
    )


def _look_at_host(directory: Path) -> HostFacts | None:
    try:
        return HostFacts(psutil.disk_usage(str(directory)).free, psutil.virtual_memory().available)
    except OSError as error:
        log.warning("host_not_measured", cause=str(error))
        return None
