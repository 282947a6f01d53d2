"""Rates, samples of a fake engine, and answers that are shared."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tallylight.db import Database
from tallylight.engine.client import EngineClient
from tallylight.paths import DataDirectory
from tallylight.telemetry import sampler as sampling
from tallylight.telemetry.processes import OurProcess
from tallylight.telemetry.rates import Meter, Reading, per_second
from tallylight.telemetry.sampler import Host, Sampler, look_at_host
from tallylight.telemetry.shared import Shared
from unit.fake_engine import FakeEngine
from unit.test_api import on_air


def test_a_rate_needs_two_readings() -> None:
    assert per_second(None, Reading(1, "a", 100)) is None
    assert per_second(Reading(1, "a", 100), Reading(1, "a", 200)) is None, "no time went by"
    assert per_second(Reading(1, "a", 100), Reading(3, "a", 200)) == 50


@pytest.mark.parametrize("now", [Reading(3, "b", 300), Reading(3, "a", 60)])
def test_a_counter_that_began_again_has_counted_since(now: Reading) -> None:
    """Another run of the engine counts from zero, whether it has overtaken the old count or not."""
    assert per_second(Reading(1, "a", 100), now) == now.value / 2


def test_a_meter_measures_over_gaps_and_forgets_what_is_gone() -> None:
    meter: Meter[str] = Meter()
    assert meter.rates({"x": Reading(0, "a", 0), "y": Reading(0, "a", 0)}) == {"x": None, "y": None}
    # Nobody answered at 2 and 4.
    assert meter.rates({"x": Reading(6, "a", 60)}) == {"x": 10}
    assert meter.rates({"x": Reading(8, "a", 60), "y": Reading(8, "a", 99)}) == {"x": 0, "y": None}


class Bench:
    """A sampler whose clocks and machine are ours."""

    def __init__(self, client: EngineClient, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.database = database
        self.processes: tuple[OurProcess, ...] = ()
        monkeypatch.setattr(sampling, "look_at_host", self._look)
        self.sampler = Sampler(client, database, Path("/"), lambda: self.now_s, lambda: 1000 + self.now_s)

    def _look(self, _directory: Path, _engine_pid: int | None) -> Host:
        return Host(2, 8000, 4000, None, self.processes)

    async def take(self, after_s: float = 2.0) -> sampling.Sample:
        self.now_s += after_s
        await self.sampler.take()
        return self.sampler.history[-1]


@pytest.fixture
async def bench(engine: FakeEngine, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    engine.statistics = {"webrtc.bytes_out": 1000, "hls.bytes": 0, "process.cpu_ms": 100}
    database = Database(data.database)
    async with EngineClient(data.engine_socket) as client:
        yield Bench(client, database, monkeypatch)
    await database.close()


def media(name: str, received: int, **viewers: int) -> dict[str, object]:
    return on_air(name, viewers=viewers, ledger={"ingest": {"in": {"bytes": received}}})


async def test_samples_of_the_engine(bench: Bench, engine: FakeEngine) -> None:
    engine.streams = {"main": media("main", 100, webrtc=2), "other": media("other", 0, webrtc=1, hls=4)}
    first = await bench.take()
    assert (first.at_s, first.viewers_webrtc, first.viewers_hls) == (1002, 3, 4)
    assert (first.egress_bps, first.ingress_bps) == (None, None), "unknown, not zero"
    engine.statistics = {"webrtc.bytes_out": 3000, "hls.bytes": 2000, "process.cpu_ms": 1100}
    engine.streams = {"main": media("main", 1100, webrtc=2), "other": media("other", 500, hls=4)}
    second = await bench.take()
    assert (second.egress_bps, second.ingress_bps) == (16_000, 6000)
    assert second.stream_ingress_bps == {"main": 4000, "other": 2000}
    assert second.engine_load == 0.5
    engine.streams = {}
    assert (await bench.take()).ingress_bps == 0


async def test_an_engine_that_is_away_leaves_a_gap_and_one_that_restarts_no_spike(
    bench: Bench, engine: FakeEngine
) -> None:
    engine.streams = {"main": media("main", 10_000, webrtc=1)}
    await bench.take()
    engine.refuse = True
    gap = await bench.take()
    assert (gap.viewers_webrtc, gap.egress_bps, gap.ingress_bps, gap.engine_load) == (None, None, None, None)
    assert gap.rss_bytes == 0
    assert bench.sampler.engine is None
    engine.refuse, engine.boot_id = False, "another"
    engine.statistics["webrtc.bytes_out"] = 500
    engine.streams = {"main": media("main", 1000, webrtc=1)}
    back = await bench.take()
    assert (back.egress_bps, back.ingress_bps) == (500 * 8 / 4, 1000 * 8 / 4), "since the restart, over the whole gap"


async def test_the_control_plane_itself(bench: Bench) -> None:
    """How late its event loop was since the sample before, and how long its database takes."""
    bench.sampler.loop_delay.delays_s.add(0.3)
    assert ((await bench.take()).loop_delay_s, (await bench.take()).loop_delay_s) == (0.3, 0.0)
    assert (await bench.take()).database_s is None, "it has no tables yet"
    await bench.database.migrate()
    assert 0 < ((await bench.take()).database_s or 0) < 10


async def test_cpu_and_memory_of_our_processes(bench: Bench) -> None:
    bench.processes = (
        OurProcess("control", 7, "running", 1.0, cpu_s=10, rss_bytes=100),
        OurProcess("posters", None, "not_answering"),
    )
    assert (await bench.take()).cpu_percent is None
    bench.processes = (
        OurProcess("control", 7, "running", 1.0, cpu_s=11, rss_bytes=150),
        # As many seconds as it likes: it is new, and what it used before is not of this interval.
        OurProcess("posters", 8, "running", 5.0, cpu_s=99, rss_bytes=50),
    )
    sample = await bench.take()
    assert (sample.cpu_percent, sample.rss_bytes) == (50, 200)


async def test_ten_minutes_are_kept_and_followers_wait_for_the_next(bench: Bench) -> None:
    follower = asyncio.create_task(bench.sampler.newer_than(None))
    for _ in range(301):
        await bench.take()
    assert len(bench.sampler.history) == 300
    assert bench.sampler.history[0].at_s == 1004
    assert (await follower).at_s == 1002
    newest = bench.sampler.history[-1]
    waiting = asyncio.create_task(bench.sampler.newer_than(newest))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await bench.take() is await waiting


async def test_sampling_goes_on_when_the_machine_could_not_be_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look(_directory: Path, _engine_pid: int | None) -> Host:
        nonlocal looks
        looks += 1
        if looks <= 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return Host(2, 8000, 4000, None, ())

    monkeypatch.setattr(sampling, "look_at_host", look)
    monkeypatch.setattr(sampling, "INTERVAL_S", 0.01)
    with capture_logs() as logged:
        running = asyncio.create_task(bench.sampler.run())
        async with asyncio.timeout(10):
            await bench.sampler.newer_than(None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert looks >= 4
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["sample_not_taken"]


def test_the_machine_and_this_process(tmp_path: Path) -> None:
    host = look_at_host(tmp_path, None)
    assert 0 < host.memory_available_bytes <= host.memory_total_bytes
    assert host.disk is not None
    assert 0 < host.disk.free_bytes <= host.disk.total_bytes
    (control,) = [process for process in host.processes if process.pid == os.getpid()]
    assert (control.name, control.state) == ("control", "running")
    assert control.rss_bytes > 1_000_000
    assert control.cpu_s > 0
    assert look_at_host(tmp_path / "gone", None).disk is None


async def test_a_shared_answer_is_asked_for_once_in_its_interval() -> None:
    now_s, asked = 0.0, 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked == 2:
            raise ValueError("this once")
        return asked

    shared = Shared(ask, 1.0, lambda: now_s)
    assert await asyncio.gather(*(shared.get() for _ in range(5))) == [1] * 5
    now_s = 0.9
    assert await shared.get() == 1
    assert shared.due_in_s() == pytest.approx(0.1)
    now_s = 1.0
    for _ in range(3):
        with pytest.raises(ValueError, match="this once"):
            await shared.get()
    assert asked == 2, "a failure is shared as well"
    now_s = 2.0
    assert await shared.get() == 3
