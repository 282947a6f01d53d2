"""Posters on disk, as the control plane sees them: written by another process, looked up and handed out here."""

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path

from tallylight.telemetry.shared import Shared

# How often a stream on air gets a new one.
POSTER_EVERY_S = 10.0
# A poster of yesterday says nothing about a stream; the process that makes them removes older ones.
KEPT_S = 24 * 3600
SUFFIX = ".jpg"
# Lists of streams name every poster: one look at the directory serves them all.
_LOOK_EVERY_S = 1.0


class PosterStore:
    """The posters of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._newest: Shared[dict[str, float]] = Shared(self._look, _LOOK_EVERY_S)

    async def taken_at(self) -> dict[str, float]:
        """When each stream's poster was taken, Unix time; at most a second old."""
        return await self._newest.get()

    async def read(self, name: str, not_before: datetime) -> bytes | None:
        """A stream's poster as JPEG; None when there is none of this stream, which was made at `not_before`."""
        return await asyncio.to_thread(self._read, name, not_before)

    async def remove(self, name: str) -> None:
        """Forgets the poster of a stream that is no more, or no longer private."""
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"

    def _read(self, name: str, not_before: datetime) -> bytes | None:
        try:
            with self._path(name).open("rb") as file:
                taken_s = current(os.fstat(file.fileno()).st_mtime, not_before)
                return None if taken_s is None else file.read()
        except OSError:
            return None

    async def _look(self) -> dict[str, float]:
        return await asyncio.to_thread(self._scan)

    def _scan(self) -> dict[str, float]:
        try:
            with os.scandir(self._directory) as entries:
                return {
                    entry.name.removesuffix(SUFFIX): entry.stat().st_mtime
                    for entry in entries
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
                }
        except OSError:
            return {}


def current(taken_s: float | None, not_before: datetime) -> float | None:
    """When a poster was taken; None if it is too old, or of an earlier stream of the same name."""
    if taken_s is None or taken_s < not_before.timestamp() or time.time() - taken_s > KEPT_S:
        return None
    return taken_s
