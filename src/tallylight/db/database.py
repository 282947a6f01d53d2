"""Opens the database and brings it to the newest revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from tallylight.db import sqlite
from tallylight.db.errors import DatabaseAwayError, DatabaseError

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"
# The newest file in migrations/versions; a test compares the two. Alembic (slow to import) is loaded only to migrate.
HEAD_REVISION = "0004"
# PostgreSQL's advisory locks are numbers that a database's users agree on; this is "tally" in ASCII.
MIGRATION_LOCK = 0x74616C6C79


class Database:
    """SQLite in a file, or PostgreSQL at an address."""

    def __init__(self, where: Path | str) -> None:
        """
        Args:
            where: A file, or `postgresql://…`.
        """
        self._where = where
        self._engine = _pooled_engine(where)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction: commits at the end, rolls back on an error.

        Raises:
            DatabaseAwayError: It does not answer now; like all its errors a SQLAlchemyError.
        """
        async with self._sessions.begin() as session:
            yield session

    async def migrate(self) -> None:
        """Brings the tables to `HEAD_REVISION`. Of several that try at once, one does it and the others wait.

        Raises:
            DatabaseAwayError: It does not answer; worth another try.
            DatabaseError: `database_newer`, it was written by a newer version; `database_refused`, PostgreSQL does not
                let us in; `database_unreadable`, it is no database or cannot be used. Nothing was changed.
        """
        try:
            async with self._engine.connect() as connection:
                revision = await connection.run_sync(_revision)
            if await asyncio.to_thread(_is_old, revision):
                await self._upgrade()
        except DatabaseAwayError as error:
            if not error.refused:
                raise
            fix = "Correct TALLYLIGHT_DATABASE_URL, or the rights of its user."
            raise DatabaseError("database_refused", str(error), fix) from error
        except SQLAlchemyError as error:
            raise self._unreadable(error) from error

    async def ping(self) -> None:
        """Raises when the database cannot be read."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1 FROM streams LIMIT 1"))

    async def close(self) -> None:
        await self._engine.dispose()

    async def _upgrade(self) -> None:
        engine = _migrations_engine(self._where)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
        finally:
            await engine.dispose()

    def _unreadable(self, error: SQLAlchemyError) -> DatabaseError:
        cause = str(error.__cause__ or error).rstrip(".")
        if isinstance(self._where, Path):
            fix = "Restore it from a copy, or move it away."
        else:
            fix = "Correct TALLYLIGHT_DATABASE_URL, or the rights of its user."
        return DatabaseError("database_unreadable", f"The database cannot be read: {cause}.", fix)


def _pooled_engine(where: Path | str) -> AsyncEngine:
    if isinstance(where, Path):
        return sqlite.pooled_engine(where)
    from tallylight.db import postgresql  # noqa: PLC0415 - its driver takes long to import, and most do not need it

    return postgresql.pooled_engine(where)


def _migrations_engine(where: Path | str) -> AsyncEngine:
    if isinstance(where, Path):
        return sqlite.migrations_engine(where)
    from tallylight.db import postgresql  # noqa: PLC0415

    return postgresql.migrations_engine(where)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _is_old(revision: str | None) -> bool:
    """Whether there is something to migrate. Raises DatabaseError for a revision of the future."""
    if revision == HEAD_REVISION:
        return False
    known = {path.name.split("_", 1)[0] for path in (MIGRATIONS / "versions").glob("*.py")}
    if revision is not None and revision not in known:
        raise DatabaseError(
            "database_newer",
            f"The database is of revision {revision}, which this version does not know.",
            "Start the newer version of Tallylight that wrote it.",
        )
    return True


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    revision = _revision(connection)
    # Another one may have been quicker.
    if not _is_old(revision):
        return
    from alembic import command  # noqa: PLC0415 - needed only when there is something to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD_REVISION)
    log.info("database_migrated", was=revision, now=HEAD_REVISION)
