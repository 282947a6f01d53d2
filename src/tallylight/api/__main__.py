"""The control plane's process, `python -m tallylight.api`; the supervisor holds its standard input open."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tallylight import logs
from tallylight.api.app import internal_app, public_app
from tallylight.api.connections import ReadConnection
from tallylight.api.control import database_of, open_control
from tallylight.api.waiting import WaitingApp
from tallylight.config import Settings, load_settings
from tallylight.db import DatabaseAwayError
from tallylight.errors import TallylightError
from tallylight.paths import DataDirectory
from tallylight.supervisor.part import GO, STANDBY_OPTION

log = structlog.get_logger()

# Requests under way at the end get this long; the supervisor waits 2 s before it kills.
GRACE_S = 1
EXIT_CANNOT_START = 3
# Between two tries to reach a database that is away; whoever restarts one waits for us afterwards.
DATABASE_RETRY_S = 1.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this process ends all its servers together."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, data: DataDirectory) -> None:
    """Serves until SIGTERM, SIGINT, the end of standard input, or the failure of a part that runs in the background."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _stdin_watched(stop):
        if not await _database_found(settings, data, stop):
            return
        async with open_control(settings, data) as control:
            async with _doors(settings, data, public_app(control), internal_app(control)) as closed:
                log.info("control_started", pid=os.getpid())
                await _first_of(stop.wait(), closed.wait(), control.broken.wait())
            log.info("control_stopped", pid=os.getpid())


async def _database_found(settings: Settings, data: DataDirectory, stop: asyncio.Event) -> bool:
    """Brings the database up to date; while it is away, everybody who asks is told so. False when it is time to end."""
    database = database_of(settings, data)
    try:
        try:
            await database.migrate()
            return True
        except DatabaseAwayError as error:
            waiting = WaitingApp(str(error))
        async with _doors(settings, data, waiting, waiting):
            while not stop.is_set():
                await _first_of(stop.wait(), asyncio.sleep(DATABASE_RETRY_S))
                try:
                    await database.migrate()
                    return True
                except DatabaseAwayError as error:
                    waiting.sentence = str(error)
        return False
    finally:
        await database.close()


@asynccontextmanager
async def _doors(
    settings: Settings, data: DataDirectory, public: ASGIApp, internal: ASGIApp
) -> AsyncIterator[asyncio.Event]:
    """Serves both applications on their sockets; the event says that one of them stopped by itself."""
    servers = [
        (_server(public, ReadConnection), _unix_socket(data.control_socket)),
        (_server(internal, H11Protocol), _loopback_socket(settings.internal_port)),
    ]
    closed = asyncio.Event()
    tasks = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    for task in tasks:
        task.add_done_callback(lambda _: closed.set())
    try:
        yield closed
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
        data.control_socket.unlink(missing_ok=True)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def main() -> int:
    """Runs the process; returns its exit code."""
    logs.configure("control")
    if STANDBY_OPTION in sys.argv[1:] and not _told_to_go():
        return 0
    try:
        settings = load_settings()
        uvloop.run(serve(settings, DataDirectory(settings.data_dir)))
    except (TallylightError, OSError, DatabaseAwayError) as error:
        code = error.code if isinstance(error, TallylightError) else "system_error"
        message = error.sentence() if isinstance(error, TallylightError) else str(error)
        log.error("control_cannot_start", code=code, message=message)
        return EXIT_CANNOT_START
    return 0


def _told_to_go() -> bool:
    """Waits, with everything loaded, until the supervisor needs this process; False when the supervisor is gone."""
    log.info("control_standby", pid=os.getpid())
    return os.read(sys.stdin.fileno(), len(GO)) == GO


def _server(app: object, connection: type[H11Protocol]) -> _Server:
    return _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
            proxy_headers=False,
            ws="none",
        )
    )


def _unix_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The directory is private already; the socket is as well, from its first moment.
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    return listener


def _loopback_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


@asynccontextmanager
async def _stdin_watched(stop: asyncio.Event) -> AsyncIterator[None]:
    """Sets `stop` when the supervisor, which holds the other end of standard input, is gone."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )

    async def watch() -> None:
        while await reader.read(1024):
            pass
        stop.set()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        transport.close()


if __name__ == "__main__":
    exit_code = main()
    # Everything is closed. Taking an interpreter of this size apart would take longer than all that came before.
    os._exit(exit_code)
