"""The supervisor's pure and small parts."""

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.processes import is_alive
from support.waiting import wait_until
from tallylight.config import Settings
from tallylight.logs import for_people
from tallylight.paths import DataDirectory, prepare, write_private
from tallylight.supervisor import part as parts
from tallylight.supervisor.child import Child, read_last_words
from tallylight.supervisor.engine_config import write_engine_config
from tallylight.supervisor.part import Part, PartSpec
from tallylight.supervisor.restart import CRASH_LOOP_ENDS, HEALTHY_S, MAX_DELAY_S, RestartPolicy


def test_a_part_that_worked_is_back_at_once_however_often_it_is_killed() -> None:
    policy = RestartPolicy()
    assert [policy.delay_after_end(HEALTHY_S) for _ in range(20)] == [0.0] * 20
    assert not policy.crash_looping


def test_a_part_that_never_works_is_tried_ever_more_rarely() -> None:
    policy = RestartPolicy()
    delays_s = [policy.delay_after_end(0.0) for _ in range(12)]
    assert delays_s[0] == 0.0
    assert delays_s == sorted(delays_s)
    assert delays_s[-1] == MAX_DELAY_S
    assert policy.crash_looping
    assert policy.delay_after_end(HEALTHY_S) == 0.0
    assert not policy.crash_looping


def test_three_ends_in_a_row_still_keep_the_promise_of_two_seconds() -> None:
    policy = RestartPolicy()
    assert sum(policy.delay_after_end(0.0) for _ in range(CRASH_LOOP_ENDS)) < 1.0


def test_last_words_of_the_engine() -> None:
    words = read_last_words('{"fatal": {"code": "port_in_use", "message": "Port 1 is taken.", "fix": "Free it."}}')
    assert words is not None
    assert (words.code, words.sentence()) == ("port_in_use", "Port 1 is taken. Free it.")


@pytest.mark.parametrize(
    "line", ["", "panicked at", "{}", "[]", "7", '{"fatal": 1}', '{"event": "engine_started"}', "{"]
)
def test_other_lines_are_no_last_words(line: str) -> None:
    assert read_last_words(line) is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("plain text", "plain text"),
        ("[1]", "[1]"),
        (
            '{"event": "stream_created", "level": "info", "part": "control", "stream": "main"}',
            "control stream_created stream=main",
        ),
        ('{"level": "WARN", "fields": {"message": "whep_closed", "reason": "x"}}', "engine WARN whep_closed reason=x"),
    ],
)
def test_log_lines_for_people(line: str, text: str) -> None:
    assert for_people(line).endswith(text)


def test_the_engine_configuration_is_as_agreed_and_private(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare(short_path / "data")
    data.run.mkdir()
    monkeypatch.setenv("TALLYLIGHT_TRUSTED_PROXIES", "127.0.0.1, 2001:db8::/32")
    path = write_engine_config(Settings(data_dir=data.root), data)
    assert path.stat().st_mode & 0o777 == 0o600
    config = json.loads(path.read_text())
    assert config["http_bind"] == "0.0.0.0:8080"
    assert config["engine_socket"] == str(data.engine_socket)
    assert config["exit_when_stdin_closes"] is True
    assert config["trusted_proxies"] == ["127.0.0.1/32", "2001:db8::/32"]
    # Not among what `run/` loses at every start: private streams stay private.
    assert Path(config["policy_file"]).parent == data.root
    assert set(config) == {
        *("http_bind", "webrtc_bind", "rtmp_bind", "public_ips", "ice_servers", "engine_socket", "control_socket"),
        *("policy_file", "trusted_proxies", "web_dir", "exit_when_stdin_closes", "audit_nonces"),
    }


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "old")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_sockets_are_in_the_run_directory(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    assert data.engine_socket == tmp_path / "run" / "engine.sock"


class Sleeper:
    """A part that does nothing, and answers the questions that it is told to, counted from 1."""

    def __init__(self, patience: int | None, answers: Callable[[int], bool] = lambda _number: True) -> None:
        self.answers = answers
        self.asked = 0
        self.part = Part(PartSpec("sleeper", ["sleep", "600"], dict(os.environ), self._ready, patience=patience))

    async def _ready(self) -> bool:
        self.asked += 1
        return self.answers(self.asked)

    @property
    def pid(self) -> int:
        (child,) = self.part._children()
        return child.pid

    async def is_asked(self, times: int) -> None:
        goal = self.asked + times
        await wait_until(lambda: self.asked >= goal, 10, "it to be asked")


@asynccontextmanager
async def watched(sleeper: Sleeper) -> AsyncIterator[Sleeper]:
    await sleeper.part.start()
    watching = asyncio.create_task(sleeper.part.watch())
    try:
        yield sleeper
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
        await sleeper.part.stop()


async def test_a_part_that_hangs_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WATCH_INTERVAL_S", 0.001)
    async with watched(Sleeper(patience=3)) as sleeper:
        hung = sleeper.pid
        sleeper.answers = lambda _number: False
        await wait_until(lambda: not is_alive(hung), 10, "it to be ended")
        sleeper.answers = lambda _number: True
        await wait_until(lambda: sleeper.pid != hung, 10, "it to be started again")
        await sleeper.is_asked(20)


async def test_a_part_that_answers_now_and_then_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WATCH_INTERVAL_S", 0.001)
    async with watched(Sleeper(patience=3, answers=lambda number: number % 3 == 1)) as sleeper:
        pid = sleeper.pid
        await sleeper.is_asked(30)
        assert sleeper.pid == pid


async def test_a_part_without_a_patience_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WATCH_INTERVAL_S", 0)
    async with watched(Sleeper(patience=None)) as sleeper:
        asked = sleeper.asked
        for _ in range(20):
            await asyncio.sleep(0)
        assert sleeper.asked == asked


async def test_a_child_ends_although_nothing_can_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    # More than a pipe holds: whoever stops reading it keeps the child for ever.
    talk = "import sys; sys.stderr.write(('x' * 999 + '\\n') * 700)"
    full_disk = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    with full_disk, monkeypatch.context() as replaced:
        replaced.setattr(sys, "stderr", full_disk)
        child = await Child.launch("talker", [sys.executable, "-c", talk], {})
        try:
            async with asyncio.timeout(10):
                await child.ended()
        finally:
            child.kill()
    assert child.end == "exit code 0"
