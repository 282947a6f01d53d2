"""The process that makes posters: asks the engine what is on air, and takes one picture at a time."""

import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import av
import httpx
import structlog
from pydantic import ValidationError

from tallylight.engine.models import Streams, StreamStatus
from tallylight.paths import DataDirectory
from tallylight.posters.picture import PictureError, poster
from tallylight.posters.store import KEPT_S, POSTER_EVERY_S, SUFFIX
from tallylight.posters.strikes import MAX_STRIKES, Strikes
from tallylight.posters.tap import TapError, first_chunk

log = structlog.get_logger()

# How soon a stream that came on air gets its first poster; the question costs the engine a millisecond.
LOOK_EVERY_S = 2.0
SWEEP_EVERY_S = 60.0
# One picture, everything included. A decoder that hangs in C hears no exception, so the kernel ends the process then.
PICTURE_LIMIT_S = 5.0
# The tap begins with what the engine has in memory; a stream that stalls right then gets its poster the next time.
TAP_LIMIT_S = 3.0
REQUEST_TIMEOUT_S = 1.0
# The largest picture that is decoded needs 200 MB in one copy, FFmpeg's and Python's libraries 400 MB of addresses.
MEMORY_LIMIT_BYTES = 2 * 1024**3
# A leftover of a write that this process did not survive.
TEMPORARY_SUFFIX = ".new"


def confine() -> None:
    """Bounds what a hostile picture can cost: memory, time, and no core file with other people's pictures in it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    av.logging.set_level(av.logging.PANIC)  # its errors reach us as exceptions


class Worker:
    """Keeps the posters of one data directory new. `run` never returns."""

    def __init__(self, data: DataDirectory) -> None:
        self._directory = data.posters
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._strikes = Strikes(self._directory / ".strikes")
        for stream, strikes in self._strikes.counts().items():
            log.warning("poster_tries_remembered", stream=stream, strikes=strikes)
        # By publication: another one has its first picture at once.
        self._due_s: dict[tuple[str, int], float] = {}
        self._engine = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(data.engine_socket)),
            base_url="http://engine",
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
        )

    def run(self) -> NoReturn:
        """Looks, takes what is due, sweeps now and then."""
        sweep_s = time.monotonic()
        while True:
            self.look()
            if time.monotonic() >= sweep_s:
                sweep(self._directory, time.time())
                sweep_s = time.monotonic() + SWEEP_EVERY_S
            time.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Takes a picture of each stream on air whose poster is due."""
        try:
            streams = Streams.model_validate_json(self._engine.get("/v1/streams").raise_for_status().content).streams
        except (httpx.HTTPError, ValidationError):
            return  # the engine starts again; the control plane says so
        on_air = {(status.name, status.epoch or 0) for status in streams if _shows_pictures(status)}
        self._strikes.keep_only({name for name, _ in on_air})
        self._due_s = {publication: due_s for publication, due_s in self._due_s.items() if publication in on_air}
        for name, epoch in sorted(on_air):
            if time.monotonic() < self._due_s.get((name, epoch), 0.0) or self._strikes.rests(name, epoch):
                continue
            self._due_s[(name, epoch)] = time.monotonic() + POSTER_EVERY_S
            try:
                self._take(name, epoch)
            except OSError as error:
                log.warning("poster_not_written", stream=name, cause=str(error))

    def _take(self, name: str, epoch: int) -> None:
        try:
            self._strikes.begin(name, epoch)
            signal.setitimer(signal.ITIMER_REAL, PICTURE_LIMIT_S)
            write(self._directory / f"{name}{SUFFIX}", poster(self._first_chunk(name)))
        except httpx.HTTPError:
            self._strikes.take_back(name, epoch)
        except (PictureError, TapError, av.FFmpegError, MemoryError, ValueError) as error:
            self._say_failed(name, epoch, error)
        except OSError:
            # A disk that is full tells nothing about the picture.
            self._strikes.take_back(name, epoch)
            raise
        else:
            self._strikes.forgive(name)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _first_chunk(self, name: str) -> bytes:
        path = f"/v1/streams/{quote(name, safe='')}/tap"
        with self._engine.stream("GET", path, timeout=TAP_LIMIT_S) as answer:
            answer.raise_for_status()
            return first_chunk(_until(answer.iter_raw(), time.monotonic() + TAP_LIMIT_S))

    def _say_failed(self, name: str, epoch: int, error: Exception) -> None:
        strikes = self._strikes.of(name, epoch)
        log.warning(
            "poster_not_taken",
            stream=name,
            strikes=strikes,
            resting=strikes >= MAX_STRIKES,
            cause=f"{type(error).__name__}: {error}",
        )


def write(path: Path, picture: bytes) -> None:
    """Writes a picture; readers see the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    temporary.write_bytes(picture)
    temporary.replace(path)


def sweep(directory: Path, now_s: float) -> None:
    """Removes pictures of streams that have long been off air, and what writes left behind that were cut short."""
    for path in directory.iterdir():
        age_s = now_s - path.stat().st_mtime
        leftover = path.name.endswith(TEMPORARY_SUFFIX) and age_s > SWEEP_EVERY_S
        if leftover or (path.suffix == SUFFIX and age_s > KEPT_S):
            path.unlink(missing_ok=True)


def _shows_pictures(status: StreamStatus) -> bool:
    return status.status == "ON_AIR" and any(track.kind == "video" for track in status.tracks)


def _until(pieces: Iterator[bytes], deadline_s: float) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        if time.monotonic() > deadline_s:
            raise httpx.ReadTimeout("the tap is too slow")
