"""The ledger of the internal route: what it hands out of each stream, and whom it refuses."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tallylight.config import STREAM_NAME_PATTERN
from tallylight.diagnosis.facts import ExposeFacts

# A processor with a wrong token asks every few seconds; a refusal older than this is history.
REFUSAL_IS_NEWS_S = 30.0
# Names come from requests that prove nothing. Real streams on one server are fewer.
MAX_STREAMS = 256

_NAME = re.compile(STREAM_NAME_PATTERN)


@dataclass
class _Entry:
    readers: int = 0
    bytes: int = 0
    refused: int = 0
    refused_code: str | None = None
    refused_s: float | None = None
    accepted_s: float | None = None
    used_s: float = 0.0


class ExposeLog:
    """Counts by stream. Requests that name no stream, or none that can exist, are counted under None."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str | None, _Entry] = {}

    def refuse(self, stream: str | None, code: str) -> bool:
        """Somebody had no valid token. True when it is news: the first refusal, or the first for a while."""
        entry, now_s = self._entry(stream), self._clock()
        news = self._facts(entry).refused_age_s is None
        entry.refused += 1
        entry.refused_code, entry.refused_s = code, now_s
        return news

    def accept(self, stream: str | None) -> None:
        """Somebody's token was right."""
        self._entry(stream).accepted_s = self._clock()

    @contextmanager
    def reader(self, stream: str) -> Iterator[Callable[[int], None]]:
        """Counts one reader while the block runs; call the given function with each number of bytes sent to it."""
        entry = self._entry(stream)
        entry.readers += 1

        def sent(count: int) -> None:
            entry.bytes += count

        try:
            yield sent
        finally:
            entry.readers -= 1

    def facts(self, stream: str | None) -> ExposeFacts:
        """What is known about one stream, or about requests that named none."""
        entry = self._entries.get(stream)
        return ExposeFacts() if entry is None else self._facts(entry)

    def _facts(self, entry: _Entry) -> ExposeFacts:
        refused_s = entry.refused_s
        age_s = None if refused_s is None else self._clock() - refused_s
        settled = refused_s is None or (entry.accepted_s is not None and entry.accepted_s >= refused_s)
        if settled or (age_s is not None and age_s > REFUSAL_IS_NEWS_S):
            age_s = None
        return ExposeFacts(entry.readers, entry.bytes, entry.refused, entry.refused_code, age_s)

    def _entry(self, stream: str | None) -> _Entry:
        key = stream if stream is not None and _NAME.match(stream) else None
        entry = self._entries.get(key)
        if entry is None:
            self._make_room()
            entry = self._entries[key] = _Entry()
        entry.used_s = self._clock()
        return entry

    def _make_room(self) -> None:
        idle = [key for key, entry in self._entries.items() if entry.readers == 0]
        if len(self._entries) >= MAX_STREAMS and idle:
            del self._entries[min(idle, key=lambda key: self._entries[key].used_s)]
