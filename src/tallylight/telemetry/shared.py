"""One answer for everybody who asks within an interval."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Shared(Generic[Answer]):
    """However many ask, the source is asked once per interval; when nobody asks, it is not asked at all.

    A failure is an answer as well: it is shared for the interval, so that a source in trouble is left in peace.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Answer]],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._interval_s = interval_s
        self._clock = clock
        self._asking = asyncio.Lock()
        self._fresh_until_s = float("-inf")
        self._outcome: asyncio.Future[Answer] | None = None

    async def get(self) -> Answer:
        """The newest answer. Raises what the source raised."""
        async with self._asking:
            if self._outcome is None or self._clock() >= self._fresh_until_s:
                self._outcome = await self._new_outcome()
                self._fresh_until_s = self._clock() + self._interval_s
            return self._outcome.result()

    def due_in_s(self) -> float:
        """Seconds until the source may be asked again."""
        return max(0.0, self._fresh_until_s - self._clock())

    async def _new_outcome(self) -> asyncio.Future[Answer]:
        outcome: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            outcome.set_result(await self._ask())
        except Exception as error:  # noqa: BLE001 - raised again in everybody who asked
            outcome.set_exception(error)
            outcome.exception()  # taken note of, even if nobody is left to see it
        return outcome
