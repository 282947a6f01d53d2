"""What every request and answer passes through: bounds on the body and on how many there are, and headers that keep
answers private.
"""

from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallylight.api.problems import ProblemResponse

# The largest body is a stream's title; requests here are small.
MAX_BODY_BYTES = 64 * 1024
# A page asks a few things at a time; each request costs a task and a few buffers.
MAX_FORWARDED = 512


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


class ForwardedLimit:
    """Answers 503 while `MAX_FORWARDED` requests that came through the engine's front are under way.

    Requests of this host, which are not marked as forwarded, always pass: so whoever keeps the public busy does not
    keep the engine's question, and with it every publisher, waiting. Listeners of server-sent events do not count once
    their answer has begun: they have seats of their own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        if self._under_way >= MAX_FORWARDED:
            busy = ProblemResponse("server_busy", "Too many requests are under way.", {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        counted = True
        self._under_way += 1

        async def watched_send(message: Message) -> None:
            nonlocal counted
            if counted and message["type"] == "http.response.start" and _is_event_stream(message):
                counted = False
                self._under_way -= 1
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        finally:
            if counted:
                self._under_way -= 1


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


def _is_event_stream(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/event-stream")


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    response = ProblemResponse("too_large", f"A request body here has at most {MAX_BODY_BYTES} bytes.")
    await response(scope, receive, send)
