"""Counts requests by route: a middleware that adds two dictionary look-ups to each."""

import time
from collections import Counter
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallylight.telemetry.histogram import Histogram

# From an answer out of memory to one that made somebody wait.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# What clients send as a method is their choice; what we remember is not.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class Answer(NamedTuple):
    listener: str
    method: str
    route: str
    status: int


class RequestLog:
    """Requests of both listeners.

    Attributes:
        answers: How many, by what was asked and answered.
        started_s: Seconds until the answer began, by listener and route. Answers without an end count like others.
    """

    def __init__(self) -> None:
        self.answers: Counter[Answer] = Counter()
        self.started_s: dict[tuple[str, str], Histogram] = {}

    def add(self, answer: Answer, seconds: float) -> None:
        self.answers[answer] += 1
        key = (answer.listener, answer.route)
        histogram = self.started_s.get(key)
        if histogram is None:
            histogram = self.started_s[key] = Histogram(BOUNDS_S)
        histogram.add(seconds)


class CountRequests:
    """The middleware. A route is named by its template: addresses that clients make up do not add routes."""

    def __init__(self, app: ASGIApp, log: RequestLog, listener: str) -> None:
        self._app = app
        self._log = log
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else OTHER
                route = getattr(scope.get("route"), "path", OTHER)
                self._log.add(Answer(self._listener, method, route, message["status"]), time.perf_counter() - began_s)
            await send(message)

        await self._app(scope, receive, counted_send)
