"""`/api/health` and `/api/config`."""

from http import HTTPStatus

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from tallylight import __version__
from tallylight.api.control import Control, ControlPlane
from tallylight.api.models import Check, Health, PageConfig, RtmpAddress
from tallylight.engine.client import EngineAwayError

log = structlog.get_logger()
router = APIRouter(prefix="/api", tags=["server"])


class HealthResponse(JSONResponse):
    media_type = "application/health+json"


@router.get("/health", response_model=Health, response_class=HealthResponse)
async def get_health(control: ControlPlane) -> HealthResponse:
    """Whether every part works; 503 when one does not."""
    checks = {"database": [await _database_check(control)], "engine": [await _engine_check(control)]}
    worst = _worst([check for part in checks.values() for check in part])
    health = Health(status=worst, version=__version__, checks=checks)
    status = HTTPStatus.SERVICE_UNAVAILABLE if worst == "fail" else HTTPStatus.OK
    return HealthResponse(health.model_dump(exclude_none=True), status_code=status)


@router.get("/config")
async def get_config(control: ControlPlane) -> PageConfig:
    """What pages need to know about this server."""
    settings = control.settings
    return PageConfig(
        version=__version__, ice_servers=list(settings.ice_servers), rtmp=RtmpAddress(port=settings.rtmp_port)
    )


async def _database_check(control: Control) -> Check:
    try:
        await control.database.ping()
    except SQLAlchemyError as error:
        log.error("database_failed", exc_info=error)
        return Check(status="fail", output="The database cannot be read.")
    return Check(status="pass")


async def _engine_check(control: Control) -> Check:
    try:
        health = await control.engine.health()
    except EngineAwayError as error:
        return Check(status="fail", output=error.message)
    return Check(status=health.status)


def _worst(checks: list[Check]) -> str:
    statuses = {check.status for check in checks}
    return next(status for status in ("fail", "warn", "pass") if status in statuses)
