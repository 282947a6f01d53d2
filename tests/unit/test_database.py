"""Migrations and what they leave."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from tallylight.db import Database, DatabaseError, database
from tallylight.db import sqlite as sqlite_module
from tallylight.db.database import HEAD_REVISION, MIGRATIONS
from tallylight.db.models import Base

PATIENCE_S = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test 100%.sqlite3"


async def migrated(path: Path) -> None:
    opened = Database(path)
    await opened.migrate()
    await opened.ping()
    await opened.close()


async def test_the_head_is_the_newest_file() -> None:
    newest = sorted(path.name for path in (MIGRATIONS / "versions").glob("0*.py"))[-1]
    assert newest.startswith(f"{HEAD_REVISION}_")


async def test_migrating_twice_changes_nothing(path: Path) -> None:
    await migrated(path)
    await migrated(path)
    assert sqlite3.connect(path).execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD_REVISION,)]


async def test_migrations_make_what_the_models_say(path: Path) -> None:
    await migrated(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert differences == []


async def test_a_database_of_the_first_revision_keeps_its_streams(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(database, "HEAD_REVISION", "0001")
        await migrated(path)
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO streams VALUES (1, 'main', '', x'00', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
    )
    connection.commit()
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'broadcasts'").fetchall() == []
    await migrated(path)
    assert connection.execute("SELECT name FROM streams").fetchall() == [("main",)]
    assert connection.execute("SELECT count(*) FROM broadcasts").fetchall() == [(0,)]


async def test_streams_from_before_accounts_are_public_and_each_gets_a_playback_key(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(database, "HEAD_REVISION", "0002")
        await migrated(path)
    connection = sqlite3.connect(path)
    for number in (1, 2):
        connection.execute(
            f"INSERT INTO streams VALUES ({number}, 's{number}', '', x'0{number}', '2026-01-01', '2026-01-01')"
        )
    connection.commit()
    await migrated(path)
    found = connection.execute("SELECT name, owner_id, visibility, description FROM streams").fetchall()
    assert found == [("s1", None, "public", ""), ("s2", None, "public", "")]
    keys = [key for (key,) in connection.execute("SELECT playback_key FROM streams")]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {32}


async def test_writes_survive_a_power_cut(path: Path) -> None:
    await migrated(path)
    opened = Database(path)
    async with opened.session() as session:
        connection = await session.connection()
        modes = [
            (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
    await opened.close()
    assert modes == ["wal", 2]


async def test_nobody_waits_long_for_a_connection(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "POOL_TIMEOUT_S", 0.05)
    opened = Database(path)
    async with contextlib.AsyncExitStack() as stack:

        async def use_all() -> None:
            while True:
                session = await stack.enter_async_context(opened.session())
                await session.connection()

        with pytest.raises(SQLAlchemyError):
            await asyncio.wait_for(use_all(), PATIENCE_S)
    await opened.close()


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    await migrated(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    with pytest.raises(DatabaseError, match="9999") as refusal:
        await migrated(path)
    assert refusal.value.code == "database_newer"
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
