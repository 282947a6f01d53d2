"""Which frame is due now: the arithmetic that lets a slow machine drop frames instead of falling behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FramePace:
    """Hands out frame numbers counted from the Unix epoch, the newest one due each time.

    Sans-IO: the caller tells the time, as `unix_s` on a clock that never jumps (wall clock at the start, then
    monotonic).
    """

    frame_rate: int
    last_frame: int | None = None
    dropped: int = 0

    def take(self, unix_s: float) -> int | None:
        """The frame to draw now, or None while the last one is still current."""
        due = int(unix_s * self.frame_rate)
        if self.last_frame is not None and due <= self.last_frame:
            return None
        if self.last_frame is not None:
            self.dropped += due - self.last_frame - 1
        self.last_frame = due
        return due

    def wait_s(self, unix_s: float) -> float:
        """Seconds until the next frame is due; zero when it already is."""
        if self.last_frame is None:
            return 0.0
        return max(0.0, (self.last_frame + 1) / self.frame_rate - unix_s)


@dataclass
class Backoff:
    """Waiting times between attempts: doubling, bounded, back to the start after a success."""

    first_s: float = 0.25  # a restarted engine listens again within this
    limit_s: float = 2.0  # a viewer in front of a card that waits longer believes it is broken
    _next_s: float | None = None

    def next_s(self) -> float:
        current = self.first_s if self._next_s is None else self._next_s
        self._next_s = min(current * 2, self.limit_s)
        return current

    def reset(self) -> None:
        self._next_s = None
