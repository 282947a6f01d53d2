"""Streams in the database, the first start, and who may publish."""

import stat

import pytest

from tallylight.config import BootstrapStream
from tallylight.db import Database
from tallylight.engine.models import AdmissionQuestion, Allowed, Refused
from tallylight.errors import StartError
from tallylight.events import EventLog
from tallylight.first_secret import first_key
from tallylight.paths import DataDirectory
from tallylight.streams.admission import Admission
from tallylight.streams.publishers import PublisherLog
from tallylight.streams.store import StreamExistsError, StreamStore, StreamUnknownError
from tallylight.streams.wrong_key_limit import TRIES
from unit.conftest import everything_in

ON_BOTH_DATABASES = True


@pytest.fixture
def store(data: DataDirectory, database: Database) -> StreamStore:
    return StreamStore(database, data.first_run)


def question(key: str, stream: str | None = None, remote_ip: str = "192.0.2.1") -> AdmissionQuestion:
    return AdmissionQuestion(
        action="publish", protocol="rtmp", stream=stream, key=key, session="s", remote_ip=remote_ip
    )


async def names(store: StreamStore) -> list[str]:
    return [stream.name for stream in await store.all()]


async def test_the_first_start_makes_main_and_no_later_one_does(store: StreamStore, data: DataDirectory) -> None:
    await store.provision([])
    key = first_key(data.first_run).read("main")
    assert key is not None
    assert stat.S_IMODE(data.first_run.stat().st_mode) == 0o600
    assert await Admission(store, EventLog(), PublisherLog()).decide(question(key)) == Allowed(stream="main")
    await store.delete("main")
    await store.provision([])
    assert await names(store) == []


async def test_the_key_file_goes_away_with_its_key(store: StreamStore, data: DataDirectory) -> None:
    await store.provision([])
    await store.create("other")
    await store.rotate_key("other")
    assert data.first_run.exists()
    await store.rotate_key("main")
    assert not data.first_run.exists()


async def test_bootstrap_streams_are_made_once_and_keep_their_keys(store: StreamStore, data: DataDirectory) -> None:
    await store.provision([BootstrapStream(name="stage", key="first-key-of-stage")])
    await store.provision([BootstrapStream(name="stage", key="other-key-of-stage")])
    assert await names(store) == ["stage"]
    assert not data.first_run.exists()
    admission = Admission(store, EventLog(), PublisherLog())
    assert isinstance(await admission.decide(question("first-key-of-stage")), Allowed)
    assert isinstance(await admission.decide(question("other-key-of-stage")), Refused)


async def test_a_bootstrap_stream_that_was_renamed_needs_another_key(store: StreamStore) -> None:
    await store.provision([BootstrapStream(name="stage", key="first-key-of-stage")])
    with pytest.raises(StartError, match="'hall' has the key of the stream 'stage'"):
        await store.provision([BootstrapStream(name="hall", key="first-key-of-stage")])
    assert await names(store) == ["stage"]


async def test_a_key_is_not_in_the_database(store: StreamStore, database: Database, data: DataDirectory) -> None:
    new = await store.create("main")
    contents = await everything_in(database, data)
    assert b"main" in contents
    assert new.key.encode() not in contents
    assert new.key not in repr(new)


async def test_names_are_unique_and_unknown_ones_are_said(store: StreamStore) -> None:
    await store.create("main")
    with pytest.raises(StreamExistsError):
        await store.create("main")
    for change in (store.delete, store.rotate_key, store.get):
        with pytest.raises(StreamUnknownError):
            await change("nobody")


async def test_the_key_decides_the_stream(store: StreamStore) -> None:
    main, other = await store.create("main"), await store.create("other")
    admission = Admission(store, EventLog(), PublisherLog())
    assert await admission.decide(question(main.key)) == Allowed(stream="main")
    assert await admission.decide(question(other.key)) == Allowed(stream="other")
    assert await admission.decide(question(main.key, "main")) == Allowed(stream="main")


async def test_refusals_have_codes(store: StreamStore) -> None:
    main, other = await store.create("main"), await store.create("other")
    admission = Admission(store, EventLog(), PublisherLog())

    async def code(key: str, stream: str | None = None) -> str:
        answer = await admission.decide(question(key, stream))
        assert isinstance(answer, Refused)
        assert answer.message.endswith(".")
        return answer.code

    assert await code("") == "key_missing"
    assert await code("guess") == "key_wrong"
    assert await code(other.key, "main") == "key_wrong"
    assert await code(main.key, "nobody") == "stream_unknown"


async def test_an_old_key_opens_nothing_after_a_rotation(store: StreamStore) -> None:
    old = await store.create("main")
    new = await store.rotate_key("main")
    admission = Admission(store, EventLog(), PublisherLog())
    assert isinstance(await admission.decide(question(old.key)), Refused)
    assert await admission.decide(question(new.key)) == Allowed(stream="main")


@pytest.mark.parametrize("key", ["", "guess", "the old one"])
async def test_an_encoder_that_tries_for_ever_does_not_fill_the_events(store: StreamStore, key: str) -> None:
    old = await store.create("main")
    await store.rotate_key("main")
    events, publishers = EventLog(), PublisherLog()
    admission = Admission(store, events, publishers, clock=lambda: 0.0)
    reader = events.reader()
    for number in range(3 * TRIES):
        asked = question(old.key if key == "the old one" else key, "main").model_copy(update={"session": str(number)})
        await admission.decide(asked)
    assert len(reader.take()) == TRIES
    assert admission.refused.total() == 3 * TRIES
    await admission.decide(question(key, "main", remote_ip="192.0.2.2"))
    assert len(reader.take()) == 1, "another address"


async def test_wrong_keys_are_limited_and_right_ones_never(store: StreamStore) -> None:
    main = await store.create("main")
    admission = Admission(store, EventLog(), PublisherLog(), clock=lambda: 0.0)
    answers = [await admission.decide(question("guess")) for _ in range(TRIES + 1)]
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == ["key_wrong"] * TRIES + [
        "rate_limited"
    ]
    assert await admission.decide(question(main.key)) == Allowed(stream="main"), "the same address with the right key"
    elsewhere = await admission.decide(question("guess", remote_ip="192.0.2.2"))
    assert isinstance(elsewhere, Refused)
    assert elsewhere.code == "key_wrong"
