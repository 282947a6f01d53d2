"""What became of publishers, for the people whose streams they are: the last end of each stream, and who was refused.

Kept in memory: the engine repeats its newest events after a restart of the control plane, and what is older stands in
the broadcasts.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tallylight.engine.models import EngineEvent
from tallylight.streams.sentences import ended_sentence, refused_sentence

# An encoder with a wrong key tries again every few seconds; the newest tries tell as much as all of them.
MAX_REFUSALS = 10
# Memory bound: the streams heard of longest ago are forgotten first.
MAX_STREAMS = 10_000
# Refusals that say something about who has, or had, the right key. A wrong key may be anybody's.
TELLING_REFUSALS = frozenset({"key_rotated", "publisher_busy", "owner_may_not_publish"})


@dataclass(frozen=True)
class Refusal:
    """Somebody wanted to publish to a stream and was refused."""

    at: datetime
    protocol: str
    code: str
    message: str
    session: str = ""


@dataclass(frozen=True)
class Ending:
    """Why nobody publishes (any more)."""

    at: datetime
    code: str
    sentence: str


@dataclass
class _Past:
    refusals: deque[Refusal] = field(default_factory=lambda: deque(maxlen=MAX_REFUSALS))
    last: Ending | None = None


class PublisherLog:
    """The newest refusals and the last ending of each stream."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, _Past] = OrderedDict()

    def refused(self, stream: str, refusal: Refusal) -> None:
        """Notes a refusal; one that the engine reports after we gave it is no second one."""
        past = self._past(stream)
        if refusal.session and any(known.session == refusal.session for known in past.refusals):
            return
        past.refusals.append(refusal)
        if refusal.code in TELLING_REFUSALS:
            past.last = _later(past.last, Ending(refusal.at, refusal.code, refused_sentence(refusal.message)))

    def hear(self, event: EngineEvent) -> None:
        """Takes what an engine event says about a publisher."""
        if event.stream is None:
            return
        fields = event.fields()
        if event.event == "publish_ended":
            self.ended(event.stream, _moment(event.at), str(fields.get("reason")))
        elif event.event == "publish_refused":
            code, protocol = str(fields.get("code")), str(fields.get("protocol"))
            message = ended_sentence(code)
            self.refused(event.stream, Refusal(_moment(event.at), protocol, code, message, event.session or ""))

    def ended(self, stream: str, at: datetime, code: str) -> None:
        """Notes that a publication ended."""
        past = self._past(stream)
        past.last = _later(past.last, Ending(at, code, ended_sentence(code)))

    def refusals(self, stream: str, since: datetime) -> Sequence[Refusal]:
        """The newest first, none older than the stream."""
        past = self._streams.get(stream)
        return [] if past is None else [refusal for refusal in reversed(past.refusals) if refusal.at >= since]

    def last(self, stream: str, since: datetime) -> Ending | None:
        """The last ending, if it is not older than the stream."""
        past = self._streams.get(stream)
        return past.last if past is not None and past.last is not None and past.last.at >= since else None

    def _past(self, stream: str) -> _Past:
        past = self._streams.pop(stream, None) or _Past()
        self._streams[stream] = past
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)
        return past


def _later(one: Ending | None, other: Ending) -> Ending:
    return other if one is None or other.at >= one.at else one


def _moment(text: str) -> datetime:
    """The engine's RFC 3339; a clock that says nothing sensible is as good as now."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)
