"""Which streams have earned a rest: pictures that failed are not tried for ever."""

import json
from collections.abc import Container
from pathlib import Path

MAX_STRIKES = 3


class Strikes:
    """Failures in a row of each publication. A try counts as failed until it is known to be good, and is written down
    before it begins: one that ends this process counts as well.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._strikes: dict[str, tuple[int, int]] = _load(file)

    def rests(self, stream: str, epoch: int) -> bool:
        """Whether this publication has used up its tries."""
        return self.of(stream, epoch) >= MAX_STRIKES

    def of(self, stream: str, epoch: int) -> int:
        struck, count = self._strikes.get(stream, (epoch, 0))
        return count if struck == epoch else 0

    def begin(self, stream: str, epoch: int) -> None:
        """Before a try."""
        self._strikes[stream] = (epoch, self.of(stream, epoch) + 1)
        self._save()

    def forgive(self, stream: str) -> None:
        """The try was good."""
        self._strikes.pop(stream, None)
        self._save()

    def take_back(self, stream: str, epoch: int) -> None:
        """The try told nothing about the picture."""
        self._strikes[stream] = (epoch, self.of(stream, epoch) - 1)
        self._save()

    def keep_only(self, streams: Container[str]) -> None:
        """Forgets the streams that are not among these."""
        self._strikes = {stream: entry for stream, entry in self._strikes.items() if stream in streams}

    def counts(self) -> dict[str, int]:
        """Failures of each stream that has any."""
        return {stream: count for stream, (_, count) in self._strikes.items() if count}

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._strikes))
        temporary.replace(self._file)


def _load(file: Path) -> dict[str, tuple[int, int]]:
    try:
        return {
            str(stream): (int(epoch), int(count)) for stream, (epoch, count) in json.loads(file.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # the first start, or nothing that we wrote
