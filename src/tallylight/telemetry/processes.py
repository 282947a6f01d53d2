"""Every process of this server, as the system knows it. Reads /proc: call it in a thread."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tallylight.posters import MODULE as POSTERS
from tallylight.supervisor.part import STANDBY_OPTION

ProcessState = Literal["running", "standby", "not_answering"]

# What a child of the supervisor is, by the module that it runs.
_MODULES = {POSTERS: "posters", "tallylight.demo.publisher": "demo publisher"}
# Processes that every server has.
_ALWAYS = ("engine", "posters")


@dataclass(frozen=True)
class OurProcess:
    """One process. Unknown is None.

    Attributes:
        started_at_s: Unix time; with the process id it tells one process from all others.
        cpu_s: CPU time used, all threads together.
        rss_bytes: Memory that it holds now.
    """

    name: str
    pid: int | None
    state: ProcessState
    started_at_s: float | None = None
    cpu_s: float = 0.0
    rss_bytes: int = 0

    def uptime_s(self) -> float | None:
        return None if self.started_at_s is None else round(time.time() - self.started_at_s, 1)


def our_processes(engine_pid: int | None) -> list[OurProcess]:
    """Supervisor, control plane, engine, posters, and what else the supervisor keeps running."""
    own, parent = os.getpid(), os.getppid()
    found = [_look("supervisor", parent), _look("control", own)]
    if engine_pid is not None:
        found.append(_look("engine", engine_pid))
    found += [_look(name, pid, state) for pid, name, state in _children(parent) if pid not in (own, engine_pid)]
    known = {process.name for process in found}
    return found + [OurProcess(name, None, "not_answering") for name in _ALWAYS if name not in known]


def _children(parent: int) -> Iterator[tuple[int, str, ProcessState]]:
    """Other children of the supervisor that we can name (Linux; elsewhere not known)."""
    # Not psutil's way, which reads every process of the host.
    for child in _read(Path(f"/proc/{parent}/task/{parent}/children")).split():
        arguments = _read(Path(f"/proc/{child}/cmdline")).split("\0")
        if STANDBY_OPTION in arguments:
            yield int(child), "control", "standby"
        for module, name in _MODULES.items():
            if module in arguments:
                yield int(child), name, "running"


def _look(name: str, pid: int, state: ProcessState = "running") -> OurProcess:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu = process.cpu_times()
            started_at_s, rss_bytes = process.create_time(), process.memory_info().rss
    except psutil.Error:  # it ended a moment ago, or another user's process is nobody we may look at
        return OurProcess(name, pid, state)
    return OurProcess(name, pid, state, started_at_s, cpu.user + cpu.system, rss_bytes)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
