"""When to start a part again that ended. Pure: times are arguments."""

# A part that worked this long was well: what ended it was an accident, and it is back at once.
HEALTHY_S = 1.0
FIRST_DELAY_S = 0.1
# Long enough to spare the machine, short enough that a repaired cause is noticed soon.
MAX_DELAY_S = 10.0
# From here on the log says that the part does not stay up.
CRASH_LOOP_ENDS = 4


class RestartPolicy:
    """Exponential backoff over ends in a row."""

    def __init__(self) -> None:
        self._ends = 0

    def delay_after_end(self, worked_s: float) -> float:
        """Seconds to wait after an end.

        Args:
            worked_s: How long the part was ready before it ended; 0 when it never was.
        """
        if worked_s >= HEALTHY_S:
            self._ends = 0
        self._ends += 1
        return 0.0 if self._ends == 1 else min(FIRST_DELAY_S * 2.0 ** (self._ends - 2), MAX_DELAY_S)

    @property
    def crash_looping(self) -> bool:
        """Whether the part ended again and again without working."""
        return self._ends >= CRASH_LOOP_ENDS
