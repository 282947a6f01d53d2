"""Opens the database and brings it to the newest revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tallylight.errors import TallylightError

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"
# The newest file in migrations/versions; a test compares the two. Alembic (slow to import) is loaded only to migrate.
HEAD_REVISION = "0004"
# How long a writer waits for another (the command line, a backup) before it gives up.
BUSY_TIMEOUT_MS = 2000


class DatabaseError(TallylightError):
    """The database cannot be used."""


class Database:
    """SQLite in WAL mode, so readers never wait; synchronous FULL, so what was answered survives a power cut."""

    def __init__(self, path: Path) -> None:
        self._engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)))
        event.listen(self._engine.sync_engine, "connect", _set_pragmas)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction: commits at the end, rolls back on an error."""
        async with self._sessions.begin() as session:
            yield session

    async def migrate(self) -> None:
        """Brings the tables to `HEAD_REVISION`.

        Raises:
            DatabaseError: `database_newer`, the file was written by a newer version; `database_unreadable`, it is no
                database or cannot be opened. Nothing was changed.
        """
        try:
            async with self._engine.connect() as connection:
                revision = await connection.run_sync(_revision)
        except SQLAlchemyError as error:
            cause = str(error.__cause__ or error).rstrip(".")
            raise DatabaseError(
                "database_unreadable",
                f"The database cannot be read: {cause}.",
                "Restore it from a copy, or move it away.",
            ) from error
        if revision == HEAD_REVISION:
            return
        known = {
            path.name.split("_", 1)[0]
            for path in await asyncio.to_thread(lambda: list((MIGRATIONS / "versions").glob("*.py")))
        }
        if revision is not None and revision not in known:
            raise DatabaseError(
                "database_newer",
                f"The database is of revision {revision}, which this version does not know.",
                "Start the newer version of Tallylight that wrote it.",
            )
        async with self._engine.begin() as connection:
            await connection.run_sync(_upgrade)
        log.info("database_migrated", was=revision, now=HEAD_REVISION)

    async def ping(self) -> None:
        """Raises when the database cannot be read."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1 FROM streams LIMIT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.close()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - needed only when there is something to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD_REVISION)
