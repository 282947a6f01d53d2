"""Connections to the public application: none outlives a reader that has stopped reading."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from tallylight.api.sse import STALLED_S

# Just after a listener to events is let go, which gives its seat back first.
CUT_AFTER_S = STALLED_S + 1.0


class ReadConnection(H11Protocol):
    """A connection that is cut when its answer has waited too long for its reader.

    A close would wait until the reader has taken what is buffered, which one that stopped reading never does.
    """

    _cut: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut = self.loop.call_later(CUT_AFTER_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._keep()

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep()
        super().connection_lost(exc)

    def _keep(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
