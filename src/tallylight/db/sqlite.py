"""Connections to SQLite: WAL, so readers never wait; synchronous FULL, so what was answered survives a power cut."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

# How long a writer waits for another (the command line, a backup) before it gives up.
BUSY_TIMEOUT_MS = 2000
# Requests wait this long for one of the pool's connections while all are in use.
POOL_TIMEOUT_S = 2.0
# A second server that starts waits this long for the one that migrates.
MIGRATION_TIMEOUT_MS = 30_000


def pooled_engine(path: Path) -> AsyncEngine:
    """For the work of every day."""
    engine = create_async_engine(_url(path), hide_parameters=True, pool_timeout=POOL_TIMEOUT_S)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def migrations_engine(path: Path) -> AsyncEngine:
    """Each transaction locks the file from its beginning, so of two that migrate the second sees what the first did."""
    engine = create_async_engine(_url(path), hide_parameters=True, poolclass=NullPool)

    def connected(connection: Any, _record: Any) -> None:
        # Python's driver begins no transaction before DDL; with this it leaves all of them to us.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {MIGRATION_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        # Tables are altered by making them anew, and dropping the old one must not empty those that refer to it.
        cursor.execute("PRAGMA foreign_keys = OFF")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def _url(path: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(path))


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
