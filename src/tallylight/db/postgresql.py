"""Connections to PostgreSQL: how they are opened, and what is said when they are not."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tallylight.db.errors import DatabaseAwayError

log = structlog.get_logger()

# A publisher waits for its admission as long, and an answer that takes longer is of no use to anybody.
CONNECT_TIMEOUT_S = 2.0
STATEMENT_TIMEOUT_S = 2.0
# Requests wait this long for one of the pool's connections while all are in use.
POOL_TIMEOUT_S = 2.0
# Kept open, and opened when many ask at once. PostgreSQL allows 100 by default, also for others.
POOL_SIZE = 5
POOL_OVERFLOW = 10

# What no waiting mends: a wrong user, password or database name, a right that is missing, an address that is none.
REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)


def place_of(url: str) -> str:
    """Where the database is, for people: host, port and name; never user or password."""
    parts = urlsplit(url)
    given = parse_qs(parts.query)
    host = parts.hostname or next(iter(given.get("host", [])), "localhost")
    port = f":{parts.port}" if parts.port else ""
    return f"{host}{port}{parts.path}"


class Connector:
    """Opens connections to one database. Says once that it went away, and once that it is back."""

    def __init__(self, url: str, statement_timeout_s: float | None = STATEMENT_TIMEOUT_S) -> None:
        """
        Args:
            url: `postgresql://user:password@host:port/name`, with the options that libpq knows.
            statement_timeout_s: None for statements that may take their time (migrations).
        """
        self._url = url
        self._statement_timeout_s = statement_timeout_s
        self._away = False

    async def __call__(self, *_arguments: Any, **_options: Any) -> Any:
        """A new connection; SQLAlchemy has nothing to add to the address. Raises DatabaseAwayError."""
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._statement_timeout_s,
                server_settings={"application_name": "tallylight"},
            )
        except REFUSALS as error:
            raise self.away(f"refuses: {_reason(error)}", refused=True) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self.away(f"cannot be reached: {_reason(error)}") from error
        if self._away:
            self._away = False
            log.warning("database_back", database=place_of(self._url))
        return connection

    def away(self, what: str, *, refused: bool = False) -> DatabaseAwayError:
        """Notes that the database is of no use now, and gives the error that says so."""
        error = DatabaseAwayError(f"The database {place_of(self._url)} {what}.", refused=refused)
        if not self._away:
            self._away = True
            log.error("database_away", message=str(error))
        return error


def pooled_engine(url: str) -> AsyncEngine:
    """For the work of every day: short statements on a few connections."""
    connector = Connector(url)
    engine = _engine(
        connector, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW, pool_timeout=POOL_TIMEOUT_S, pool_use_lifo=True
    )
    # A statement that timed out, or a connection that broke, arrives as a plain error of the system.
    event.listen(engine.sync_engine, "handle_error", _translator(connector), retval=True)
    return engine


def migrations_engine(url: str) -> AsyncEngine:
    """For migrations, which may take long."""
    return _engine(Connector(url, statement_timeout_s=None), poolclass=NullPool)


def _engine(connector: Connector, **options: Any) -> AsyncEngine:
    # Parameters are keys' and passwords' hashes: never in an error's message.
    return create_async_engine("postgresql+asyncpg://", async_creator=connector, hide_parameters=True, **options)


def _translator(connector: Connector) -> Callable[[Any], Exception | None]:
    def translate(context: Any) -> Exception | None:
        error = context.original_exception
        if isinstance(error, (OSError, TimeoutError)):
            context.is_disconnect = True
            return connector.away(f"did not answer: {_reason(error)}")
        return None

    return translate


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {STATEMENT_TIMEOUT_S:.0f} s"
    text = str(error).strip().rstrip(".")
    return text.splitlines()[0] if text else type(error).__name__
