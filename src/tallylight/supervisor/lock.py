"""One server per data directory."""

import fcntl
import os
from types import TracebackType
from typing import Self

from tallylight.errors import StartError
from tallylight.paths import DataDirectory


class DataLock:
    """Holds the data directory while the block runs; the kernel lets go of it if we are killed.

    Raises:
        StartError: `already_running`, with the process id of the other server.
    """

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._descriptor = -1

    def __enter__(self) -> Self:
        # Not inherited by children: one that outlives us for a moment does not hold the lock.
        descriptor = os.open(self._data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartError(
                "already_running",
                f"A server (process {owner}) already uses the data directory {self._data.root}.",
                "Stop it first, or set TALLYLIGHT_DATA_DIR to another directory.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # The file stays: removing it would let a third server lock a new file of the same name beside a waiting second.
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
