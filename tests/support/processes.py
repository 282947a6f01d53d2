"""What the kernel knows about processes, ports and sockets, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Ports that were given to servers which may not have opened them yet.
_given: set[int] = set()


@dataclass(frozen=True)
class Resources:
    """What a process holds at one moment."""

    file_descriptors: int
    rss_bytes: int


def free_port() -> int:
    """A port number free for both TCP and UDP on loopback right now, and never given before."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            if port in _given:
                continue
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of loopback (connections in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    return _state(pid) not in (None, "Z")


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL for each; one that lost its parent and ended by itself meanwhile is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes_with(variable: str, value: str) -> list[int]:
    """Every live process whose environment has `variable=value`: children and orphans alike."""
    wanted = f"{variable}={value}".encode()
    return [pid for pid in _pids() if wanted in _read(pid, "environ").split(b"\0") and is_alive(pid)]


def children_of(pid: int) -> list[int]:
    """Live descendants of a process, nearest first."""
    parents = {child: _parent(child) for child in _pids()}
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        found += frontier
    return [child for child in found if is_alive(child)]


def owners_of_unix_socket(path: Path) -> list[int]:
    """Processes that hold the listening Unix socket at `path` open.

    The kernel shows the name a socket was bound to; a server may have bound `x.new` and renamed it to `x.sock`.
    """
    inodes = {
        f"socket:[{fields[6]}]"
        for line in (_PROC / "net/unix").read_text().splitlines()[1:]
        if len(fields := line.split()) == 8
        and Path(fields[7]).with_suffix("") == path.with_suffix("")
        and fields[3] == "00010000"  # __SO_ACCEPTCON
    }
    return [pid for pid in _pids() if inodes & set(_links(pid))]


def command_line(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def resources_of(pid: int) -> Resources:
    fields = dict(line.split(":", 1) for line in _read(pid, "status").decode().splitlines() if ":" in line)
    return Resources(len(list((_PROC / str(pid) / "fd").iterdir())), int(fields["VmRSS"].split()[0]) * 1024)


class PeakMemory:
    """The most memory that a process holds from here on, also when it gives it back before anybody looks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        (_PROC / str(pid) / "clear_refs").write_text("5")  # forgets the peak so far: proc(5)
        self._before_bytes = self._bytes()

    def grown_bytes(self) -> int:
        return self._bytes() - self._before_bytes

    def _bytes(self) -> int:
        lines = _read(self._pid, "status").decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def cpu_seconds(pid: int) -> float:
    """User and system time the process has used."""
    fields = _read(pid, "stat").decode().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100  # USER_HZ is 100 on every Linux we run on


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _state(pid: int) -> str | None:
    stat = _read(pid, "stat").decode(errors="replace")
    return stat.rsplit(")", 1)[1].split()[0] if ")" in stat else None


def _parent(pid: int) -> int | None:
    stat = _read(pid, "stat").decode(errors="replace")
    return int(stat.rsplit(")", 1)[1].split()[1]) if ")" in stat else None


def _read(pid: int, name: str) -> bytes:
    """A file of the process; empty when the process is gone."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _links(pid: int) -> list[str]:
    links = []
    try:
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            try:
                links.append(str(descriptor.readlink()))
            except OSError:
                continue
    except OSError:
        return []
    return links
