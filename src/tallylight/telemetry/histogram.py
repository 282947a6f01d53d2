"""A histogram for one event loop: no locks, and a microsecond for each value."""

from bisect import bisect_left
from itertools import accumulate


class Histogram:
    """Counts values by upper bound.

    Attributes:
        total: The sum of all values.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._largest = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value
        self._largest = max(self._largest, value)

    def take_largest(self) -> float:
        """The largest value since this was last asked."""
        largest, self._largest = self._largest, 0.0
        return largest

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound with the count of values that are not above it, as Prometheus wants them."""
        names = [*(str(bound) for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))
