"""The server as a whole: checks, starts, watches and ends its parts."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import structlog

from tallylight.config import PREFIX, Settings, unknown_variables
from tallylight.paths import DataDirectory, prepare, prepare_run_directory, remove_run_directory
from tallylight.posters import MODULE as POSTERS
from tallylight.supervisor.checks import LEFTOVER_GRACE_S, check_engine_version, check_ports, find_engine
from tallylight.supervisor.engine_config import write_engine_config
from tallylight.supervisor.lock import DataLock
from tallylight.supervisor.part import Part, PartSpec

log = structlog.get_logger()

# One question whether a part is ready; it answers from memory.
READY_REQUEST_TIMEOUT_S = 1.0
# Questions of a second each, a second apart. Without the engine nobody sees anything: 10 s. Without the control
# plane media goes on, and it may be slow for reasons of its own (a database on a network): 20 s.
ENGINE_PATIENCE = 5
CONTROL_PATIENCE = 10
# Not the engine's business: stream keys and passwords.
_SECRET_VARIABLES = frozenset(f"{PREFIX}{name}" for name in ("BOOTSTRAP_STREAMS", "ADMIN_PASSWORD", "DATABASE_URL"))


class Supervisor:
    """Runs one server on one data directory.

    `run` returns when a signal asked for the end and everything has ended; it raises StartError when the server cannot
    start, with nothing left running.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = DataDirectory(settings.data_dir)
        self._parts: list[Part] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, when_ready: Callable[["Supervisor"], Awaitable[None]]) -> None:
        """Runs the server.

        Args:
            when_ready: Called once when everything answers; may add parts with `add_part`.
        """
        self.data = prepare(self.settings.data_dir)
        with DataLock(self.data), self._run_directory():
            engine_binary = find_engine(self.settings)
            for name, meant in unknown_variables().items():
                log.warning("variable_unknown", variable=name, meant=meant)
            async with _ended_by_signal(self._kill) as stop, self._everything_ended():
                start = self._task(self._start(engine_binary, when_ready))
                await _first_of(start, stop)
                if not stop.done():
                    await _first_of(stop, *(task for task in self._tasks if task is not start))

    async def add_part(self, spec: PartSpec) -> None:
        """Starts one more process, and keeps it running with the others."""
        part = Part(spec)
        self._parts.append(part)
        await part.start()
        self._task(part.watch())

    def child_environment(self) -> dict[str, str]:
        """The environment of our children: ours, with the data directory where we found it."""
        return dict(os.environ) | {f"{PREFIX}DATA_DIR": str(self.settings.data_dir)}

    async def _start(self, engine_binary: Path, when_ready: Callable[["Supervisor"], Awaitable[None]]) -> None:
        await asyncio.to_thread(check_engine_version, engine_binary)
        config = write_engine_config(self.settings, self.data)
        environment = self.child_environment()
        engine = PartSpec(
            name="engine",
            command=[str(engine_binary), "--config", str(config)],
            environment={name: value for name, value in environment.items() if name not in _SECRET_VARIABLES},
            ready=_answers(self.data.engine_socket, "/v1/health"),
            patience=ENGINE_PATIENCE,
        )
        control = PartSpec(
            name="control plane",
            command=[sys.executable, "-m", "tallylight.api"],
            environment=environment,
            ready=_answers(self.data.control_socket, "/api/config"),
            spare=True,
            patience=CONTROL_PATIENCE,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for spec in (engine, control):
                    group.create_task(self.add_part(spec))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the first failure; it ended the other start
        log.info("server_started", pid=os.getpid())
        await self.add_part(self._posters(environment))
        await when_ready(self)

    def _posters(self, environment: dict[str, str]) -> PartSpec:
        async def at_once() -> bool:
            return True  # nothing waits for pictures

        # It decodes what strangers sent: settings, some of them secrets, are not its business.
        kept = {
            name: value
            for name, value in environment.items()
            if not name.startswith(PREFIX) or name == f"{PREFIX}DATA_DIR"
        }
        return PartSpec("poster process", [sys.executable, "-m", POSTERS], kept, at_once)

    @contextmanager
    def _run_directory(self) -> Iterator[None]:
        killed_before = self.data.run.exists() and self.data.control_socket.exists()
        check_ports(self.settings, LEFTOVER_GRACE_S if killed_before else 0.0)
        prepare_run_directory(self.data)
        try:
            yield
        finally:
            remove_run_directory(self.data)

    @asynccontextmanager
    async def _everything_ended(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(part.stop() for part in self._parts))
            log.info("server_stopped", pid=os.getpid())

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    def _kill(self) -> None:
        for part in self._parts:
            part.kill()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Waits for the first task to end; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


@asynccontextmanager
async def _ended_by_signal(kill: Callable[[], None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends with the first SIGTERM or SIGINT; the second one kills instead of waiting."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            kill()
        asked.set()

    async def wait() -> None:
        await asked.wait()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    task = asyncio.create_task(wait())
    try:
        yield task
    finally:
        task.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)


def _answers(socket: Path, path: str) -> Callable[[], Awaitable[bool]]:
    """A question whether an HTTP server on a Unix socket answers at all (an unhealthy answer is one, too)."""

    async def ask() -> bool:
        # No TLS on a Unix socket: without this each question would load the list of authorities, 60 ms of work.
        transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=READY_REQUEST_TIMEOUT_S, trust_env=False) as client:
            try:
                await client.get(f"http://part{path}")
            except httpx.HTTPError:
                return False
            return True

    return ask
