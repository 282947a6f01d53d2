"""What is to be delivered, and what was: rows, written together with the change that they tell of."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, event, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.broadcasts.lifecycle import Change
from tallylight.broadcasts.view import BroadcastView
from tallylight.db import Database, Stream, User, Webhook, WebhookDelivery
from tallylight.errors import TallylightError
from tallylight.webhooks.messages import OF_HAPPENING, TEST_EVENT, EventType, body, new_message_id
from tallylight.webhooks.retries import Attempt, Verdict

# Of one webhook, what waits and what has ended counted apart: older deliveries are forgotten.
MAX_DELIVERIES = 200
MAX_AGE = timedelta(days=30)
# What one look takes up: far more than are sent at a time.
MAX_HEADS = 500


class WebhookTestWaitsError(TallylightError):
    """One test at a time: more of them tell nothing new, and would take the place of others' messages."""

    def __init__(self) -> None:
        super().__init__(
            "webhook_test_waits", "A test of this webhook is still on its way.", "The log of deliveries tells its end."
        )


class Lane(NamedTuple):
    """Deliveries of one lane are sent one after the other; a test waits for nothing but other tests."""

    owner_id: int | None
    webhook_id: str
    stream: str | None
    is_test: bool


@dataclass(frozen=True)
class Head:
    """The delivery that goes next in its lane, and where to."""

    delivery: WebhookDelivery
    webhook: Webhook

    @property
    def lane(self) -> Lane:
        return Lane(self.webhook.owner_id, self.webhook.id, self.delivery.stream, self.delivery.event == TEST_EVENT)


class Outbox:
    """Puts events in, hands out what goes next, and keeps what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Set whenever something new is there.
        self.changed = asyncio.Event()

    async def put_change(self, session: AsyncSession, change: Change) -> None:
        """Adds what is to be told of a broadcast's change."""
        if change.happening in OF_HAPPENING:
            shown = BroadcastView.of(change.after, datetime.now(UTC)).model_dump(mode="json")
            await self.put(session, OF_HAPPENING[change.happening], change.after.stream, shown)

    async def put(
        self, session: AsyncSession, event_type: EventType, stream: str | None, data: Mapping[str, Any]
    ) -> None:
        """Adds a delivery for each webhook that wants this event and whose owner may know it.

        Args:
            session: The transaction of the change itself: both are kept, or neither.
        """
        query = select(Webhook).outerjoin(User, Webhook.owner_id == User.id)
        query = query.outerjoin(Stream, Stream.name == stream).where(Webhook.enabled, _may_know(stream))
        now = datetime.now(UTC)
        text = body(event_type, now, data)
        for webhook in await session.scalars(query):
            if event_type in webhook.events.split():
                self._add(session, _delivery(webhook.id, event_type, stream, text, now))

    async def put_alone(self, event_type: EventType, data: Mapping[str, Any]) -> None:
        """An event of the whole server, in a transaction of its own."""
        async with self._database.session() as session:
            await self.put(session, event_type, None, data)

    async def put_test(self, webhook_id: str) -> WebhookDelivery:
        """A message whose only purpose is to arrive; it is tried once. Raises WebhookTestWaitsError."""
        now = datetime.now(UTC)
        delivery = _delivery(webhook_id, TEST_EVENT, None, body(TEST_EVENT, now, {"webhook": webhook_id}), now)
        of_webhook = and_(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.event == TEST_EVENT)
        waits = select(WebhookDelivery.number).where(of_webhook, WebhookDelivery.status == "pending").limit(1)
        async with self._database.session() as session:
            if await session.scalar(waits) is not None:
                raise WebhookTestWaitsError
            self._add(session, delivery)
        return delivery

    async def heads(self) -> Sequence[Head]:
        """The first pending delivery of each lane, soonest first."""
        pending, is_test = WebhookDelivery.status == "pending", WebhookDelivery.event == TEST_EVENT
        first = (
            select(func.min(WebhookDelivery.number))
            .where(pending)
            .group_by(WebhookDelivery.webhook_id, WebhookDelivery.stream, is_test)
        )
        query = select(WebhookDelivery, Webhook).join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        query = query.where(WebhookDelivery.number.in_(first), Webhook.enabled)
        query = query.order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.number).limit(MAX_HEADS)
        async with self._database.session() as session:
            return [Head(delivery, webhook) for delivery, webhook in await session.execute(query)]

    async def record(self, delivery: WebhookDelivery, attempt: Attempt, verdict: Verdict) -> None:
        """Keeps what became of an attempt. A receiver that is gone gets nothing more."""
        told = {
            "at": attempt.at.isoformat(),
            "status_code": attempt.status_code,
            "error": attempt.error,
            "duration_ms": attempt.duration_ms,
        }
        values = {"status": verdict.status, "next_attempt_at": verdict.next_attempt_at}
        async with self._database.session() as session:
            await session.execute(
                update(WebhookDelivery)
                # Not by its number: SQLite gives that of a deleted newest row to the next one.
                .where(WebhookDelivery.id == delivery.id, WebhookDelivery.status == "pending")
                .values(**values, attempts=[*delivery.attempts, told])
            )
            if verdict.gone:
                await session.execute(update(Webhook).where(Webhook.id == delivery.webhook_id).values(enabled=False))
                await forget_pending(session, delivery.webhook_id)

    async def deliveries(self, webhook_id: str, limit: int) -> Sequence[WebhookDelivery]:
        """Newest first."""
        query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        async with self._database.session() as session:
            return (await session.scalars(query.order_by(WebhookDelivery.number.desc()).limit(limit))).all()

    async def newest_body(self, event_type: EventType) -> str | None:
        """The text of the event of this type that was put in last."""
        query = select(WebhookDelivery.body).where(WebhookDelivery.event == event_type)
        async with self._database.session() as session:
            return await session.scalar(query.order_by(WebhookDelivery.number.desc()).limit(1))

    async def prune(self, now: datetime) -> int:
        """Forgets what is older or more than is kept; returns how many deliveries had still been waiting."""
        waiting = 0
        async with self._database.session() as session:
            await session.execute(delete(WebhookDelivery).where(WebhookDelivery.created_at < now - MAX_AGE))
            for webhook_id in (await session.scalars(select(Webhook.id))).all():
                of_webhook = WebhookDelivery.webhook_id == webhook_id
                waiting += await _keep_newest(session, and_(of_webhook, WebhookDelivery.status == "pending"))
                await _keep_newest(session, and_(of_webhook, WebhookDelivery.status != "pending"))
        return waiting

    def _add(self, session: AsyncSession, delivery: WebhookDelivery) -> None:
        session.add(delivery)
        # Not earlier: whoever looks must find it.
        event.listen(session.sync_session, "after_commit", lambda _session: self.changed.set(), once=True)


