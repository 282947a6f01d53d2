"""`tallylight serve` on free ports with an empty data directory, pinned to one core."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tallybench.machine import free_ports, pinned_to

STREAM = "main"
# A cold start compiles Python modules and migrates the database on a busy machine.
START_LIMIT_S = 30.0
# Two GOPs and the audio transcoder's start, with room for a busy machine.
ON_AIR_LIMIT_S = 20.0
# On air the HLS window fills for more than a minute; memory per viewer cannot be told from that growth.
SETTLE_LIMIT_S = 180.0
# Settled: within this for as long as several segments take. The window's own ups and downs are smaller.
SETTLED_SPREAD_BYTES = 500_000
SETTLED_SAMPLES, SETTLED_INTERVAL_S = 7, 2.0
# serve promises to be gone in 3 s.
STOP_LIMIT_S = 10.0


class BenchError(Exception):
    """The bench could not be run; the text says why."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    http_port: int
    rtmp_port: int
    stream_key: str
    engine_pid: int

    @property
    def whep_url(self) -> str:
        """Where viewers join."""
        return f"http://127.0.0.1:{self.http_port}/whep/{STREAM}"

    @property
    def rtmp_url(self) -> str:
        """Where the source publishes."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/{self.stream_key}"

    def wait_on_air(self) -> None:
        """Returns when WebRTC viewers can play the stream."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}") as client:
            wait_until(lambda: _is_playable(client), ON_AIR_LIMIT_S, "the stream to be on air")

    def resident_bytes(self) -> int:
        """Resident memory of the engine."""
        lines = Path(f"/proc/{self.engine_pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def settled_bytes(self) -> int:
        """Resident memory once the HLS window is full and it grows no more.

        Raises:
            BenchError: It went on growing.
        """
        samples: deque[int] = deque(maxlen=SETTLED_SAMPLES)
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while time.monotonic() < deadline:
            samples.append(self.resident_bytes())
            if len(samples) == SETTLED_SAMPLES and max(samples) - min(samples) < SETTLED_SPREAD_BYTES:
                return max(samples)
            time.sleep(SETTLED_INTERVAL_S)
        raise BenchError(f"The engine's memory still grows after {SETTLE_LIMIT_S:.0f} s on air: {list(samples)} bytes.")

    def cpu_s(self) -> float:
        """CPU time of the engine so far, all threads; the clock has 10 ms ticks."""
        fields = Path(f"/proc/{self.engine_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(tallylight: Path, directory: Path, core: int) -> Iterator[Server]:
    """Starts the server on `core`; `TALLYLIGHT_ENGINE_BINARY` of the environment is kept, other settings are not."""
    http_port, rtmp_port, internal_port = free_ports(3)
    key = secrets.token_urlsafe(24)
    data_dir = directory / "data"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLYLIGHT_")}
    if binary := os.environ.get("TALLYLIGHT_ENGINE_BINARY"):
        kept["TALLYLIGHT_ENGINE_BINARY"] = binary
    environment = kept | {
        "TALLYLIGHT_BIND": "127.0.0.1",
        "TALLYLIGHT_PUBLIC_IPS": "127.0.0.1",
        "TALLYLIGHT_HTTP_PORT": str(http_port),
        "TALLYLIGHT_WEBRTC_PORT": str(http_port),
        "TALLYLIGHT_RTMP_PORT": str(rtmp_port),
        "TALLYLIGHT_INTERNAL_PORT": str(internal_port),
        "TALLYLIGHT_DATA_DIR": str(data_dir),
        "TALLYLIGHT_BOOTSTRAP_STREAMS": f"{STREAM}:{key}",
    }
    log_path = directory / "serve.log"
    with log_path.open("wb") as log, pinned_to(core):
        process = subprocess.Popen(
            [tallylight, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory
        )
    try:
        yield Server(http_port, rtmp_port, key, _engine_pid(process, http_port, data_dir, log_path))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(is_true: Callable[[], bool], limit_s: float, what: str) -> None:
    """Asks every 50 ms; a refused connection counts as not yet.

    Raises:
        BenchError: not true within `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if is_true():
                return
        time.sleep(0.05)
    raise BenchError(f"Waited {limit_s:.0f} s for {what}.")


def _engine_pid(process: subprocess.Popen[bytes], http_port: int, data_dir: Path, log_path: Path) -> int:
    def is_healthy() -> bool:
        if process.poll() is not None:
            log = log_path.read_text(errors="replace")
            raise BenchError(f"serve ended with {process.returncode}:\n{log}")
        return httpx.get(f"http://127.0.0.1:{http_port}/api/health").is_success

    wait_until(is_healthy, START_LIMIT_S, "the server to start")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(data_dir / "run/engine.sock"))) as engine:
        health: dict[str, Any] = engine.get("http://engine/v1/health").raise_for_status().json()
    return int(health["pid"])


def _is_playable(client: httpx.Client) -> bool:
    response = client.get(f"/api/streams/{STREAM}")
    if not response.is_success:
        return False
    status = response.json()
    playback = status.get("playback") or {}
    return status["status"] == "ON_AIR" and bool((playback.get("webrtc") or {}).get("playable"))
