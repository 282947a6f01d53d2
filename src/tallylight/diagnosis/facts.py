"""What is observed of one stream at one moment. Verdicts on it are in `links` and `chain`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tallylight.diagnosis.processors import ProcessorView
from tallylight.engine.models import StreamStatus

Side = tuple[str, Literal["in", "out"]]


@dataclass(frozen=True)
class Counters:
    """One side of one link since the engine's start. Monotonic."""

    bytes: int = 0
    access_units: int = 0
    keyframes: int = 0
    errors: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class LedgerWindow:
    """How far the counters moved during the last `seconds`."""

    seconds: float
    moved: Mapping[Side, Counters]
    exposed_bytes: int
    # Since the newest keyframe was seen to arrive; a lower bound. None before the first one.
    keyframe_age_s: float | None = None

    def at(self, link: str, side: Literal["in", "out"]) -> Counters:
        return self.moved.get((link, side), Counters())


@dataclass(frozen=True)
class ExposeFacts:
    """What the internal route handed out of a stream, and whom it refused."""

    readers: int = 0
    bytes: int = 0
    refused: int = 0
    refused_code: str | None = None
    # Since the last refusal, when nobody was let in after it.
    refused_age_s: float | None = None


@dataclass(frozen=True)
class HostFacts:
    """The machine."""

    disk_free_bytes: int
    memory_available_bytes: int


@dataclass(frozen=True)
class StreamFacts:
    """Everything known about one stream. None is "not known", never "fine".

    `status` is None when the engine does not answer, `window` before there are two samples.
    """

    name: str
    status: StreamStatus | None
    window: LedgerWindow | None
    expose: ExposeFacts
    processors: tuple[ProcessorView, ...]
    database_answers: bool | None
    host: HostFacts | None
    broadcast_status: str | None = None
    # Those whose result this stream is; `processors` read it.
    makers: tuple[ProcessorView, ...] = ()
