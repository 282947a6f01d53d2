"""One part of the server that should always run: started, found ready, started again when it ends, and ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from tallylight.errors import StartError
from tallylight.supervisor.child import Child
from tallylight.supervisor.restart import RestartPolicy

log = structlog.get_logger()

# Importing the control plane takes a second; a busy machine with cold disks needs several.
READY_TIMEOUT_S = 30.0
READY_POLL_S = 0.02
# A spare is not needed at once, and the machine has better things to do while the first publishers and viewers arrive.
SPARE_DELAY_S = 3.0
# Between two looks whether a running part still answers.
WATCH_INTERVAL_S = 1.0
STANDBY_OPTION = "--standby"
GO = b"go\n"


@dataclass(frozen=True)
class PartSpec:
    """What to run, and how to see that it works.

    Attributes:
        spare: Keep a second process that has loaded everything and, started with `--standby`, waits for `go` on its
            standard input. It takes over at once, where a new one would first load for seconds on a busy machine.
        patience: How many questions in a row it may leave without an answer, once it was ready, before it counts as
            hung and is ended and started again. None: it is not asked.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]
    spare: bool = False
    patience: int | None = None


class Part:
    """Keeps one process running. `start` once, then `watch` for as long as the server lives, then `stop`."""

    def __init__(self, spec: PartSpec) -> None:
        self.spec = spec
        self._policy = RestartPolicy()
        self._child: Child | None = None
        self._spare: Child | None = None

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
            spare = asyncio.create_task(self._prepare_spare())
            try:
                worked_s = await self._until_end()
            finally:
                spare.cancel()
            ended_at_s = time.monotonic()
            if await self._started_again(worked_s):
                log.info("part_restarted", child=self.spec.name, away_s=round(time.monotonic() - ended_at_s, 3))

    async def stop(self) -> None:
        """Ends the process and everything it started: politely first."""
        await asyncio.gather(*(child.stop() for child in self._children()))
        self._child = self._spare = None

    def kill(self) -> None:
        """Ends the process and everything it started, at once."""
        for child in self._children():
            child.kill()

    def _children(self) -> list[Child]:
        return [child for child in (self._child, self._spare) if child is not None]

    async def _until_end(self) -> float:
        """Waits for the end; returns the seconds that the process had been ready."""
        child = self._child
        assert child is not None, "start() comes before watch()"  # noqa: S101
        watchdog = asyncio.create_task(self._end_when_hung(child))
        try:
            await child.ended()
        finally:
            watchdog.cancel()
        message = None if child.last_words is None else child.last_words.sentence()
        log.error("part_ended", child=self.spec.name, pid=child.pid, end=child.end, message=message)
        return 0.0 if child.ready_at_s is None else time.monotonic() - child.ready_at_s

    async def _end_when_hung(self, child: Child) -> None:
        """Ends a process that runs and does not answer: a deadlock, or somebody stopped it."""
        patience = self.spec.patience
        if patience is None or child.ready_at_s is None:
            return
        unanswered = 0
        while unanswered < patience:
            await asyncio.sleep(WATCH_INTERVAL_S)
            unanswered = 0 if await self.spec.ready() else unanswered + 1
        log.error("part_hung", child=self.spec.name, pid=child.pid, unanswered=unanswered)
        child.kill()

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
            child.kill()  # it may be stuck; `watch` sees the end
            return False

    async def _spawn(self) -> Child:
        spare, self._spare = self._spare, None
        if spare is not None and spare.running:
            spare.say(GO)
            self._child = spare
        else:
            self._child = await Child.launch(self.spec.name, self.spec.command, self.spec.environment)
        log.info("part_started", child=self.spec.name, pid=self._child.pid, spare=self._child is spare)
        return self._child

    async def _prepare_spare(self) -> None:
        if self.spec.spare:
            await asyncio.sleep(SPARE_DELAY_S)
            command = [*self.spec.command, STANDBY_OPTION]
            self._spare = await Child.launch(self.spec.name, command, self.spec.environment)

    async def _becomes_ready(self, child: Child) -> bool:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline_s and child.running:
            if await self.spec.ready():
                child.ready_at_s = time.monotonic()
                return True
            await asyncio.sleep(READY_POLL_S)
        return False

    async def _why_not_ready(self, child: Child) -> StartError:
        if child.running:
            return StartError(
                "part_not_ready", f"The {self.spec.name} did not get ready within {READY_TIMEOUT_S:.0f} s."
            )
        await child.ended()
        return child.last_words or StartError("part_ended", f"The {self.spec.name} ended at once with {child.end}.")
