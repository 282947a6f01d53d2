"""`/api/health` and `/api/config`."""

from http import HTTPStatus
from typing import Literal

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from tallylight import __version__
from tallylight.api.control import Control, ControlPlane
from tallylight.api.models import Check, Health, IceServerAddresses, PageConfig, RtmpAddress
from tallylight.engine.client import EngineAwayError
from tallylight.engine.models import EngineHealth

log = structlog.get_logger()
router = APIRouter(prefix="/api", tags=["server"])


class HealthResponse(JSONResponse):
    media_type = "application/health+json"


@router.get("/health", response_model=Health, response_class=HealthResponse)
async def get_health(control: ControlPlane) -> HealthResponse:
    """Whether every part works; 503 when one does not."""
    checks = {"database": [await database_check(control)], "engine": [engine_check(await _engine_health(control))]}
    worst = worst_of([check for part in checks.values() for check in part])
    health = Health(status=worst, version=__version__, checks=checks)
    status = HTTPStatus.SERVICE_UNAVAILABLE if worst == "fail" else HTTPStatus.OK
    return HealthResponse(health.model_dump(exclude_none=True), status_code=status)


@router.get("/config")
async def get_config(control: ControlPlane) -> PageConfig:
    """What pages need to know about this server."""
    settings = control.settings
    return PageConfig(
        version=__version__,
        ice_servers=[IceServerAddresses(urls=server.urls) for server in settings.ice_servers],
        rtmp=RtmpAddress(port=settings.rtmp_port),
    )


async def database_check(control: Control) -> Check:
    """Whether the database can be read."""
    try:
        await control.database.ping()
    except SQLAlchemyError as error:
        log.error("database_failed", exc_info=error)
        return Check(status="fail", output="The database cannot be read.")
    return Check(status="pass")


def engine_check(health: EngineHealth | EngineAwayError | TimeoutError) -> Check:
    """The engine's health as one line."""
    match health:
        case EngineHealth():
            return Check(status=health.status)
        case EngineAwayError():
            return Check(status="fail", output=health.message)
        case TimeoutError():
            return Check(status="warn", output="The media engine is slow to answer.")


def worst_of(checks: list[Check]) -> Literal["pass", "warn", "fail"]:
    """What the checks say together."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"


async def _engine_health(control: Control) -> EngineHealth | EngineAwayError:
    try:
        return await control.engine.health()
    except EngineAwayError as error:
        return error
