"""Where the server is, and how a processor proves that it may ask."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tallylight.cli.local_api import LocalApi, LocalApiError
from tallylight.config import Settings
from tallylight.errors import TallylightError
from tallylight.paths import DataDirectory, write_private


class ProcessorStartError(TallylightError):
    """A processor cannot start with what it was given."""


@dataclass(frozen=True)
class Server:
    """A Tallylight server on this host.

    Attributes:
        internal_url: Base of the internal listener, without a path.
        rtmp_url: What the stream key is appended to, with a slash.
        token: Gives the internal token; asked before every request, so that a new one is picked up.
    """

    internal_url: str
    rtmp_url: str
    token: Callable[[], str]

    @classmethod
    def of(cls, settings: Settings, token_file: Path | None = None) -> "Server":
        """The server with these settings; its token from its data directory, or from another file."""
        path = token_file or DataDirectory(settings.data_dir).internal_token
        return cls(
            internal_url=f"http://127.0.0.1:{settings.internal_port}",
            rtmp_url=f"rtmp://127.0.0.1:{settings.rtmp_port}/live",
            token=lambda: _read_token(path),
        )


@dataclass(frozen=True)
class Target:
    """The stream that a processor publishes."""

    stream: str
    key: str

    def __repr__(self) -> str:
        return f"Target(stream={self.stream!r})"


def target_of_this_host(stream: str, source: str, settings: Settings) -> Target:
    """The stream's key as this host keeps it; makes the stream when it does not exist yet.

    A new one is seen by whom the source is seen by, and belongs to the same person. Its key is shown once, when it is
    made, so it is kept in `processors/NAME.key` in the data directory.

    Raises:
        ProcessorStartError: `output_key_unknown`: the stream was made otherwise, and its key is not here.
        LocalApiError: The server does not answer, or does not know the source.
    """
    data = DataDirectory(settings.data_dir)
    path = data.processor_key(stream)
    if path.exists():
        return Target(stream, read_key(path))
    with LocalApi(data) as api:
        original = api.get(f"/api/streams/{source}")
        title = f"{original['title'] or source}, processed"
        try:
            made = api.post(
                "/api/streams", {"name": stream, "title": title[:200], "visibility": original["visibility"]}
            )
        except LocalApiError as error:
            if error.code != "stream_exists":
                raise
            raise ProcessorStartError(
                "output_key_unknown",
                f"The stream {stream!r} exists, but its key is not known here.",
                f"Put its key into {path}, or give it by --key-file; `tallylight streams rotate-key` makes a new one.",
            ) from error
        if original["owner"] is not None:
            api.patch(f"/api/streams/{stream}", {"owner": original["owner"]})
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, f"{made['key']}\n")
    return Target(stream, made["key"])


def read_key(path: Path) -> str:
    """A stream key from a file. Raises ProcessorStartError `key_file_unreadable`."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ProcessorStartError(
            "key_file_unreadable", f"The stream key cannot be read from {path}: {error.strerror}."
        ) from error


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        # The server makes it at its first start. Until then it would refuse any.
        return ""
