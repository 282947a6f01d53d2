"""One child process: its start, its words, its end."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence

from tallylight import logs
from tallylight.errors import StartError

# SIGTERM to SIGKILL. With the kill itself this stays under the 3 s that a person waits after Ctrl-C.
STOP_TIMEOUT_S = 2.0
# A longer log line is cut; nothing we write is near it.
MAX_LINE_BYTES = 256 * 1024


class Child:
    """A process in a session of its own; its standard input closes when we are gone, and its log lines go into ours.

    Attributes:
        last_words: Why it could not start, in its own words, if it said so.
        ready_at_s: When it was found ready (monotonic), or None.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None, "launch() opens it"  # noqa: S101
        self.last_words: StartError | None = None
        self.ready_at_s: float | None = None
        self._name = name
        self._process = process
        self._relay = asyncio.create_task(self._relay_lines(process.stderr))

    @classmethod
    async def launch(cls, name: str, command: Sequence[str], environment: Mapping[str, str]) -> "Child":
        """Starts a process.

        Raises:
            StartError: There is no such program, or it cannot be run.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C reaches only us, and we end the children in order
            )
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise StartError(f"{name.replace(' ', '_')}_missing", f"{command[0]} cannot be run: {reason}.") from error
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def end(self) -> str:
        """How it ended, for people."""
        code = self._process.returncode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def say(self, words: bytes) -> None:
        """Writes to its standard input; one that is gone does not listen, and its end is noticed elsewhere."""
        if self._process.stdin is not None:
            self._process.stdin.write(words)

    async def ended(self) -> None:
        """Waits for the end, then ends what it had started (which must not keep its ports), and reads its last line."""
        await self._process.wait()
        self.kill()
        await self._relay

    async def stop(self) -> None:
        """Ends it and everything it started: politely first."""
        if self.running:
            _signal_group(self.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._process.wait()
        self.kill()
        await self.ended()

    def kill(self) -> None:
        """Ends it and everything it started, at once."""
        _signal_group(self.pid, signal.SIGKILL)

    async def _relay_lines(self, stderr: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stderr.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                self._take_line(error.partial)
                return
            except asyncio.LimitOverrunError as error:
                line = await stderr.readexactly(error.consumed)
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        words = read_last_words(text)
        if words is None:
            logs.write_line(_as_json(self._name, text))
        else:
            self.last_words = words  # said once, by whoever handles the end


def read_last_words(line: str) -> StartError | None:
    """What a child that cannot start says: the engine's `fatal` line, or the control plane's `control_cannot_start`."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    fatal = fields.get("fatal")
    if isinstance(fatal, dict):
        return StartError(str(fatal.get("code", "engine_failed")), _sentence(fatal.get("message")), fatal.get("fix"))
    if fields.get("event") == "control_cannot_start":
        return StartError(str(fields.get("code", "control_failed")), _sentence(fields.get("message")))
    return None


def _sentence(value: object) -> str:
    text = str(value or "It gave no reason").strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _as_json(name: str, line: str) -> str:
    if line.startswith("{"):
        return line
    return json.dumps({"part": name, "level": "info", "event": "output", "line": line})


def _signal_group(pid: int, number: signal.Signals) -> None:
    # Each child leads its own session, so this reaches what it started as well.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
