"""Processors, as they report themselves: each keeps a lease by posting its ledger.

Kept in memory: a processor reports again within seconds of a restart of the control plane.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tallylight.config import STREAM_NAME_PATTERN
from tallylight.errors import TallylightError

# Five reports of 2 s: a processor that misses them all is gone or stuck.
LEASE_S = 10.0
# One that is gone stays visible for this long, so that people see why the picture went away.
REMEMBERED_S = 300.0
# A host runs out of cores long before; this bounds what a confused program can make us keep.
MAX_PROCESSORS = 64

PROCESSOR_ID_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"

StreamName = Annotated[str, Field(pattern=STREAM_NAME_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessorError(_Part):
    """Why a processor does not work now."""

    code: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,64}$")]
    sentence: Annotated[str, Field(max_length=500)]


class ProcessorSide(_Part):
    """What came in, or went out. `age_ms` is the time since the newest frame; None before the first."""

    frames: Count
    bytes: Count
    errors: Count
    age_ms: Milliseconds | None


class ProcessorQueue(_Part):
    """Decoded frames that wait for the function. `age_ms` is how long the oldest has waited."""

    length: Count
    age_ms: Milliseconds
    dropped: Count


class ProcessorLedger(BaseModel):
    """One report: counters since the processor's start."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.-]{1,64}$")]
    input: StreamName
    output: StreamName | None
    pid: Annotated[int, Field(ge=1, le=2**31)]
    state: Literal["starting", "running", "waiting", "failed"]
    error: ProcessorError | None
    started_at: datetime
    in_: Annotated[ProcessorSide, Field(alias="in")]
    out: ProcessorSide
    queue: ProcessorQueue
    fps_in: Rate
    fps_out: Rate


class ProcessorView(ProcessorLedger):
    """A processor as others may see it: its newest report, and whether reports still come."""

    id: str
    seen_at: datetime
    gone: bool
    # How far the counters moved between the last two reports; None when there is one only. For the diagnosis.
    frames_in_moved: Annotated[int | None, Field(exclude=True)]
    frames_out_moved: Annotated[int | None, Field(exclude=True)]
    dropped_moved: Annotated[int | None, Field(exclude=True)]


class TooManyProcessorsError(TallylightError):
    """The table is full of processors that still report."""

    def __init__(self) -> None:
        super().__init__(
            "too_many_processors",
            f"{MAX_PROCESSORS} processors report to this server already.",
            "Stop one of them, or let one process do more.",
        )


@dataclass(frozen=True)
class _Entry:
    ledger: ProcessorLedger
    previous: ProcessorLedger | None
    seen_at: datetime
    seen_s: float

    @classmethod
    def of(cls, ledger: ProcessorLedger, before: "_Entry | None", now_s: float) -> Self:
        # The same id with another start is another process: its counters begin anew.
        same = before is not None and before.ledger.started_at == ledger.started_at
        return cls(ledger, before.ledger if before is not None and same else None, datetime.now(UTC), now_s)


class ProcessorRegistry:
    """The newest reports, by the processors' own ids."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def report(self, identity: str, ledger: ProcessorLedger) -> ProcessorLedger | None:
        """Takes a report and renews the lease; returns the report before it, if its lease still held.

        Raises:
            TooManyProcessorsError
        """
        now_s = self._clock()
        before = self._entries.get(identity)
        if before is None:
            self._make_room(ledger, now_s)
        self._entries[identity] = _Entry.of(ledger, before, now_s)
        return before.ledger if before is not None and now_s - before.seen_s <= LEASE_S else None

    def end(self, identity: str) -> ProcessorLedger | None:
        """Forgets a processor that says goodbye; its last report, if it was known."""
        entry = self._entries.pop(identity, None)
        return None if entry is None else entry.ledger

    def newly_gone(self, since_s: float) -> list[ProcessorView]:
        """Those whose lease ended after this moment of the clock."""
        ends = ((view, self._entries[view.id].seen_s + LEASE_S) for view in self.all() if view.gone)
        return [view for view, ended_s in ends if ended_s > since_s]

    def all(self) -> list[ProcessorView]:
        """Every processor that reports, and those that stopped lately; by input and name."""
        now_s = self._clock()
        self._forget(now_s)
        views = [_view(identity, entry, now_s) for identity, entry in self._entries.items()]
        return sorted(views, key=lambda view: (view.input, view.name, view.id))

    def now_s(self) -> float:
        """The registry's clock."""
        return self._clock()

    def _make_room(self, ledger: ProcessorLedger, now_s: float) -> None:
        self._forget(now_s)
        for identity, entry in list(self._entries.items()):
            # Its successor: what was said of the one that is gone is no news any more.
            same_work = (entry.ledger.name, entry.ledger.input) == (ledger.name, ledger.input)
            if same_work and now_s - entry.seen_s > LEASE_S:
                del self._entries[identity]
        if len(self._entries) >= MAX_PROCESSORS:
            oldest = min(self._entries, key=lambda identity: self._entries[identity].seen_s)
            if now_s - self._entries[oldest].seen_s <= LEASE_S:
                raise TooManyProcessorsError
            del self._entries[oldest]

    def _forget(self, now_s: float) -> None:
        for identity, entry in list(self._entries.items()):
            if now_s - entry.seen_s > REMEMBERED_S:
                del self._entries[identity]


def _view(identity: str, entry: _Entry, now_s: float) -> ProcessorView:
    ledger, previous = entry.ledger, entry.previous
    return ProcessorView(
        **{name: getattr(ledger, name) for name in ProcessorLedger.model_fields},
        id=identity,
        seen_at=entry.seen_at,
        gone=now_s - entry.seen_s > LEASE_S,
        frames_in_moved=None if previous is None else ledger.in_.frames - previous.in_.frames,
        frames_out_moved=None if previous is None else ledger.out.frames - previous.out.frames,
        dropped_moved=None if previous is None else ledger.queue.dropped - previous.queue.dropped,
    )
