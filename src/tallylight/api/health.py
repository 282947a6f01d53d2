"""Whether the parts of the server work."""

import asyncio
from typing import Literal

import structlog
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from tallylight import __version__
from tallylight.api.models import Check, Health
from tallylight.db import Database, DatabaseAwayError
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import EngineHealth

log = structlog.get_logger()


class HealthResponse(JSONResponse):
    media_type = "application/health+json"


async def health_of(database: Database, engine: EngineClient) -> Health:
    """Every part, and the worst of them."""
    checks = {"database": [await database_check(database)], "engine": [engine_check(await _engine_health(engine))]}
    worst = worst_of([check for part in checks.values() for check in part])
    return Health(status=worst, version=__version__, checks=checks)


async def database_check(database: Database, patience_s: float | None = None) -> Check:
    """Whether the database can be read.

    Args:
        patience_s: Seconds after which a database that has not answered is called slow.
    """
    check = asyncio.create_task(_database_check(database))
    done, _ = await asyncio.wait({check}, timeout=patience_s)
    return check.result() if done else Check(status="warn", output="The database is slow to answer.")


async def _database_check(database: Database) -> Check:
    try:
        await database.ping()
    except DatabaseAwayError as error:
        return Check(status="fail", output=str(error))
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


async def _engine_health(engine: EngineClient) -> EngineHealth | EngineAwayError:
    try:
        return await engine.health()
    except EngineAwayError as error:
        return error
