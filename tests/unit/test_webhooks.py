"""Webhooks: what is signed, when it is tried again, what is put in for whom, and how it is sent."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from standardwebhooks.webhooks import Webhook as Judge
from standardwebhooks.webhooks import WebhookVerificationError

from support.receiver import HANG, Receiver
from support.waiting import wait_until
from tallylight.broadcasts.lifecycle import Broadcast, Change, Happening, Status
from tallylight.broadcasts.store import BroadcastStore
from tallylight.db import Database, Stream, User, Webhook, WebhookDelivery
from tallylight.events import EventLog
from tallylight.outbound import OutboundClient
from tallylight.sealing import Sealer, SealError, load_sealing_key
from tallylight.webhooks import health_watch, messages
from tallylight.webhooks.health_watch import HealthWatch
from tallylight.webhooks.outbox import MAX_AGE, MAX_DELIVERIES, Outbox, WebhookTestWaitsError
from tallylight.webhooks.retries import DELAYS, GIVE_UP_AFTER, MAX_RETRY_AFTER, Attempt, Verdict, judge
from tallylight.webhooks.sender import MAX_IN_FLIGHT, MAX_OF_ONE, MAX_OF_OWNER, Sender
from tallylight.webhooks.store import NewSecret, WebhookStore

ON_BOTH_DATABASES = True
PATIENCE_S = 10
NOW = datetime(2026, 11, 25, tzinfo=UTC)
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
# Twice running is a change, one more writes it down again, and then it was looked at again.
LOOKS = 5
ALL = ("broadcast.started", "broadcast.reconnecting", "broadcast.ended", "health.changed")


# --- what is signed ---------------------------------------------------------------------------------------------------


def signed(text: str, at: datetime) -> tuple[str, dict[str, str]]:
    secret = messages.new_secret()
    return messages.secret_as_text(secret), messages.signed_headers(messages.new_message_id(), at, text, secret)


def test_an_independent_library_accepts_the_signature() -> None:
    text = messages.body("broadcast.started", datetime.now(UTC), {"title": 'Ümläut \r\n "#EXT'})
    secret, headers = signed(text, datetime.now(UTC))
    assert Judge(secret).verify(text, headers) == json.loads(text)
    assert "\n" not in text


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "signature", "secret", "old", "future"])
def test_what_was_altered_or_replayed_is_rejected(change: str) -> None:
    text = messages.body("broadcast.ended", datetime.now(UTC), {"id": "b1"})
    moved = {"old": timedelta(minutes=-6), "future": timedelta(minutes=6)}.get(change, timedelta())
    secret, headers = signed(text, datetime.now(UTC) + moved)
    match change:
        case "body":
            text = text.replace("b1", "b2")
        case "id":
            headers["webhook-id"] = messages.new_message_id()
        case "timestamp":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
        case "signature":
            headers["webhook-signature"] = signed(text, datetime.now(UTC))[1]["webhook-signature"]
        case "secret":
            secret = messages.secret_as_text(messages.new_secret())
    with pytest.raises(WebhookVerificationError):
        Judge(secret).verify(text, headers)


# --- when it is tried again -------------------------------------------------------------------------------------------


def attempt(status_code: int | None = 500, retry_after: str | None = None, at: datetime = NOW) -> Attempt:
    return Attempt(at, status_code, None if status_code else "timeout", 10, retry_after)


@given(st.integers(200, 299))
def test_any_2xx_is_success(status_code: int) -> None:
    assert judge(attempt(status_code), 1, NOW, once=False, chance=0).status == "delivered"


@given(st.one_of(st.none(), st.integers(300, 599).filter(lambda code: code != 410)), st.floats(0, 1))
def test_anything_else_is_tried_again_for_about_a_day(status_code: int | None, chance: float) -> None:
    at, tries = NOW, 0
    while True:
        tries += 1
        verdict = judge(attempt(status_code, at=at), tries, NOW, once=False, chance=chance)
        if verdict.status == "failed":
            break
        assert verdict.next_attempt_at is not None
        assert DELAYS[tries - 1] <= verdict.next_attempt_at - at <= DELAYS[tries - 1] * 1.1
        at = verdict.next_attempt_at
    assert tries == len(DELAYS) + 1
    assert timedelta(hours=24) < at - NOW < timedelta(hours=31)


def test_gone_is_for_good_and_a_test_is_tried_once() -> None:
    gone = judge(attempt(410), 1, NOW, once=False, chance=0)
    assert (gone.status, gone.gone) == ("failed", True)
    assert judge(attempt(500), 1, NOW, once=True, chance=0).status == "failed"


@pytest.mark.parametrize(
    ("status_code", "retry_after", "delay"),
    [
        (429, "120", timedelta(seconds=120)),
        (503, "7", timedelta(seconds=7)),
        (503, "1", DELAYS[0]),
        (503, format_datetime(NOW + timedelta(minutes=3), usegmt=True), timedelta(minutes=3)),
        (503, format_datetime(NOW - timedelta(minutes=3), usegmt=True), DELAYS[0]),
        (429, "9" * 30, MAX_RETRY_AFTER),
        (429, "soon", DELAYS[0]),
        (429, "-5", DELAYS[0]),
        (500, "120", DELAYS[0]),
    ],
)
def test_a_busy_receiver_says_when(status_code: int, retry_after: str, delay: timedelta) -> None:
    verdict = judge(attempt(status_code, retry_after), 1, NOW, once=False, chance=0)
    assert verdict.next_attempt_at == NOW + delay


@given(st.text(), st.sampled_from([429, 503]))
def test_no_retry_after_breaks_it(text: str, status_code: int) -> None:
    verdict = judge(attempt(status_code, text), 1, NOW, once=False, chance=0.5)
    assert verdict.status == "pending"
    assert verdict.next_attempt_at is not None
    assert NOW < verdict.next_attempt_at <= NOW + MAX_RETRY_AFTER + DELAYS[0]


def test_what_waited_too_long_behind_another_is_tried_once() -> None:
    assert judge(attempt(), 1, NOW - GIVE_UP_AFTER, once=False, chance=0).status == "failed"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_opens_only_where_it_belongs(tmp_path: Path) -> None:
    key = load_sealing_key(tmp_path / "secret-key")
    assert load_sealing_key(tmp_path / "secret-key") == key
    assert stat.S_IMODE((tmp_path / "secret-key").stat().st_mode) == 0o600
    sealer = Sealer(key)
    sealed = sealer.seal(b"hush", "a")
    assert sealer.open(sealed, "a") == b"hush"
    assert b"hush" not in sealed
    assert sealer.seal(b"hush", "a") != sealed
    for other, altered, context in (
        (sealer, sealed, "b"),
        (sealer, sealed[:-1] + bytes([sealed[-1] ^ 1]), "a"),
        (sealer, b"", "a"),
        (Sealer(bytes(32)), sealed, "a"),
    ):
        with pytest.raises(SealError):
            other.open(altered, context)


@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ=", "\x00\xff"])
def test_a_damaged_key_file_is_not_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret-key"
    path.write_text(text)
    with pytest.raises(SealError) as refusal:
        load_sealing_key(path)
    assert refusal.value.code == "secret_key_invalid"
    assert path.read_text() == text


# --- what is put in for whom ------------------------------------------------------------------------------------------


class Office:
    """A database with webhooks, and what surrounds them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sealer = Sealer(bytes(range(32)))
        self.outbox = Outbox(database)
        self.webhooks = WebhookStore(database, self.sealer)
        self.broadcasts = BroadcastStore(database, self.outbox.put_change)
        self.events = EventLog()
        self.ahead = timedelta()
        self._count = 0

    async def user(self, name: str, role: str) -> int:
        user = User(name=name, password_hash="", role=role, disabled=False, created_at=NOW)
        async with self.database.session() as session:
            session.add(user)
        return user.id

    async def stream(self, name: str, owner_id: int | None) -> None:
        row = Stream(name=name, key_hash=name.encode(), created_at=NOW, key_created_at=NOW, owner_id=owner_id)
        async with self.database.session() as session:
            session.add(row)

    async def hook(
        self, url: str, stream: str | None = None, owner_id: int | None = None, events: Sequence[str] = ALL
    ) -> NewSecret:
        return await self.webhooks.create(owner_id, url, events, stream)

    async def happens(self, happening: Happening, stream: str = "main") -> Broadcast:
        """A broadcast's change, as the reconciler makes it."""
        self._count += 1
        row = Broadcast(
            id=f"b{self._count}",
            stream=stream,
            title="The title",
            status=Status.ENDED,
            stream_type="RTMP_STREAM",
            session="s",
            epoch=1,
            boot_id="boot",
            started_at=NOW,
            last_media_at=NOW,
            expires_at=NOW,
        )
        assert await self.broadcasts.apply([Change(None, row, happening)])
        return row

    async def rows(self) -> Sequence[WebhookDelivery]:
        async with self.database.session() as session:
            return (await session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.number))).all()

    async def told(self) -> set[str]:
        """Addresses that have a delivery."""
        by_id = {known.webhook.id: known.webhook.url for known in await self.webhooks.list()}
        return {by_id[row.webhook_id] for row in await self.rows()}

    @asynccontextmanager
    async def sending(self, client: OutboundClient) -> AsyncIterator[Sender]:
        sender = Sender(self.outbox, self.sealer, client, self.events, lambda: datetime.now(UTC) + self.ahead)
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def passes(self, duration: timedelta) -> None:
        self.ahead += duration
        self.outbox.changed.set()

    def heard(self) -> list[str]:
        return [event.event for event in self.events.reader(0).take()]


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(LOOPBACK) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def test_a_change_and_its_deliveries_are_one_transaction(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.hook("https://a/")
    row = await office.happens(Happening.STARTED)
    (delivery,) = await office.rows()
    told = json.loads(delivery.body)
    assert (told["type"], told["data"]["id"], told["data"]["title"]) == ("broadcast.started", row.id, "The title")
    assert datetime.fromisoformat(told["timestamp"]) <= datetime.now(UTC)

    async def broken(*_: object) -> None:
        raise OperationalError("planted", {}, Exception())

    broken_store = BroadcastStore(office.database, broken)
    for change in (
        Change(None, replace(row, id="b2", stream="other", status=Status.ON_AIR), Happening.STARTED),
        Change(row, replace(row, end_reason="planted"), Happening.ENDED),
    ):
        with pytest.raises(OperationalError):
            await broken_store.apply([change])
    (left,) = await office.broadcasts.newest(10)
    assert left.end_reason is None
    assert len(await office.rows()) == 1


async def test_a_change_that_is_not_made_tells_nobody(office: Office) -> None:
    await office.hook("https://a/")
    row = await office.happens(Happening.STARTED)
    stale = replace(row, epoch=99)
    assert await office.broadcasts.apply([Change(stale, stale, Happening.ENDED)]) == []
    assert len(await office.rows()) == 1


async def test_only_what_was_asked_for_is_put_in(office: Office) -> None:
    await office.hook("https://ended/", events=["broadcast.ended"])
    off = await office.hook("https://off/")
    await office.webhooks.change(off.webhook.id, enabled=False)
    for happening in Happening:
        await office.happens(happening)
    assert [row.event for row in await office.rows()] == ["broadcast.ended"]


async def test_each_owner_is_told_what_they_may_know(office: Office) -> None:
    ada, bob = await office.user("ada", "streamer"), await office.user("bob", "streamer")
    root, eve = await office.user("root", "admin"), await office.user("eve", "viewer")
    await office.stream("of-ada", ada)
    for name, owner in (("ada", ada), ("bob", bob), ("root", root), ("eve", eve), ("token", None)):
        await office.hook(f"https://{name}/stream", "of-ada", owner)
        await office.hook(f"https://{name}/all", None, owner)
    await office.hook("https://root/other", "other", root)
    await office.happens(Happening.STARTED, "of-ada")
    of_admins = {f"https://{name}/{what}" for name in ("root", "token") for what in ("stream", "all")}
    assert await office.told() == of_admins | {"https://ada/stream"}


async def test_health_is_for_administrators(office: Office) -> None:
    ada, root = await office.user("ada", "streamer"), await office.user("root", "admin")
    await office.hook("https://ada/", "of-ada", ada)
    await office.hook("https://root/", None, root)
    await office.outbox.put_alone("health.changed", {"status": "fail"})
    assert await office.told() == {"https://root/"}


@pytest.mark.parametrize("loss", ["owner", "role", "disabled"])
async def test_who_lost_the_right_is_told_nothing_more(office: Office, loss: str) -> None:
    ada, bob = await office.user("ada", "streamer"), await office.user("bob", "streamer")
    await office.stream("of-ada", ada)
    await office.hook("https://ada/", "of-ada", ada)
    async with office.database.session() as session:
        match loss:
            case "owner":
                await session.execute(update(Stream).values(owner_id=bob))
            case "role":
                await session.execute(update(User).values(role="viewer"))
            case "disabled":
                await session.execute(update(User).values(disabled=True))
    await office.happens(Happening.STARTED, "of-ada")
    assert await office.rows() == []


async def test_the_end_of_a_deleted_stream_is_still_told(office: Office) -> None:
    ada = await office.user("ada", "streamer")
    await office.hook("https://ada/", "gone", ada)
    await office.happens(Happening.ENDED, "gone")
    assert await office.told() == {"https://ada/"}


# --- how it is sent ---------------------------------------------------------------------------------------------------


async def test_messages_arrive_signed_and_in_order(office: Office, client: OutboundClient, receiver: Receiver) -> None:
    hook = await office.hook(receiver.url())
    async with office.sending(client) as sender:
        for happening in (Happening.STARTED, Happening.RECONNECTING, Happening.ENDED):
            await office.happens(happening)
        got = await receiver.wait_for(3)
        types = [message.verified_by(hook.secret)["type"] for message in got]
        assert types == ["broadcast.started", "broadcast.reconnecting", "broadcast.ended"]
        assert len({message.id for message in got}) == 3
        await wait_until(lambda: sender.statistics().delivered == 3, PATIENCE_S, "three to be recorded")
    assert [row.status for row in await office.rows()] == ["delivered"] * 3
    (known,) = await office.webhooks.list()
    assert known.last_delivery is not None
    assert known.last_delivery.attempts[0]["status_code"] == 204
    assert office.heard() == ["webhook_delivered"] * 3


async def recorded(office: Office, count: int) -> Sequence[WebhookDelivery]:
    """Waits until this many attempts are written down."""

    async def enough() -> Sequence[WebhookDelivery]:
        rows = await office.rows()
        return rows if sum(len(row.attempts) for row in rows) >= count else []

    return await wait_until(enough, PATIENCE_S, f"{count} attempts")


async def test_a_receiver_that_fails_twice_gets_the_same_message_again_and_the_next_waits(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    receiver.answers["/"] = [500, 302, 200]
    await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    await office.happens(Happening.ENDED)
    async with office.sending(client):
        await recorded(office, 1)
        office.passes(DELAYS[0] * 1.1)
        rows = await recorded(office, 2)
        assert [len(row.attempts) for row in rows] == [2, 0]
        office.passes(DELAYS[1] * 1.1)
        rows = await recorded(office, 4)
    assert [[one["status_code"] for one in row.attempts] for row in rows] == [[500, 302, 200], [200]]
    assert [message.id for message in receiver.messages] == [rows[0].id] * 3 + [rows[1].id]
    assert [row.status for row in rows] == ["delivered", "delivered"]


async def test_streams_do_not_wait_for_each_other(office: Office, client: OutboundClient, receiver: Receiver) -> None:
    receiver.answers["/"] = [500, 200]
    await office.hook(receiver.url())
    async with office.sending(client):
        await office.happens(Happening.STARTED, "a")
        await recorded(office, 1)
        await office.happens(Happening.STARTED, "b")
        rows = await recorded(office, 2)
    assert [(row.stream, row.status) for row in rows] == [("a", "pending"), ("b", "delivered")]


async def test_a_receiver_that_hangs_delays_no_other_and_no_broadcast(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    receiver.answers["/hangs"] = [HANG]
    await office.hook(receiver.url("/hangs"))
    await office.hook(receiver.url("/quick"))
    async with office.sending(client) as sender:
        for number in range(MAX_OF_ONE + 3):
            await asyncio.wait_for(office.happens(Happening.STARTED, f"s{number}"), PATIENCE_S)
        await receiver.wait_for(MAX_OF_ONE + 3, "/quick")
        await receiver.wait_for(MAX_OF_ONE, "/hangs")
        await wait_until(lambda: sender.statistics().in_flight == MAX_OF_ONE, PATIENCE_S, "the others to be done")
        assert len(receiver.at("/hangs")) == MAX_OF_ONE
        assert len(receiver.at("/quick")) == MAX_OF_ONE + 3


async def test_an_owner_whose_receivers_hang_leaves_room_for_others(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    receiver.answers["/hangs"] = [HANG]
    ada, bob = await office.user("ada", "admin"), await office.user("bob", "admin")
    for _ in range(MAX_IN_FLIGHT + 1):
        await office.hook(receiver.url("/hangs"), owner_id=ada)
    await office.happens(Happening.STARTED)
    await office.hook(receiver.url("/quick"), owner_id=bob)
    async with office.sending(client) as sender:
        await receiver.wait_for(MAX_OF_OWNER, "/hangs")
        await office.happens(Happening.STARTED, "other")
        await receiver.wait_for(1, "/quick")
        await wait_until(lambda: sender.statistics().in_flight == MAX_OF_OWNER, PATIENCE_S, "the other to be done")
        assert len(receiver.at("/hangs")) == MAX_OF_OWNER


async def test_a_receiver_that_is_gone_gets_nothing_more(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    receiver.answers["/"] = [410]
    hook = await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    await office.happens(Happening.ENDED)
    async with office.sending(client):
        await wait_until(lambda: "webhook_disabled" in office.heard(), PATIENCE_S, "the webhook to be switched off")
    assert not (await office.webhooks.get(hook.webhook.id)).enabled
    await office.happens(Happening.STARTED, "later")
    assert [row.status for row in await office.rows()] == ["failed", "failed"]
    assert len(receiver.messages) == 1


async def test_what_is_switched_off_is_not_made_up_for(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    hook = await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    await office.webhooks.change(hook.webhook.id, enabled=False)
    await office.webhooks.change(hook.webhook.id, enabled=True)
    await office.happens(Happening.ENDED)
    async with office.sending(client):
        (message,) = await receiver.wait_for(1)
    assert message.type == "broadcast.ended"


async def test_a_death_between_sending_and_writing_down_sends_it_again(
    office: Office, client: OutboundClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the same message, by the same `webhook-id`, so that a receiver can tell."""
    await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    with monkeypatch.context() as dying:

        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        dying.setattr(office.outbox, "record", never)
        async with office.sending(client):
            await receiver.wait_for(1)
    async with office.sending(client):
        first, second = await receiver.wait_for(2)
        await recorded(office, 1)
    assert (first.id, first.body) == (second.id, second.body)


async def test_a_database_that_cannot_be_written_sends_nothing_twice(
    office: Office, client: OutboundClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    record, failures = office.outbox.record, [OperationalError("planted", {}, Exception())]

    async def fail_once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await record(*arguments)

    monkeypatch.setattr("tallylight.webhooks.sender.RECORD_INTERVAL_S", 0)
    monkeypatch.setattr(office.outbox, "record", fail_once)
    async with office.sending(client):
        await recorded(office, 1)
    assert len(receiver.messages) == 1


async def test_what_was_delivered_while_the_outbox_was_read_is_not_sent_again(
    office: Office, client: OutboundClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    heads, record, reads = office.outbox.heads, office.outbox.record, _counter()
    read_while_sending, looked_again = asyncio.Event(), asyncio.Event()
    async with office.sending(client) as sender:

        async def slow_heads() -> Any:
            found = await heads()
            match reads():
                case 1:
                    office.outbox.changed.set()
                case 2:
                    assert len(found) == 1, "it is not written down yet"
                    read_while_sending.set()
                    await wait_until(lambda: sender.statistics().in_flight == 0, PATIENCE_S, "the delivery")
                case _:
                    looked_again.set()
            return found

        async def held_record(*arguments: Any) -> None:
            await read_while_sending.wait()
            await record(*arguments)

        monkeypatch.setattr(office.outbox, "heads", slow_heads)
        monkeypatch.setattr(office.outbox, "record", held_record)
        await asyncio.wait_for(looked_again.wait(), PATIENCE_S)
        assert sender.statistics().in_flight == 0
    assert len(receiver.messages) == 1


async def test_a_sender_that_cannot_read_goes_on_when_it_can(
    office: Office, client: OutboundClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.hook(receiver.url())
    heads, failures = office.outbox.heads, [OperationalError("planted", {}, Exception())]

    async def fail_once() -> Any:
        if failures:
            raise failures.pop()
        return await heads()

    monkeypatch.setattr("tallylight.webhooks.sender.RECORD_INTERVAL_S", 0)
    monkeypatch.setattr(office.outbox, "heads", fail_once)
    async with office.sending(client):
        await office.happens(Happening.STARTED)
        await receiver.wait_for(1)


async def test_a_private_address_is_refused_at_use_with_a_line_for_the_audit(
    office: Office, receiver: Receiver
) -> None:
    await office.hook(receiver.url())
    await office.happens(Happening.STARTED)
    async with OutboundClient() as strict, office.sending(strict):
        (row,) = await recorded(office, 1)
        await wait_until(lambda: len(office.heard()) == 2, PATIENCE_S, "the attempt to be told")
    assert (row.attempts[0]["error"], row.attempts[0]["status_code"]) == ("address_refused", None)
    assert office.heard() == ["webhook_address_refused", "webhook_attempt_failed"]
    assert receiver.connections == 0


async def test_a_lost_key_file_fails_deliveries_in_words(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    await office.hook(receiver.url())
    office.sealer = Sealer(bytes(32))
    await office.happens(Happening.STARTED)
    async with office.sending(client):
        (row,) = await recorded(office, 1)
    assert row.attempts[0]["error"] == "secret_unreadable"


async def test_a_message_does_not_get_the_result_of_a_deleted_one(office: Office) -> None:
    deleted, other = await office.hook("https://a/"), await office.hook("https://b/")
    await office.outbox.put_test(deleted.webhook.id)
    (head,) = await office.outbox.heads()
    await office.webhooks.delete(deleted.webhook.id)
    await office.outbox.put_test(other.webhook.id)  # SQLite gives it the same number
    await office.outbox.record(head.delivery, attempt(200), Verdict("delivered"))
    (row,) = await office.rows()
    assert (row.webhook_id, row.status, row.attempts) == (other.webhook.id, "pending", [])


async def test_a_bug_in_one_message_does_not_end_the_sender(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    broken, fine = await office.hook(receiver.url()), await office.hook(receiver.url())
    async with office.database.session() as session:
        await session.execute(update(Webhook).where(Webhook.id == broken.webhook.id).values(url="http://"))
    await office.happens(Happening.STARTED)
    async with office.sending(client):
        rows = await recorded(office, 2)
    told = {row.webhook_id: row.attempts[0]["error"] for row in rows}
    assert told == {broken.webhook.id: "url_invalid", fine.webhook.id: None}


async def test_a_test_message_is_tried_once_and_waits_for_nothing(
    office: Office, client: OutboundClient, receiver: Receiver
) -> None:
    receiver.answers["/"] = [500]
    hook = await office.hook(receiver.url())
    await office.outbox.put_alone("health.changed", {"status": "fail"})
    async with office.sending(client):
        await recorded(office, 1)
        await office.outbox.put_test(hook.webhook.id)
        rows = await recorded(office, 2)
    assert [(row.event, row.status) for row in rows] == [("health.changed", "pending"), ("webhook.test", "failed")]


async def test_one_test_at_a_time(office: Office, client: OutboundClient, receiver: Receiver) -> None:
    hook, other = await office.hook(receiver.url()), await office.hook(receiver.url())
    await office.outbox.put_test(hook.webhook.id)
    with pytest.raises(WebhookTestWaitsError):
        await office.outbox.put_test(hook.webhook.id)
    await office.outbox.put_test(other.webhook.id)
    async with office.sending(client):
        await recorded(office, 2)
    await office.outbox.put_test(hook.webhook.id)


async def many(office: Office, webhook_id: str, status: str, count: int) -> None:
    """So many deliveries at once."""
    rows = [
        WebhookDelivery(
            id=messages.new_message_id(),
            webhook_id=webhook_id,
            event="broadcast.started",
            body="{}",
            status=status,
            attempts=[],
            created_at=datetime.now(UTC),
        )
        for _ in range(count)
    ]
    async with office.database.session() as session:
        session.add_all(rows)


async def test_the_log_is_bounded(office: Office) -> None:
    hook, other = (await office.hook("https://a/")).webhook.id, (await office.hook("https://b/")).webhook.id
    await many(office, hook, "pending", MAX_DELIVERIES + 3)
    await many(office, other, "pending", 1)
    assert await office.outbox.prune(datetime.now(UTC)) == 3
    assert len(await office.outbox.deliveries(hook, 1000)) == MAX_DELIVERIES
    assert await office.outbox.prune(datetime.now(UTC) + MAX_AGE) == 0
    assert await office.rows() == []


async def test_what_was_delivered_pushes_out_nothing_that_waits(office: Office) -> None:
    hook = (await office.hook("https://a/")).webhook.id
    await many(office, hook, "pending", 1)
    await many(office, hook, "delivered", MAX_DELIVERIES)
    await many(office, hook, "failed", 2)
    assert await office.outbox.prune(datetime.now(UTC)) == 0
    left = [row.status for row in await office.rows()]
    assert left == ["pending"] + ["delivered"] * (MAX_DELIVERIES - 2) + ["failed"] * 2


async def test_deleting_a_webhook_or_its_owner_deletes_what_it_had(office: Office) -> None:
    ada = await office.user("ada", "admin")
    hook = await office.hook("https://a/")
    await office.hook("https://b/", owner_id=ada)
    await office.happens(Happening.STARTED)
    await office.webhooks.delete(hook.webhook.id)
    async with office.database.session() as session:
        user = await session.get(User, ada)
        await session.delete(user)
    assert await office.rows() == []
    assert await office.webhooks.list() == []


# --- health -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(office: Office, monkeypatch: pytest.MonkeyPatch, statuses: list[str]) -> AsyncIterator[None]:
    """A watch that has seen all these, one after the other; the last one stays."""
    monkeypatch.setattr(health_watch, "INTERVAL_S", 0)
    seen_all = asyncio.Event()

    async def look() -> dict[str, Any]:
        if len(statuses) > 1:
            return {"status": statuses.pop(0)}
        if look_at_last() == LOOKS:
            seen_all.set()
        return {"status": statuses[0]}

    look_at_last = _counter()
    task = asyncio.create_task(HealthWatch(look, office.outbox, office.events).run())
    await asyncio.wait_for(seen_all.wait(), PATIENCE_S)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _counter() -> Callable[[], int]:
    count = iter(range(1, 1 << 30))
    return lambda: next(count)


async def told_health(office: Office) -> list[tuple[str, str]]:
    bodies = [json.loads(row.body)["data"] for row in await office.rows()]
    return [(body["previous"], body["status"]) for body in bodies]


async def test_a_changed_health_is_told_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.hook("https://a/")
    async with watched(office, monkeypatch, ["pass", "fail", "fail", "fail", "warn", "pass"]):
        assert await told_health(office) == [("pass", "fail"), ("fail", "pass")]
    assert office.heard() == ["health_changed", "health_changed"]


async def test_a_restart_forgets_nothing_that_was_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.hook("https://a/")
    async with watched(office, monkeypatch, ["fail"]):
        assert await told_health(office) == [("pass", "fail")]
    async with watched(office, monkeypatch, ["fail", "pass"]):
        assert await told_health(office) == [("pass", "fail"), ("fail", "pass")]


async def test_a_change_that_cannot_be_written_is_told_later(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.hook("https://a/")
    put, failures = office.outbox.put_alone, [OperationalError("planted", {}, Exception())]

    async def fail_once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await put(*arguments)

    monkeypatch.setattr(office.outbox, "put_alone", fail_once)
    async with watched(office, monkeypatch, ["fail"]):
        assert await told_health(office) == [("pass", "fail")]
