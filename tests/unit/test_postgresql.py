"""PostgreSQL: migrations, what happens while it is away, and that nobody hears its password."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection

from support.postgresql import PASSWORD, PostgresServer, execute
from support.waiting import wait_until
from tallylight.api.app import internal_app, public_app
from tallylight.api.control import Control, open_control
from tallylight.config import Settings, effective_settings
from tallylight.db import Database, DatabaseError
from tallylight.db.database import HEAD_REVISION
from tallylight.db.models import Base
from tallylight.db.postgresql import STATEMENT_TIMEOUT_S, migrations_engine, place_of
from tallylight.paths import DataDirectory
from unit.conftest import quick_passwords
from unit.fake_engine import FakeEngine
from unit.serve import ServeProcess

# More than one supervisor would ever start at once.
STARTERS = 4
# One statement that gets no answer, and the end of its connection, on a busy machine.
FROZEN_ANSWER_S = STATEMENT_TIMEOUT_S + 8
PATIENCE_S = 20

Serve = Callable[..., ServeProcess]


@pytest.fixture
async def empty(postgres_server: PostgresServer) -> str:
    """The address of a database without tables."""
    return await postgres_server.new_database()


@pytest.fixture(scope="module")
def moody() -> Iterator[PostgresServer]:
    """A server that may be stopped and frozen."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def moody_control(moody: PostgresServer, data: DataDirectory, engine: FakeEngine) -> AsyncIterator[Control]:
    url = await moody.new_database()
    settings = Settings(data_dir=data.root, database_url=SecretStr(url))
    async with open_control(settings, data, quick_passwords()) as control:
        yield control


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_migrations_make_what_the_models_say(empty: str) -> None:
    database = Database(empty)
    await database.migrate()
    await database.migrate()
    await database.close()
    engine = migrations_engine(empty)

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_of_several_that_start_at_once_one_migrates(kind: str, empty: str, tmp_path: Path) -> None:
    if kind == "sqlite":
        # Which connection turns a new file to WAL is not what is asked here, and SQLite lets nobody wait for it.
        with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    databases = [Database(tmp_path / "db.sqlite3" if kind == "sqlite" else empty) for _ in range(STARTERS)]
    await asyncio.gather(*(database.migrate() for database in databases))
    await asyncio.gather(*(database.ping() for database in databases))
    for database in databases:
        await database.close()


async def test_a_newer_database_is_refused_and_left_alone(empty: str) -> None:
    database = Database(empty)
    await database.migrate()
    await execute(empty, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="9999") as refusal:
        await database.migrate()
    assert refusal.value.code == "database_newer"
    await execute(empty, f"UPDATE alembic_version SET version_num = '{HEAD_REVISION}'")
    await database.migrate()
    await database.close()


@pytest.mark.parametrize("wrong", ["password", "name"])
async def test_a_refusal_is_final_and_names_no_secret(wrong: str, postgres_server: PostgresServer) -> None:
    given = {"password": postgres_server.url(password="wrong-guess"), "name": postgres_server.url("no-such-database")}
    database = Database(given[wrong])
    with pytest.raises(DatabaseError) as refusal:
        await database.migrate()
    await database.close()
    assert refusal.value.code == "database_refused"
    assert f"127.0.0.1:{postgres_server.port}" in refusal.value.message
    assert not {"wrong-guess", PASSWORD} & set(refusal.value.sentence().split())


def test_a_place_is_named_without_user_and_password() -> None:
    assert place_of("postgresql://u:p@db.example.org:5433/tally?sslmode=require") == "db.example.org:5433/tally"
    assert place_of("postgres://u:p@/tally?host=/run/postgresql&password=x") == "/run/postgresql/tally"
    assert place_of("postgresql:///tally") == "localhost/tally"


def test_the_setting_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYLIGHT_DATABASE_URL", f"postgresql://u:{PASSWORD}@h/n")
    settings = Settings()
    (shown,) = [setting for setting in effective_settings(settings) if setting.name == "database_url"]
    assert (shown.secret, shown.value) == (True, None)
    assert PASSWORD not in repr(settings)