async def forget_pending(session: AsyncSession, webhook_id: str) -> None:
    """Gives up what still waits for a webhook."""
    pending = and_(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.status == "pending")
    await session.execute(update(WebhookDelivery).where(pending).values(status="failed", next_attempt_at=None))


async def _keep_newest(session: AsyncSession, kind: ColumnElement[bool]) -> int:
    """Deletes all but the newest of one kind that are kept; returns how many that were."""
    numbers = select(WebhookDelivery.number).where(kind).order_by(WebhookDelivery.number.desc())
    newest_gone = await session.scalar(numbers.offset(MAX_DELIVERIES).limit(1))
    if newest_gone is None:
        return 0
    gone = delete(WebhookDelivery).where(kind, WebhookDelivery.number <= newest_gone)
    return len((await session.scalars(gone.returning(WebhookDelivery.number))).all())


def _may_know(stream: str | None) -> ColumnElement[bool]:
    """Whether the webhook's owner may know what happens on this stream, today and not only when it was made.

    A stream that was deleted has no other owner yet: its last event still goes out.
    """
    of_all = or_(Webhook.owner_id.is_(None), and_(User.role == "admin", User.disabled.is_(False)))
    if stream is None:
        return of_all
    of_own = and_(
        User.role == "streamer",
        User.disabled.is_(False),
        Webhook.stream.is_not(None),
        or_(Stream.id.is_(None), Stream.owner_id == Webhook.owner_id),
    )
    return and_(or_(Webhook.stream.is_(None), Webhook.stream == stream), or_(of_all, of_own))


def _delivery(webhook_id: str, event_type: str, stream: str | None, text: str, now: datetime) -> WebhookDelivery:
    return WebhookDelivery(
        id=new_message_id(),
        webhook_id=webhook_id,
        event=event_type,
        stream=stream,
        body=text,
        status="pending",
        attempts=[],
        created_at=now,
        next_attempt_at=now,
    )
