"""What every request and answer passes through: a bound on the body, and headers that keep answers private."""

from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallylight.api.problems import ProblemResponse

# The largest body is a stream's title; requests here are small.
MAX_BODY_BYTES = 64 * 1024


class _BodyTooLargeError(Exception):
    pass


class BodyLimit:
    """Answers 413 as soon as a body is, or says it will be, too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_length(scope) > MAX_BODY_BYTES:
            await _too_large(scope, receive, send)
            return
        received = 0
        started = False

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise _BodyTooLargeError
            return message

        async def watched_send(message: Message) -> None:
            nonlocal started
            # A framework that catches the error above would answer 400; the 413 below replaces it.
            if received <= MAX_BODY_BYTES or started:
                started = True
                await send(message)

        with suppress(_BodyTooLargeError):
            await self._app(scope, bounded_receive, watched_send)
        if received > MAX_BODY_BYTES and not started:
            await _too_large(scope, receive, send)


class AnswerHeaders:
    """Answers are data for the page that asked: never cached by others, never taken for another type."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self._app(scope, receive, with_headers)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    response = ProblemResponse("too_large", f"A request body here has at most {MAX_BODY_BYTES} bytes.")
    await response(scope, receive, send)
