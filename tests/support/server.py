"""A whole Tallylight server on free ports with an empty data directory, as a user would start it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from support import processes
from support.waiting import Stopwatch, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
TALLYLIGHT = REPOSITORY / ".venv/bin/tallylight"

# Settings of the person who runs the tests must not leak in, but for which engine to test and how much it logs.
_PREFIX = "TALLYLIGHT_"
_INHERITED = ("TALLYLIGHT_ENGINE_BINARY", "TALLYLIGHT_LOG")

# A cold start compiles Python modules and migrates the database on a busy machine.
START_LIMIT_S = 40.0
# The promise of Ctrl-C (issue "the main job"): sockets closed and children gone within this.
STOP_LIMIT_S = 3.0


class Server:
    """`tallylight serve` (or `demo`) and what it answers. Use `async with Server.started() as server`."""

    def __init__(
        self, data_dir: Path, streams: dict[str, str], extra_environment: dict[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.streams = streams
        self.command = "serve"
        self.http_port, self.rtmp_port, self.internal_port = (processes.free_port() for _ in range(3))
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in _INHERITED or not name.startswith(_PREFIX)},
            "TALLYLIGHT_BIND": "127.0.0.1",
            "TALLYLIGHT_PUBLIC_IPS": "127.0.0.1",
            "TALLYLIGHT_HTTP_PORT": str(self.http_port),
            "TALLYLIGHT_WEBRTC_PORT": str(self.http_port),
            "TALLYLIGHT_RTMP_PORT": str(self.rtmp_port),
            "TALLYLIGHT_INTERNAL_PORT": str(self.internal_port),
            "TALLYLIGHT_DATA_DIR": str(data_dir),
            "TALLYLIGHT_BOOTSTRAP_STREAMS": ",".join(f"{name}:{key}" for name, key in streams.items()),
            # A repeated nonce would break the encryption; with this the engine ends with a panic instead.
            "TALLYLIGHT_AUDIT_NONCES": "1",
            **(extra_environment or {}),
        }
        self.log_path = data_dir.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.AsyncClient(base_url=self.url, timeout=10)
        self.engine = httpx.AsyncClient(
            base_url="http://engine", transport=httpx.AsyncHTTPTransport(uds=str(self.engine_socket)), timeout=10
        )

    @classmethod
    def with_streams(
        cls, *names: str, command: str = "serve", extra_environment: dict[str, str] | None = None
    ) -> Server:
        """A server, not yet started, with these streams and fresh keys; its path is short enough for Unix sockets."""
        directory = Path(tempfile.mkdtemp(prefix="tally-")) / "data"
        server = cls(directory, {name: secrets.token_urlsafe(24) for name in names or ("main",)}, extra_environment)
        server.command = command
        return server

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self.stop()
            if kind is None:
                self.assert_log_is_clean()
        finally:
            await self.http.aclose()
            await self.engine.aclose()
            if kind is None:
                shutil.rmtree(self.data_dir.parent, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def engine_socket(self) -> Path:
        return self.data_dir / "run/engine.sock"

    @property
    def control_socket(self) -> Path:
        return self.data_dir / "run/control.sock"

    def rtmp_url(self, stream: str = "main") -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/{self.streams[stream]}"

    @property
    def internal_token(self) -> str:
        return (self.data_dir / "internal-token").read_text().strip()

    def internal(self, path: str, credentials: str = "") -> str:
        """An address on the internal listener; `credentials` as `USER:PASSWORD@`."""
        return f"http://{credentials}127.0.0.1:{self.internal_port}/internal/{path}"

    def page(self, path: str) -> str:
        return f"{self.url}{path}"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def spawn(self) -> None:
        """Starts the process and returns at once."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(TALLYLIGHT), self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir.parent,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Starts the process and waits until it serves."""
        self.spawn()
        what = lambda: f"the server to be ready\n{self.log()[-4000:]}"  # noqa: E731
        try:
            await wait_until(self._is_ready, START_LIMIT_S, what, (httpx.TransportError,))
        except BaseException:
            self.kill()
            raise

    async def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.log()}")
        return (await self.http.get("/api/health")).status_code == httpx.codes.OK

    def kill(self) -> None:
        """Ends everything at once, for when nothing else helps."""
        processes.kill_all(self.pids())

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it as a service manager would, and asserts that it leaves nothing behind."""
        process = self.process
        if process is None:
            return
        self.process = None
        clock = Stopwatch()
        if process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_LIMIT_S)
        left = processes.processes_with("TALLYLIGHT_DATA_DIR", str(self.data_dir))
        seen = [processes.command_line(pid) for pid in left]
        self.kill()
        process.wait()
        assert not left, f"{clock.elapsed_s():.1f} s after the signal still running: {seen}\n{self.log()[-4000:]}"
        assert process.returncode == 0, f"serve ended with {process.returncode}\n{self.log()[-4000:]}"
        for port in (self.http_port, self.rtmp_port, self.internal_port):
            assert processes.is_port_free(port), f"port {port} is still taken"
        for path in (self.engine_socket, self.control_socket):
            assert not processes.owners_of_unix_socket(path)

    def assert_log_is_clean(self) -> None:
        """No part of the server crashed, whatever it recovered from."""
        log = self.log()
        for sign in ("panicked at", "Traceback (most recent call last)"):
            at = log.find(sign)
            assert at < 0, f"found {sign!r} in the server's log:\n{log[max(0, at - 2000) : at + 4000]}"

    def pids(self) -> list[int]:
        return processes.processes_with("TALLYLIGHT_DATA_DIR", str(self.data_dir))

    def engine_pid(self) -> int:
        return self._owner(self.engine_socket)

    def control_plane_pid(self) -> int:
        return self._owner(self.control_socket)

    def pid_of(self, module: str) -> int:
        """The process that runs this Python module."""
        found = [pid for pid in self.pids() if module in processes.command_line(pid).split()]
        assert len(found) == 1, f"{module} is run by {found}"
        return found[0]

    def _owner(self, path: Path) -> int:
        assert self.process is not None
        owners = [pid for pid in processes.owners_of_unix_socket(path) if pid != self.process.pid]
        assert len(owners) == 1, f"{path} is held by {owners}"
        return owners[0]

    async def stream(self, name: str = "main") -> dict[str, Any]:
        """The public state of one stream."""
        answer = await self.http.get(f"/api/streams/{name}")
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    async def engine_stream(self, name: str = "main") -> dict[str, Any]:
        """The engine's own state of one stream; empty while it has not seen it."""
        answer = await self.engine.get(f"/v1/streams/{name}")
        state: dict[str, Any] = answer.json() if answer.status_code == httpx.codes.OK else {}
        return state

    async def sessions(self, kind: str | None = None) -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = (await self.engine.get("/v1/sessions")).json()["sessions"]
        return [session for session in sessions if kind is None or session["kind"] == kind]

    async def statistics(self) -> dict[str, float]:
        numbers: dict[str, float] = (await self.engine.get("/v1/statistics")).json()
        return numbers

    async def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The engine's events so far: until a second without one, or the first heartbeat."""
        seen: list[dict[str, Any]] = []
        async with self.engine.stream("GET", "/v1/events", params={"after": after}) as answer:
            lines = answer.aiter_lines()
            try:
                while True:
                    event = json.loads(await asyncio.wait_for(anext(lines), 1.0))
                    if "heartbeat" in event:
                        return seen
                    seen.append(event)
            except (TimeoutError, StopAsyncIteration):
                return seen

    async def wait_on_air(self, name: str = "main", timeout_s: float = 30, tracks: int = 1) -> dict[str, Any]:
        """Waits until the stream is on air with so many tracks, and returns its state.

        A publisher by WebRTC is on air with what it has 500 ms after its first frame.
        """

        async def on_air() -> dict[str, Any] | None:
            state: dict[str, Any] = await self.stream(name)
            return state if state["status"] == "ON_AIR" and len(state.get("tracks") or ()) >= tracks else None

        what = f"stream {name} to be on air"
        state: dict[str, Any] | None = await wait_until(on_air, timeout_s, what, (httpx.HTTPError,))
        assert state is not None
        return state

    async def wait_off_air(self, name: str = "main", timeout_s: float = 30) -> None:
        """Waits until no publisher is connected: the next one meets an empty stream."""

        async def no_publisher() -> bool:
            state = await self.stream(name)
            return state["status"] == "OFF_AIR" and state.get("session") is None

        await wait_until(no_publisher, timeout_s, f"stream {name} to be off air", (httpx.HTTPError,))
