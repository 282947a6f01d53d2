"""Rates of counters that only grow. Pure: times are arguments."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Reading:
    """A counter at one moment.

    Attributes:
        at_s: When, on a clock that never jumps.
        source: Whose counter it is: another run of a process counts from zero.
        value: In any unit; its rate is per second.
    """

    at_s: float
    source: str
    value: float


def per_second(before: Reading | None, now: Reading) -> float | None:
    """The mean rate between two readings; None with only one, because unknown is not zero.

    A counter of a new source, or one that fell, began at zero in between: what it shows is what it has counted since.
    """
    if before is None or now.at_s <= before.at_s:
        return None
    restarted = now.source != before.source or now.value < before.value
    return (now.value if restarted else now.value - before.value) / (now.at_s - before.at_s)


class Meter(Generic[Key]):
    """Remembers one reading of each counter. After a gap the first rate is the mean over the gap."""

    def __init__(self) -> None:
        self._before: dict[Key, Reading] = {}

    def rates(self, readings: Mapping[Key, Reading]) -> dict[Key, float | None]:
        """Rates since the readings before; counters that are not among these are forgotten."""
        rates = {key: per_second(self._before.get(key), reading) for key, reading in readings.items()}
        self._before = dict(readings)
        return rates
