"""`/internal/*`: for programs on this host. Everything but health needs the token from `internal-token`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Annotated

import httpx
import structlog
from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tallylight import __version__
from tallylight.api import processes
from tallylight.api.auth import InternalOnly
from tallylight.api.control import Control, ControlPlane
from tallylight.api.health import HealthResponse, database_check, engine_check, worst_of
from tallylight.api.internal_access import ProcessorsOnly
from tallylight.api.models import InternalHealth, Producer, VideoExposeStatus
from tallylight.api.problems import answers
from tallylight.api.stream_report import StreamReportView, stream_report
from tallylight.engine.client import NothingOnAirError
from tallylight.engine.models import StreamStatus

log = structlog.get_logger()
router = APIRouter(prefix="/internal")

# A health check answers within 50 ms; a database that needs longer is called slow.
DATABASE_TIMEOUT_S = 0.03
# Any text: a name that cannot exist is simply not found.
Name = Annotated[str, Path(max_length=256)]
WantedName = Annotated[str | None, Query(max_length=256)]


@router.get(
    "/health",
    response_model=InternalHealth,
    response_class=HealthResponse,
    responses={503: {"model": InternalHealth, "description": "A part does not work"}},
)
async def get_health(control: ControlPlane) -> HealthResponse:
    """Whether every part works, and every process of this server; 503 when a part does not."""
    engine = await processes.ask_engine(control.engine)
    database = await database_check(control.database, DATABASE_TIMEOUT_S)
    checks = {"database": [database], "engine": [engine_check(engine)]}
    worst = worst_of([check for part in checks.values() for check in part])
    known = await processes.all_of_ours(engine)
    health = InternalHealth(status=worst, version=__version__, checks=checks, processes=known)
    status = HTTPStatus.SERVICE_UNAVAILABLE if worst == "fail" else HTTPStatus.OK
    return HealthResponse(health.model_dump(), status_code=status)


@router.get(
    "/stream-status/{name_or_id}",
    dependencies=[InternalOnly],
    responses=answers("token_missing", "token_wrong", "stream_unknown", "engine_away"),
)
async def get_stream_status(name_or_id: Name, control: ControlPlane) -> StreamReportView:
    """One stream, by its name or a broadcast's id: every link of its chain, who is connected, what is broken."""
    return await stream_report(control, name_or_id)


@router.get(
    "/videoExpose",
    dependencies=[ProcessorsOnly],
    response_model=None,
    responses={
        200: {"model": VideoExposeStatus, "content": {"video/mp4": {}}},
        **answers("token_missing", "token_wrong", "nothing_on_air", "engine_away"),
    },
)
async def video_expose(
    control: ControlPlane, stream: WantedName = None, accept: Annotated[str, Header()] = "*/*"
) -> StreamingResponse | VideoExposeStatus:
    """What is on air as endless MP4, from the newest keyframe on; as JSON, what there is and what is missing.

    Without `stream` it is the stream that came on air last. Ends with the publication.
    """
    control.diagnosis.expose.accept(stream)
    status = await _find(control, stream)
    if _wants_json(accept):
        return _status(status, stream)
    if status is None:
        raise NothingOnAirError(_reason(stream))
    tap = await control.engine.open_tap(status.name)
    if tap is None:
        raise NothingOnAirError(_reason(status.name))
    return _TapResponse(tap, control.diagnosis.expose.reader(status.name))


async def _find(control: Control, wanted: str | None) -> StreamStatus | None:
    """The wanted stream, or the newest, if it is on air."""
    if wanted is not None:
        status = await control.engine.stream(wanted)
        return status if status is not None and status.status == "ON_AIR" else None
    on_air = [status for status in (await control.engine.streams()).values() if status.status == "ON_AIR"]
    # All in one format and in UTC: the order of the text is the order in time.
    return max(on_air, key=lambda status: (status.started_at or "", status.epoch or 0), default=None)


def _reason(wanted: str | None) -> str:
    if wanted is None:
        return "Nothing is on air: looked for any stream whose media is arriving, found none."
    return f"Nothing is on air on the stream {wanted!r}: looked for media that is arriving on it, found none."


def _status(status: StreamStatus | None, wanted: str | None) -> VideoExposeStatus:
    if status is None:
        return VideoExposeStatus(stream=wanted, status="OFF_AIR", producers=[], reason=_reason(wanted))
    return VideoExposeStatus(stream=status.name, status="ON_AIR", producers=Producer.all_of(status), reason=None)


def _wants_json(accept: str) -> bool:
    return any(part.partition(";")[0].strip().lower() == "application/json" for part in accept.split(","))


class _TapResponse(StreamingResponse):
    """A tap passed on as it comes, counted. However this answer ends, the tap ends with it."""

    def __init__(self, tap: httpx.Response, counted: AbstractContextManager[Callable[[int], None]]) -> None:
        super().__init__(self._pieces(), media_type="video/mp4")
        self._tap = tap
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._counted as self._sent:
                await super().__call__(scope, receive, send)
        finally:
            await self._tap.aclose()

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._tap.aiter_raw():
                yield piece
                self._sent(len(piece))
        except httpx.HTTPError as error:
            # The engine went away: for the reader an end like any other, after which it asks again.
            log.warning("tap_broke_off", cause=type(error).__name__)
