"""`/api/dashboard`: what operators watch, for administrators."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from tallylight import __version__
from tallylight.api.auth import AdminOnly, identify
from tallylight.api.control import Control, ControlPlane
from tallylight.api.models import Process
from tallylight.api.problems import answers
from tallylight.api.sse import FIRST, EventStream, message_of_json
from tallylight.diagnosis.links import Cause, Lamp, Report
from tallylight.diagnosis.processors import ProcessorView
from tallylight.engine.models import StreamStatus, off_air
from tallylight.telemetry.sampler import INTERVAL_S, Host, Sample

router = APIRouter(prefix="/api/dashboard", tags=["server"], dependencies=[AdminOnly])


class Disk(BaseModel):
    """The file system of the data directory. Unknown is null."""

    free_bytes: int | None
    total_bytes: int | None


class Memory(BaseModel):
    """`rss_bytes` is what our processes hold; the rest is the machine's."""

    rss_bytes: int
    available_bytes: int
    total_bytes: int


class Server(BaseModel):
    """The machine and our processes."""

    version: str
    uptime_s: float | None
    cpu_count: int
    processes: list[Process]
    disk: Disk
    memory: Memory
    # The latest that the control plane was with anything, and how long the database took for the smallest question.
    loop_delay_ms: float
    database_ms: float | None

    @classmethod
    def of(cls, host: Host, newest: Sample) -> Self:
        processes = [Process.of(process) for process in host.processes]
        return cls(
            version=__version__,
            # The supervisor, our parent, is listed first and as old as the server.
            uptime_s=processes[0].uptime_s,
            cpu_count=host.cpu_count,
            processes=processes,
            disk=Disk(
                free_bytes=None if host.disk is None else host.disk.free_bytes,
                total_bytes=None if host.disk is None else host.disk.total_bytes,
            ),
            memory=Memory(
                rss_bytes=sum(process.rss_bytes for process in host.processes),
                available_bytes=host.memory_available_bytes,
                total_bytes=host.memory_total_bytes,
            ),
            loop_delay_ms=round(1000 * newest.loop_delay_s, 1),
            database_ms=None if newest.database_s is None else round(1000 * newest.database_s, 1),
        )


class Samples(BaseModel):
    """Equally long lists, oldest first. Unknown is null: the engine did not answer.

    `at` is in Unix seconds; `cpu_percent` is of our processes together, 100 is one processor that is always busy.
    """

    interval_s: float
    at: list[float]
    viewers_webrtc: list[int | None]
    viewers_hls: list[int | None]
    egress_bps: list[float | None]
    ingress_bps: list[float | None]
    cpu_percent: list[float | None]
    rss_bytes: list[int | None]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Self:
        taken = list(samples)
        return cls(
            interval_s=INTERVAL_S,
            at=[round(sample.at_s, 3) for sample in taken],
            viewers_webrtc=[sample.viewers_webrtc for sample in taken],
            viewers_hls=[sample.viewers_hls for sample in taken],
            egress_bps=[_whole(sample.egress_bps) for sample in taken],
            ingress_bps=[_whole(sample.ingress_bps) for sample in taken],
            cpu_percent=[sample.cpu_percent for sample in taken],
            rss_bytes=[sample.rss_bytes for sample in taken],
        )


class DashboardStream(BaseModel):
    """A stream, and which link of its chain is broken."""

    name: str
    title: str
    status: str
    stream_type: str | None
    started_at: str | None
    viewers: dict[str, int]
    ingress_bps: float | None
    links: list[Lamp]
    cause: Cause | None

    @classmethod
    def of(cls, title: str, status: StreamStatus, ingress_bps: float | None, report: Report) -> Self:
        return cls(
            name=status.name,
            title=title,
            status=status.status,
            stream_type=status.stream_type,
            started_at=status.started_at,
            viewers=status.viewers,
            ingress_bps=_whole(ingress_bps),
            links=list(report.links),
            cause=report.cause,
        )


class Dashboard(BaseModel):
    """Everything at a glance."""

    server: Server
    samples: Samples
    streams: list[DashboardStream]
    processors: list[ProcessorView]


class LiveDashboard:
    """What `/api/dashboard/live` needs between requests: seats, and one rendering of a sample for all who listen."""

    def __init__(self, control: Control) -> None:
        self.seats = control.dashboard_seats
        self._control = control
        self._rendering = asyncio.Lock()
        self._rendered: tuple[Sample, str] | None = None

    async def render(self, sample: Sample) -> str:
        """The dashboard as JSON, with this sample."""
        async with self._rendering:
            if self._rendered is None or self._rendered[0] is not sample:
                self._rendered = sample, (await dashboard(self._control, [sample])).model_dump_json()
            return self._rendered[1]


def _live_dashboard(request: Request) -> LiveDashboard:
    live: LiveDashboard = request.app.state.live_dashboard
    return live


@router.get("")
async def get_dashboard(control: ControlPlane) -> Dashboard:
    """Server, streams with the links of their chains, processors, and samples of the last ten minutes."""
    await control.sampler.newer_than(None)
    return await dashboard(control, control.sampler.history)


@router.get("/live", response_class=EventStream, responses=answers("too_many_listeners"))
async def follow_dashboard(
    request: Request, control: ControlPlane, live: Annotated[LiveDashboard, Depends(_live_dashboard)]
) -> EventStream:
    """Server-sent events `dashboard` with each sample, every 2 s: the same with only the newest sample in `samples`."""
    return EventStream(_messages(request, control, live), live.seats)


async def _messages(request: Request, control: Control, live: LiveDashboard) -> AsyncGenerator[str]:
    prefix, seen = FIRST, None
    # Who signed out, or is no administrator any more, sees nothing more; the page learns why when it comes back.
    while await _still_admin(request):
        seen = await control.sampler.newer_than(seen)
        yield prefix + message_of_json("dashboard", await live.render(seen))
        prefix = ""


async def _still_admin(request: Request) -> bool:
    try:
        return (await identify(request)).is_admin
    except SQLAlchemyError:
        return True  # it was one when it came; without a database operators need this most


async def dashboard(control: Control, samples: Iterable[Sample]) -> Dashboard:
    """The dashboard now, after at least one sample. Works without an engine and without a database, and says so."""
    sampler = control.sampler
    assert sampler.host is not None, "a sample was taken"  # noqa: S101
    titles = await _titles(control)
    live = {} if sampler.engine is None else sampler.engine.streams
    newest = sampler.history[-1]
    ingress_bps = newest.stream_ingress_bps
    reports = await control.diagnosis.reports(titles)
    return Dashboard(
        server=Server.of(sampler.host, newest),
        samples=Samples.of(samples),
        streams=[
            DashboardStream.of(titles.get(name, ""), live.get(name) or off_air(name), ingress_bps.get(name), report)
            for name, report in sorted(reports.items())
            # A stream that was deleted is of interest only while somebody still sends to it.
            if name in titles or name in ingress_bps
        ],
        processors=control.diagnosis.processors.all(),
    )


async def _titles(control: Control) -> dict[str, str]:
    try:
        return {stream.name: stream.title for stream in await control.streams.all()}
    except SQLAlchemyError:
        return {}  # the lamp of the control plane is red then


def _whole(rate: float | None) -> float | None:
    return None if rate is None else round(rate)
