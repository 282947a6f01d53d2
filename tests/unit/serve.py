"""One `tallylight serve` of a unit test: its output, its children, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import httpx

from support.processes import command_line, processes_with

# Generous: a busy machine imports slowly. No test waits this long unless it fails.
PATIENCE_S = 30.0
POLL_S = 0.02


class ServeProcess:
    """The process, from its start to its end."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.data_dir = Path(environment["TALLYLIGHT_DATA_DIR"])
        self.http_port = environment["TALLYLIGHT_HTTP_PORT"]
        self.internal_port = environment["TALLYLIGHT_INTERNAL_PORT"]
        # Files, not pipes: what was said can be read at any time, and nobody waits for a reader.
        self._output, self._errors = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - see close()
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "tallylight"), *(arguments or ("serve",))],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            start_new_session=True,
        )

    def wait_ready(self) -> ServeProcess:
        """Waits for the banner: the engine and the control plane answer."""
        self.until(lambda: "Tallylight is up" in _all_of(self._output), "the server to be ready")
        return self

    def health(self) -> int:
        """Status of the internal health check; 0 when nobody answers."""
        try:
            # Without the authorities that are not needed: reading them takes longer than the question.
            url = f"http://127.0.0.1:{self.internal_port}/internal/health"
            return httpx.get(url, trust_env=False, verify=False).status_code
        except httpx.HTTPError:
            return 0

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {_all_of(self._errors)}"
            assert time.monotonic() < deadline_s, f"waited for {what}"
            time.sleep(POLL_S)

    def end(self) -> tuple[int, str, str]:
        """Waits for the end; exit code, standard output, standard error."""
        exit_code = self.process.wait(PATIENCE_S)
        return exit_code, _all_of(self._output), _all_of(self._errors)

    def child(self, word: str, but_not: str = "\0") -> int:
        """Process id of the child whose command line holds a word, and not another."""
        lines = {pid: command_line(pid) for pid in self.left_running() if pid != self.process.pid}
        found = [pid for pid, line in lines.items() if word in line and but_not not in line]
        assert len(found) == 1, f"{word}: {lines}"
        return found[0]

    def errors(self) -> str:
        """Standard error so far."""
        return _all_of(self._errors)

    def command_lines(self) -> list[str]:
        return [command_line(pid) for pid in self.left_running()]

    def until_gone(self) -> None:
        """Waits until no process of this server is left."""
        deadline_s = time.monotonic() + PATIENCE_S
        while left := self.left_running():
            assert time.monotonic() < deadline_s, f"still running: {left}"
            time.sleep(POLL_S)

    def left_running(self) -> list[int]:
        """Every process of this server that still runs."""
        return processes_with("TALLYLIGHT_DATA_DIR", str(self.data_dir))

    def close(self) -> None:
        self._output.close()
        self._errors.close()


def _all_of(file: IO[bytes]) -> str:
    # A position of its own: the process writes at the shared one.
    return os.pread(file.fileno(), 1 << 24, 0).decode()
