"""Every process of this server, as far as it can be known without waiting for any of them."""

import asyncio
import os
from pathlib import Path

from tallylight.api.models import Process
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import EngineHealth
from tallylight.supervisor.part import STANDBY_OPTION

# A health check answers within 50 ms; the engine answers from memory, in about one.
ENGINE_TIMEOUT_S = 0.03


async def ask_engine(engine: EngineClient) -> EngineHealth | EngineAwayError | TimeoutError:
    """The engine's health, or why there is none. A timeout means only that it is slow now."""
    try:
        return await asyncio.wait_for(engine.health(), ENGINE_TIMEOUT_S)
    except (EngineAwayError, TimeoutError) as error:
        return error


async def all_of_ours(engine: EngineHealth | EngineAwayError | TimeoutError) -> list[Process]:
    """Supervisor, control plane, engine, and the control plane's spare when there is one."""
    # Files of /proc answer from memory, but they are files.
    return await asyncio.to_thread(_all_of_ours, engine)


def _all_of_ours(engine: EngineHealth | EngineAwayError | TimeoutError) -> list[Process]:
    own, parent = os.getpid(), os.getppid()
    found = [
        Process(name="supervisor", pid=parent, state="running", uptime_s=_uptime_s(parent)),
        Process(name="control", pid=own, state="running", uptime_s=_uptime_s(own)),
    ]
    if isinstance(engine, EngineHealth):
        found.append(Process(name="engine", pid=engine.pid, state="running", uptime_s=engine.uptime_s))
    else:
        found.append(Process(name="engine", pid=None, state="not_answering", uptime_s=None))
    spares = [
        Process(name="control", pid=pid, state="standby", uptime_s=_uptime_s(pid)) for pid in _spares(parent, own)
    ]
    return found + spares


def _spares(parent: int, own: int) -> list[int]:
    """Children of the supervisor that wait to take this process's place (Linux; elsewhere not known)."""
    children = _read(Path(f"/proc/{parent}/task/{parent}/children")).split()
    pids = [int(child) for child in children if int(child) != own]
    return [pid for pid in pids if STANDBY_OPTION in _read(Path(f"/proc/{pid}/cmdline")).split("\0")]


def _uptime_s(pid: int) -> float | None:
    """How long a process has been running (Linux; elsewhere not known)."""
    # proc(5): the 22nd field is the start in clock ticks after boot; the second one, in brackets, may hold spaces.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    since_boot = _read(Path("/proc/uptime")).split()
    if len(fields) < 20 or not since_boot:
        return None
    return round(float(since_boot[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
