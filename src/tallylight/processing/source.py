"""The video of a stream from `videoExpose`, as something that PyAV can read and another thread can cut off."""

import contextlib
import http.client
import json
import socket
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from tallylight.errors import TallylightError
from tallylight.processing.server import Server

# The server answers from memory.
CONNECT_TIMEOUT_S = 3.0
# The engine ends publishers that are silent for 15 s; a tap that is silent for longer than that is dead.
SILENCE_TIMEOUT_S = 20.0
# A problem document is a few hundred bytes.
MAX_PROBLEM_BYTES = 64 * 1024


class SourceError(TallylightError):
    """There is no video to be had now. `code` tells why: `nothing_on_air`, `token_wrong`, `server_away`, …"""


class Tap:
    """One open answer of `videoExpose`. A file for PyAV: it can only be read, and not sought in.

    Raises:
        SourceError: The server does not answer, or refuses and says why.
    """

    def __init__(self, server: Server, stream: str) -> None:
        address = urlsplit(server.internal_url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "127.0.0.1", address.port or 80, timeout=CONNECT_TIMEOUT_S
        )
        try:
            self._connection.request(
                "GET",
                f"/internal/videoExpose?stream={quote(stream, safe='')}",
                headers={"Authorization": f"Bearer {server.token()}", "Accept": "video/mp4"},
            )
            self._socket: socket.socket = self._connection.sock
            self._response = self._connection.getresponse()
            if self._response.status != http.client.OK:
                raise _refusal(self._response)
            self._socket.settimeout(SILENCE_TIMEOUT_S)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise SourceError(
                "server_away", f"The server does not answer on {server.internal_url} ({type(error).__name__})."
            ) from error
        except SourceError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.cut()
        self._connection.close()

    def read(self, size: int) -> bytes:
        """At least one byte once there is one; empty at the end, however it came about."""
        try:
            return self._response.read1(size)
        except (OSError, http.client.HTTPException):
            # Cut off, or the server went away: for the reader an end like any other, after which it asks again.
            return b""

    def cut(self) -> None:
        """Ends a read that waits, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _refusal(response: http.client.HTTPResponse) -> SourceError:
    try:
        problem = json.loads(response.read(MAX_PROBLEM_BYTES))
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return SourceError("answer_unexpected", f"The internal route answered with status {response.status}.")
    if code in ("token_wrong", "token_missing"):
        return SourceError(code, "The internal route refused the processor's token.", detail)
    return SourceError(code, detail)