async def test_zero_bytes_are_no_fault_of_the_server(moody_control: Control) -> None:
    """PostgreSQL keeps no zero bytes, and refuses even to look for them."""
    async with client_of(public_app(moody_control)) as api:
        answer = await api.get("/api/broadcasts", params={"before": "a\0b"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_a_restart_is_noticed_by_nobody_later(moody: PostgresServer, moody_control: Control) -> None:
    async with client_of(public_app(moody_control)) as api:
        moody.stop()
        away = await api.get("/api/streams")
        assert (away.status_code, away.json()["code"]) == (503, "database_away")
        assert away.headers["Retry-After"] == "1"
        health = await api.get("/api/health")
        assert (health.status_code, health.json()["checks"]["database"][0]["status"]) == (503, "fail")
        assert f"127.0.0.1:{moody.port}" in health.json()["checks"]["database"][0]["output"]
        assert PASSWORD not in health.text
        moody.start()

        async def is_back() -> bool:
            return (await api.get("/api/health")).status_code == 200

        await wait_until(is_back, PATIENCE_S, "the database to be used again")
        assert (await api.get("/api/streams")).status_code == 200


async def test_a_frozen_database_holds_nobody_up(moody: PostgresServer, moody_control: Control) -> None:
    async with client_of(public_app(moody_control)) as api, client_of(internal_app(moody_control)) as internal:
        assert (await api.get("/api/streams")).status_code == 200
        moody.freeze()
        try:
            started_s = time.monotonic()
            health = await internal.get("/internal/health")
            assert health.json()["checks"]["database"][0]["status"] == "warn"
            answers = await asyncio.gather(*(api.get("/api/broadcasts") for _ in range(4)))
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "database_away")}
            assert time.monotonic() - started_s < FROZEN_ANSWER_S
        finally:
            moody.thaw()

        async def is_back() -> bool:
            return (await api.get("/api/broadcasts")).status_code == 200

        await wait_until(is_back, PATIENCE_S, "the database to be used again")


async def test_a_server_waits_for_its_database(moody: PostgresServer, serve: Serve) -> None:
    """It starts while the database is away, says so, and goes on by itself; a later start as well. No secret shows."""
    url = await moody.new_database()
    moody.stop()
    process = serve(TALLYLIGHT_DATABASE_URL=url)
    await asyncio.to_thread(process.wait_ready)
    address = f"http://127.0.0.1:{process.internal_port}"
    async with httpx.AsyncClient(base_url=address, trust_env=False) as internal:
        waiting = await internal.get("/internal/health")
        assert waiting.status_code == 503
        assert "cannot be reached" in waiting.json()["checks"]["database"][0]["output"]
        assert (await internal.get("/internal/videoExpose")).json()["code"] == "database_away"
        moody.start()
        await asyncio.to_thread(process.until, lambda: process.health() == 200, "the server to work")
    pid = process.child("tallylight.api", but_not="--standby")
    moody.stop()
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(process.until, lambda: process.health() == 503, "the next control plane to wait")
    moody.start()
    await asyncio.to_thread(process.until, lambda: process.health() == 200, "the server to work again")
    engine = process.child("fake_engine")
    environment = await asyncio.to_thread(Path(f"/proc/{engine}/environ").read_bytes)
    process.process.send_signal(signal.SIGTERM)
    exit_code, output, errors = await asyncio.to_thread(process.end)
    assert exit_code == 0
    assert "database_away" in errors
    assert PASSWORD not in output + errors
    assert PASSWORD.encode() not in environment


async def test_a_server_that_is_refused_says_so_and_ends(postgres_server: PostgresServer, serve: Serve) -> None:
    process = serve(TALLYLIGHT_DATABASE_URL=postgres_server.url("no-such-database"))
    exit_code, output, errors = await asyncio.to_thread(process.end)
    assert exit_code != 0
    assert "no-such-database" in errors
    assert "TALLYLIGHT_DATABASE_URL" in errors
    assert PASSWORD not in output + errors
