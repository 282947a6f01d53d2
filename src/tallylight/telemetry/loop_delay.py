"""How late the event loop is: what blocks it makes every answer wait."""

import asyncio
import time

from tallylight.telemetry.histogram import Histogram

# Often enough to meet a block of a tenth of a second, seldom enough to cost nothing.
INTERVAL_S = 0.25
# From a timer's own coarseness to a pause that people notice.
BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopDelay:
    """Measures by how much a timer was late, until cancelled."""

    def __init__(self) -> None:
        self.delays_s = Histogram(BOUNDS_S)

    async def run(self) -> None:
        while True:
            due_s = time.monotonic() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self.delays_s.add(max(0.0, time.monotonic() - due_s))
