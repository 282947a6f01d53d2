"""What the control plane's unit tests share: a control plane around a fake engine, and a server process around one."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from blockbuster import BlockBuster
from pydantic import SecretStr
from sqlalchemy import func, select

from support.postgresql import PostgresServer, execute
from support.processes import free_port, kill_all
from support.waiting import wait_until
from tallylight.accounts.passwords import Passwords
from tallylight.api.app import internal_app, public_app
from tallylight.api.control import Control, database_of, open_control
from tallylight.config import Settings
from tallylight.db import Database
from tallylight.db.models import Base
from tallylight.paths import DataDirectory, prepare, prepare_run_directory
from unit.fake_engine import FakeEngine
from unit.serve import ServeProcess

Made = TypeVar("Made")
FAKE_ENGINE = Path(__file__).parent / "fake_engine.py"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TALLYLIGHT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="tally-") as directory:
        yield Path(directory)


@pytest.fixture
def data(short_path: Path) -> DataDirectory:
    data = prepare(short_path / "data")
    prepare_run_directory(data)
    return data


@pytest.fixture
async def engine(data: DataDirectory) -> AsyncIterator[FakeEngine]:
    """A fake engine that answers on the data directory's engine socket."""
    engine = FakeEngine()
    async with served(engine, data.engine_socket):
        yield engine


@asynccontextmanager
async def served(engine: FakeEngine, socket: Path) -> AsyncIterator[None]:
    server = await asyncio.start_unix_server(engine.handle, socket)
    try:
        yield
    finally:
        server.close()
        engine.hang_up()
        socket.unlink()  # noqa: ASYNC240


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that sets `ON_BOTH_DATABASES` runs its tests on SQLite and on PostgreSQL."""
    if "database_kind" in metafunc.fixturenames and getattr(metafunc.module, "ON_BOTH_DATABASES", False):
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def on_another_loop(made: Coroutine[Any, Any, Made]) -> Made:
    """What a fixture of the whole session makes, which no test's event loop may."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, made).result()


@pytest.fixture(scope="session")
def migrated_database(postgres_server: PostgresServer) -> str:
    """The address of one that is used again and again, which is much quicker than to make another."""

    async def make() -> str:
        url = await postgres_server.new_database()
        database = Database(url)
        await database.migrate()
        await database.close()
        return url

    return on_another_loop(make())


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database to copy, which is much quicker than to make another."""

    async def make() -> Path:
        path = tmp_path_factory.mktemp("database") / "migrated.sqlite3"
        database = Database(path)
        await database.migrate()
        await database.close()
        return path

    return on_another_loop(make())


@pytest.fixture
async def database_url(
    database_kind: str, data: DataDirectory, request: pytest.FixtureRequest
) -> AsyncIterator[str | None]:
    """The setting of that name."""
    if database_kind == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), data.database)
        yield None
        return
    url: str = request.getfixturevalue("migrated_database")
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    await execute(url, f"TRUNCATE {tables} RESTART IDENTITY")
    yield url


@pytest.fixture
def settings(data: DataDirectory, database_url: str | None) -> Settings:
    return Settings(data_dir=data.root, database_url=None if database_url is None else SecretStr(database_url))


@pytest.fixture
async def database(settings: Settings, data: DataDirectory) -> AsyncIterator[Database]:
    """A database that is ready for use."""
    database = database_of(settings, data)
    await database.migrate()
    yield database
    await database.close()


async def count_rows(database: Database, table: str) -> int:
    async with database.session() as session:
        return int((await session.execute(select(func.count()).select_from(Base.metadata.tables[table]))).scalar_one())


async def everything_in(database: Database, data: DataDirectory) -> bytes:
    """All that the database keeps, to look for secrets in: SQLite's files as they are, or every row as bytes."""
    kept = [path.read_bytes() for path in data.root.glob("tallylight.sqlite3*")]
    async with database.session() as session:
        for table in Base.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                kept += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(kept)


@pytest.fixture
async def control(settings: Settings, data: DataDirectory, engine: FakeEngine) -> AsyncIterator[Control]:
    async with open_control(settings, data, quick_passwords()) as control:
        yield control


def quick_passwords() -> Passwords:
    """Hashes of no worth, made in a moment."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def no_blocking_calls(control: Control) -> Iterator[None]:
    """Once it serves, the control plane may not block its event loop: that fails the test."""
    blocker = BlockBuster(
        [
            f"tallylight.{package}"
            for package in ("accounts", "api", "streams", "broadcasts", "engine", "db", "webhooks")
        ]
    )
    for function in blocker.functions.values():
        # Before it connects, PostgreSQL's driver looks for certificates and passwords in the home directory.
        function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
    blocker.activate()
    yield
    blocker.deactivate()


@pytest.fixture
async def api(control: Control, no_blocking_calls: None) -> AsyncIterator[httpx.AsyncClient]:
    """The public API, as anybody sees it."""
    transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def admin(control: Control, no_blocking_calls: None) -> AsyncIterator[httpx.AsyncClient]:
    """The public API with the admin token."""
    transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {control.admin_token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


@pytest.fixture
async def admin_live(control: Control, short_path: Path, no_blocking_calls: None) -> AsyncIterator[httpx.AsyncClient]:
    """The public API with the admin token on a real socket: answers arrive while they are being made."""
    socket = str(short_path / "live.sock")
    config = uvicorn.Config(
        public_app(control), uds=socket, lifespan="off", log_config=None, timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    with patch.object(server, "capture_signals", nullcontext):
        serving = asyncio.create_task(server.serve())
        await wait_until(lambda: server.started, 10, "the API to listen")
    headers = {"Authorization": f"Bearer {control.admin_token}"}
    transport = httpx.AsyncHTTPTransport(uds=socket)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client
    server.should_exit = True
    await serving


@pytest.fixture
async def internal(control: Control, no_blocking_calls: None) -> AsyncIterator[httpx.AsyncClient]:
    """The internal listener with its token."""
    transport = httpx.ASGITransport(app=internal_app(control), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {control.internal_token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://internal", headers=headers) as client:
        yield client


@pytest.fixture
def engine_binary(short_path: Path) -> Path:
    """A program that takes the engine's place."""
    script = short_path / "fake-engine"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_ENGINE}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture
def environment(short_path: Path, engine_binary: Path) -> dict[str, str]:
    """The environment of a server that can start: free ports, an empty data directory, a fake engine."""
    ports = {name: str(free_port()) for name in ("HTTP", "RTMP", "INTERNAL")}
    ports["WEBRTC"] = ports["HTTP"]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TALLYLIGHT_")},
        **{f"TALLYLIGHT_{name}_PORT": port for name, port in ports.items()},
        "TALLYLIGHT_BIND": "127.0.0.1",
        "TALLYLIGHT_DATA_DIR": str(short_path / "data"),
        "TALLYLIGHT_ENGINE_BINARY": str(engine_binary),
    }


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Callable[..., ServeProcess]]:
    """Starts `tallylight serve`, with changes to the environment; what still runs at the end is killed."""
    started: list[ServeProcess] = []

    def start(*arguments: str, **changes: str) -> ServeProcess:
        process = ServeProcess(environment | changes, *arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        kill_all(process.left_running())
        process.process.wait()
        process.until_gone()
        process.close()
