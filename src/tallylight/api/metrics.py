"""`/metrics` on the internal listener, for Prometheus."""

import asyncio
import time

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from tallylight.api.auth import InternalOnly
from tallylight.api.control import Control, ControlPlane
from tallylight.api.problems import answers
from tallylight.telemetry.metrics import DatabaseFacts, Facts, families, text

router = APIRouter(dependencies=[InternalOnly])


@router.get("/metrics", response_class=PlainTextResponse, responses=answers("token_missing", "token_wrong"))
async def get_metrics(control: ControlPlane) -> Response:
    """Everything that is counted and measured; what belongs to the engine is at most 2 s old."""
    collected = families(await _facts(control))
    # Thousands of lines on a large server: they are written beside the event loop.
    return Response(await asyncio.to_thread(text, collected), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _facts(control: Control) -> Facts:
    await control.sampler.newer_than(None)
    assert control.sampler.host is not None, "a sample was taken"  # noqa: S101
    engine = control.sampler.engine
    names: list[str | None] = [None, *([] if engine is None else engine.streams)]
    return Facts(
        now_s=time.time(),
        host=control.sampler.host,
        engine=engine,
        database=await _database_facts(control),
        expose={name: control.diagnosis.expose.facts(name) for name in names},
        posters=await control.posters.taken_at(),
        processors=control.diagnosis.processors.all(),
        publish_refused=control.admission.refused,
        webhooks=control.sender.statistics(),
        requests=control.requests,
        listeners={
            "streams": control.live_seats.taken,
            "dashboard": control.dashboard_seats.taken,
            "events": control.event_seats.taken,
        },
        loop_delays_s=control.sampler.loop_delay.delays_s,
    )


async def _database_facts(control: Control) -> DatabaseFacts | None:
    try:
        statuses = [broadcast.status.value for broadcast in await control.broadcasts.open()]
        return DatabaseFacts(control.sampler.history[-1].database_s, statuses, await control.broadcasts.started())
    except SQLAlchemyError:
        return None  # said by the health check; here the figures are missing
