"""What becomes of a delivery after an attempt. No I/O, no clock, no chance: all come in."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

# After the first attempt, the second, and so on: about a day in all (the schedule that Standard Webhooks proposes).
DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
# A delay is up to a tenth longer, so that receivers which failed together are not asked together.
JITTER = 0.1
# The schedule at its longest, and an hour: what waited behind another that long is tried once, then given up.
GIVE_UP_AFTER = sum(DELAYS, timedelta()) * (1 + JITTER) + timedelta(hours=1)
# A receiver may ask for more patience than the schedule has, within reason.
MAX_RETRY_AFTER = timedelta(days=1)

Status = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True)
class Attempt:
    """One try: a status code, or the code of an error when no answer came."""

    at: datetime
    status_code: int | None
    error: str | None
    duration_ms: int
    retry_after: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The delivery's state from now on. With `gone` the receiver wants nothing any more."""

    status: Status
    next_attempt_at: datetime | None = None
    gone: bool = False


def judge(attempt: Attempt, number: int, created_at: datetime, *, once: bool, chance: float) -> Verdict:
    """What an attempt means.

    Args:
        number: Of this attempt, from 1.
        created_at: When the event happened.
        once: No second attempt, whatever the first one brought.
        chance: From 0 to 1, for the jitter.
    """
    if attempt.status_code is not None and 200 <= attempt.status_code < 300:
        return Verdict("delivered")
    if attempt.status_code == HTTPStatus.GONE:
        return Verdict("failed", gone=True)
    if once or number > len(DELAYS):
        return Verdict("failed")
    delay = DELAYS[number - 1] * (1 + JITTER * chance)
    next_attempt_at = attempt.at + max(delay, _wanted_patience(attempt))
    if next_attempt_at > created_at + GIVE_UP_AFTER:
        return Verdict("failed")
    return Verdict("pending", next_attempt_at)


def _wanted_patience(attempt: Attempt) -> timedelta:
    """What `Retry-After` asks for: seconds or a date (RFC 9110 section 10.2.3)."""
    busy = attempt.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    text = (attempt.retry_after or "").strip()
    if not busy or not text:
        return timedelta()
    # More digits than nine are more than thirty years.
    if text.isascii() and text.isdigit():
        wanted = timedelta(seconds=int(text)) if len(text) <= 9 else MAX_RETRY_AFTER
    else:
        try:
            wanted = parsedate_to_datetime(text) - attempt.at
        except (TypeError, ValueError, OverflowError):
            return timedelta()
    return min(max(wanted, timedelta()), MAX_RETRY_AFTER)
