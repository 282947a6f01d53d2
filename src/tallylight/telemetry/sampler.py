"""Looks at engine, host and database every two seconds, and remembers ten minutes."""

import asyncio
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallylight.db import Database
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import EngineHealth, StreamStatus
from tallylight.telemetry.loop_delay import LoopDelay
from tallylight.telemetry.processes import OurProcess, our_processes
from tallylight.telemetry.rates import Meter, Reading

log = structlog.get_logger()

# Short enough to see a join, long enough that looking costs nothing beside the media.
INTERVAL_S = 2.0
HISTORY_S = 600
# What leaves for viewers: packets of media, and playlists and parts.
EGRESS_COUNTERS = ("webrtc.bytes_out", "hls.bytes")


@dataclass(frozen=True)
class Disk:
    """The file system of the data directory."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Host:
    """The machine, and our processes on it. Unknown is None."""

    cpu_count: int
    memory_total_bytes: int
    memory_available_bytes: int
    disk: Disk | None
    processes: tuple[OurProcess, ...]


@dataclass(frozen=True)
class EngineLook:
    """What the engine said at one moment."""

    health: EngineHealth
    statistics: dict[str, float]
    streams: dict[str, StreamStatus]


@dataclass(frozen=True)
class Sample:
    """Figures of one moment; rates are means since the sample before. Unknown is None: the engine did not answer.

    Attributes:
        at_s: Unix time.
        cpu_percent: Of our processes together; 100 is one processor, busy all the time.
        rss_bytes: Of our processes together.
        stream_ingress_bps: By stream that has a publisher.
        engine_load: Processors that the engine kept busy.
        loop_delay_s: By how much the latest timer of the control plane was late, since the sample before.
        database_s: How long the database took for the smallest question; None when it did not answer.
    """

    at_s: float
    viewers_webrtc: int | None = None
    viewers_hls: int | None = None
    egress_bps: float | None = None
    ingress_bps: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    stream_ingress_bps: dict[str, float | None] = field(default_factory=dict)
    engine_load: float | None = None
    loop_delay_s: float = 0.0
    database_s: float | None = None


class Sampler:
    """Takes samples until cancelled.

    Attributes:
        history: Oldest first.
        host: The newest look at the machine; None before the first sample.
        engine: The newest look at the engine; None while it does not answer.
        loop_delay: How late the event loop was, from the start on.
    """

    def __init__(
        self,
        engine: EngineClient,
        database: Database,
        data_directory: Path,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = engine
        self._database = database
        self._directory = data_directory
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._engine_meter: Meter[str] = Meter()
        self._stream_meter: Meter[str] = Meter()
        self._process_meter: Meter[tuple[int, float]] = Meter()
        self.history: deque[Sample] = deque(maxlen=int(HISTORY_S / INTERVAL_S))
        self.host: Host | None = None
        self.engine: EngineLook | None = None
        self.loop_delay = LoopDelay()
        self._taken = asyncio.Event()

    async def run(self) -> None:
        """Samples at once and then every `INTERVAL_S`; watches the event loop all the time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.loop_delay.run())
            group.create_task(self._sample_for_ever())

    async def _sample_for_ever(self) -> None:
        next_s = self._monotonic()
        failed = False
        while True:
            try:
                await self.take()
                failed = False
            except OSError as error:  # no descriptor is left: a gap in the curves, and said once
                if not failed:
                    log.error("sample_not_taken", cause=str(error))
                failed = True
            # A look that took long costs the samples that it covered, and shifts none.
            now_s = self._monotonic()
            next_s += INTERVAL_S * max(1, -(-(now_s - next_s) // INTERVAL_S))
            await asyncio.sleep(next_s - now_s)

    async def take(self) -> None:
        """Takes one sample."""
        self.engine = await self._look_at_engine()
        engine_pid = None if self.engine is None else self.engine.health.pid
        self.host = await asyncio.to_thread(look_at_host, self._directory, engine_pid)
        database_s = await self._ask_database()
        sample = self._sample(self.engine, self.host)
        self.history.append(
            replace(sample, loop_delay_s=self.loop_delay.delays_s.take_largest(), database_s=database_s)
        )
        taken, self._taken = self._taken, asyncio.Event()
        taken.set()

    async def newer_than(self, seen: Sample | None) -> Sample:
        """Waits for a sample other than the one that was seen last; None has seen none."""
        while not self.history or self.history[-1] is seen:
            await self._taken.wait()
        return self.history[-1]

    async def _look_at_engine(self) -> EngineLook | None:
        try:
            return EngineLook(
                await self._client.health(), await self._client.statistics(), await self._client.streams()
            )
        except EngineAwayError:
            return None  # said by whoever needs it; here it is a gap in the curves

    async def _ask_database(self) -> float | None:
        began_s = time.perf_counter()
        try:
            await self._database.ping()
        except SQLAlchemyError:
            return None  # said by the health check
        return time.perf_counter() - began_s

    def _sample(self, engine: EngineLook | None, host: Host) -> Sample:
        at_s = self._monotonic()
        used = {
            (process.pid, process.started_at_s): Reading(at_s, "", process.cpu_s)
            for process in host.processes
            if process.pid is not None and process.started_at_s is not None
        }
        cpu = total(self._process_meter.rates(used).values())
        facts = Sample(
            at_s=self._wall_clock(),
            cpu_percent=None if cpu is None else round(100 * cpu, 1),
            rss_bytes=sum(process.rss_bytes for process in host.processes),
        )
        return facts if engine is None else self._with_engine(facts, engine, at_s)

    def _with_engine(self, facts: Sample, engine: EngineLook, at_s: float) -> Sample:
        boot = engine.health.boot_id
        counters = {name: Reading(at_s, boot, value) for name, value in engine.statistics.items()}
        rates = self._engine_meter.rates(counters)
        received = {name: Reading(at_s, boot, 8 * received_bytes(status)) for name, status in engine.streams.items()}
        ingress = self._stream_meter.rates(received)
        egress = total(rates.get(name) for name in EGRESS_COUNTERS)
        cpu_ms = rates.get("process.cpu_ms")
        return replace(
            facts,
            viewers_webrtc=sum(status.viewers.get("webrtc", 0) for status in engine.streams.values()),
            viewers_hls=sum(status.viewers.get("hls", 0) for status in engine.streams.values()),
            egress_bps=None if egress is None else 8 * egress,
            ingress_bps=total(ingress.values()) if ingress else 0.0,
            stream_ingress_bps={
                name: rate for name, rate in ingress.items() if engine.streams[name].session is not None
            },
            engine_load=None if cpu_ms is None else cpu_ms / 1000,
        )


def look_at_host(directory: Path, engine_pid: int | None) -> Host:
    """Reads what the system knows; call it in a thread."""
    memory = psutil.virtual_memory()
    processes = tuple(our_processes(engine_pid))
    return Host(os.cpu_count() or 1, memory.total, memory.available, _look_at_disk(directory), processes)


def _look_at_disk(directory: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(directory)
    except OSError as error:
        log.warning("disk_not_measured", cause=str(error))
        return None
    return Disk(usage.total, usage.free)


def received_bytes(status: StreamStatus) -> float:
    """Bytes of media that arrived on a stream since the engine knows it."""
    value = status.ledger.get("ingest", {}).get("in", {}).get("bytes", 0)
    return value if isinstance(value, (int, float)) else 0


def total(rates: Iterable[float | None]) -> float | None:
    """The sum of the rates that are known; None when none is."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
