"""Cores and conditions of the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Where the server runs and where everything else does."""

    server: int
    load: int

    @property
    def apart(self) -> bool:
        """False on a machine with one core, where nothing can be said about the server alone."""
        return self.server != self.load


def pick_cores() -> Cores:
    """The first and the last core this process may use: neighbours are often two threads of one core."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[0], load=allowed[-1])


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Processes started inside stay on this core, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Ports free for TCP now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]


def describe() -> str:
    """Processor, core count and kernel in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [
        line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
