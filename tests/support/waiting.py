"""The one way the suites wait: for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Result = TypeVar("Result")
What = str | Callable[[], str]

# Short beside every limit we assert (the shortest is 80 ms), long beside what asking costs.
_POLL_INTERVAL_S = 0.02


@overload
async def wait_until(
    condition: Callable[[], Awaitable[Result]], timeout_s: float, what: What, ignore: tuple[type[Exception], ...] = ()
) -> Result: ...


@overload
async def wait_until(
    condition: Callable[[], Result], timeout_s: float, what: What, ignore: tuple[type[Exception], ...] = ()
) -> Result: ...


async def wait_until(
    condition: Callable[[], Any], timeout_s: float, what: What, ignore: tuple[type[Exception], ...] = ()
) -> Any:
    """Asks until the condition holds and returns what it gave; a truthy result is what "holds" means.

    Args:
        condition: Plain or asynchronous, and quick.
        timeout_s: The limit the test asserts, or a generous deadline.
        what: Completes the sentence "waited N s for ..."; a function is asked when the time is up.
        ignore: Errors that only mean "not yet", such as a refused connection while the server starts.
    Raises:
        AssertionError: The deadline passed; names the last answer.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            answer = condition()
            result = await answer if inspect.isawaitable(answer) else answer
            if result:
                return result
            last = result
        except ignore as error:
            last = error
        if time.monotonic() > deadline:
            named = what() if callable(what) else what
            raise AssertionError(f"waited {timeout_s} s for {named}; last answer: {last!r}")
        await asyncio.sleep(_POLL_INTERVAL_S)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s
