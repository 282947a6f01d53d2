"""What docs/webhooks.md says is true: its sample runs, its events and its schedule are ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from tallylight.webhooks import messages, retries
from tallylight.webhooks.outbox import MAX_AGE, MAX_DELIVERIES
from tallylight.webhooks.sender import DEADLINE_S

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text()
BODY = messages.body("broadcast.started", datetime.now(UTC), {"title": "Ümläut"})

IsGenuine = Callable[[str, dict[str, str], bytes], bool]


@pytest.fixture(scope="module")
def is_genuine() -> IsGenuine:
    (sample,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(sample, "docs/webhooks.md", "exec"), names)
    found: IsGenuine = names["is_genuine"]
    return found


def signed(age: timedelta = timedelta(), secret: bytes = bytes(32)) -> dict[str, str]:
    headers = messages.signed_headers("msg_1", datetime.now(UTC) - age, BODY, secret)
    return {name.lower(): value for name, value in headers.items()}


def test_the_sample_accepts_what_we_sign(is_genuine: IsGenuine) -> None:
    secret = messages.secret_as_text(bytes(32))
    assert is_genuine(secret, signed(), BODY.encode())
    assert is_genuine(secret, signed() | {"webhook-signature": "v1,x " + signed()["webhook-signature"]}, BODY.encode())


def test_the_sample_rejects_what_was_altered_or_replayed(is_genuine: IsGenuine) -> None:
    secret = messages.secret_as_text(bytes(32))
    assert not is_genuine(secret, signed(), BODY.replace("started", "ended").encode())
    assert not is_genuine(secret, signed() | {"webhook-id": "msg_2"}, BODY.encode())
    assert not is_genuine(secret, signed(age=timedelta(minutes=6)), BODY.encode())
    assert not is_genuine(secret, signed(age=timedelta(minutes=-6)), BODY.encode())
    assert not is_genuine(secret, signed(secret=bytes(31) + b"x"), BODY.encode())


def test_every_event_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z]+\.[a-z]+)`", DOCUMENT, re.MULTILINE))
    assert listed == {*get_args(messages.EventType), messages.TEST_EVENT}


def test_the_numbers_are_ours() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    (schedule,) = re.findall(r"tried again\*\* after (.*?) more", DOCUMENT)
    delays = [timedelta(seconds=int(count) * units[unit]) for count, unit in re.findall(r"(\d+) (s|min|h)", schedule)]
    assert tuple(delays) == retries.DELAYS
    assert round(sum(delays, timedelta()) / timedelta(hours=1)) == 28
    assert f"within {DEADLINE_S:g} s" in DOCUMENT
    assert f"newest {MAX_DELIVERIES} messages of each webhook that have ended" in DOCUMENT
    assert f"for {MAX_AGE.days} days at most" in DOCUMENT
    assert f"of more than {MAX_DELIVERIES} waiting" in DOCUMENT
