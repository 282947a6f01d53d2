"""One child process that should always run: started, found ready, relayed, started again when it ends, and ended."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from tallylight import logs
from tallylight.errors import StartError
from tallylight.supervisor.restart import RestartPolicy

log = structlog.get_logger()

# Importing the control plane takes a second; a busy machine with cold disks needs several.
READY_TIMEOUT_S = 30.0
READY_POLL_S = 0.02
# SIGTERM to SIGKILL. With the kill itself this stays under the 3 s that a person waits after Ctrl-C.
STOP_TIMEOUT_S = 2.0
# A longer log line is cut; nothing we write is near it.
MAX_LINE_BYTES = 256 * 1024


@dataclass(frozen=True)
class PartSpec:
    """What to run, and how to see that it works."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    relay: asyncio.Task[None]
    ready_at_s: float | None = None


class Part:
    """Keeps one process running. `start` once, then `watch` for as long as the server lives, then `stop`."""

    def __init__(self, spec: PartSpec) -> None:
        self.spec = spec
        self._policy = RestartPolicy()
        self._child: _Child | None = None
        self._last_words: StartError | None = None

    async def start(self) -> None:
        """Starts the process and waits until it is ready.

        Raises:
            StartError: It ended, or did not get ready; in its own words where it had any.
        """
        child = await self._spawn()
        if not await self._becomes_ready(child):
            raise await self._why_not_ready(child)

    async def watch(self) -> None:
        """Starts the process again whenever it ends. Runs until cancelled."""
        while True:
            assert self._child is not None, "start() comes before watch()"  # noqa: S101
            worked_s = await self._ended(self._child)
            ended_at_s = time.monotonic()
            if await self._started_again(worked_s):
                log.info("part_restarted", child=self.spec.name, away_s=round(time.monotonic() - ended_at_s, 3))

    async def stop(self) -> None:
        """Ends the process and everything it started: politely first."""
        if self._child is None:
            return
        child = self._child
        process = child.process
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        self.kill()
        await process.wait()
        child.relay.cancel()
        await asyncio.gather(child.relay, return_exceptions=True)
        self._child = None

    def kill(self) -> None:
        """Ends the process and everything it started, at once."""
        if self._child is not None:
            _signal_group(self._child.process.pid, signal.SIGKILL)

    async def _ended(self, child: _Child) -> float:
        """Waits for the end; returns the seconds that the process had been ready."""
        code = await child.process.wait()
        worked_s = 0.0 if child.ready_at_s is None else time.monotonic() - child.ready_at_s
        self.kill()  # what it had started must not keep its ports
        await child.relay
        words = None if self._last_words is None else self._last_words.sentence()
        log.error("part_ended", child=self.spec.name, pid=child.process.pid, end=_end(code), message=words)
        return worked_s

    async def _started_again(self, worked_s: float) -> bool:
        """Starts the process after the delay that it has earned; True when it is ready."""
        while True:
            delay_s = self._policy.delay_after_end(worked_s)
            if self._policy.crash_looping:
                message = (
                    f"The {self.spec.name} does not stay up; the lines above say why. Next try in {delay_s:.1f} s."
                )
                log.error("part_crash_looping", child=self.spec.name, message=message)
            await asyncio.sleep(delay_s)
            try:
                child = await self._spawn()
            except StartError as error:
                log.error("part_not_started", child=self.spec.name, code=error.code, message=error.sentence())
                worked_s = 0.0
                continue
            if await self._becomes_ready(child):
                return True
            self.kill()  # it may be stuck; `watch` sees the end
            return False

    async def _spawn(self) -> _Child:
        self._last_words = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env=dict(self.spec.environment),
                stdin=asyncio.subprocess.PIPE,  # held open; it closes when we are gone, and then the child ends
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C reaches only us, and we end the children in order
            )
        except OSError as error:
            raise StartError(
                f"{self.spec.name}_missing", f"{self.spec.command[0]} cannot be run: {os.strerror(error.errno or 0)}."
            ) from error
        assert process.stderr is not None  # noqa: S101
        self._child = _Child(process, asyncio.create_task(self._relay(process.stderr)))
        log.info("part_started", child=self.spec.name, pid=process.pid)
        return self._child

    async def _becomes_ready(self, child: _Child) -> bool:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline_s and child.process.returncode is None:
            if await self.spec.ready():
                child.ready_at_s = time.monotonic()
                return True
            await asyncio.sleep(READY_POLL_S)
        return False

    async def _why_not_ready(self, child: _Child) -> StartError:
        code = child.process.returncode
        if code is None:
            return StartError(
                "part_not_ready", f"The {self.spec.name} did not get ready within {READY_TIMEOUT_S:.0f} s."
            )
        await child.relay
        return self._last_words or StartError("part_ended", f"The {self.spec.name} ended at once with {_end(code)}.")

    async def _relay(self, stderr: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stderr.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    self._take_line(error.partial)
                return
            except asyncio.LimitOverrunError as error:
                line = await stderr.readexactly(error.consumed)
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        words = last_words(text)
        if words is None:
            logs.write_line(_as_json(self.spec.name, text))
        else:
            self._last_words = words  # said once, by whoever handles the end


def last_words(line: str) -> StartError | None:
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


def _end(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    # Each child leads its own session, so this reaches what it started as well.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
