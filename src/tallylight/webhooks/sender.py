"""Sends what is in the outbox: in order for each webhook and stream, again after a failure, never in anybody's way."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallylight.errors import TallylightError
from tallylight.events import EventLog
from tallylight.outbound import AddressRefusedError, OutboundClient, parse_url
from tallylight.sealing import Sealer
from tallylight.webhooks.messages import TEST_EVENT, signed_headers
from tallylight.webhooks.outbox import Head, Lane, Outbox
from tallylight.webhooks.retries import Attempt, Verdict, judge

log = structlog.get_logger()

# What Standard Webhooks recommends at least; a receiver should take the message now and work later.
DEADLINE_S = 15.0
# Connections at a time, of one owner, and of one webhook: who hangs on every stream leaves room for the others.
MAX_IN_FLIGHT = 32
MAX_OF_OWNER = 8
MAX_OF_ONE = 4
# What is put in wakes the sender at once; this is for a clock that was set.
POLL_S = 30.0
PRUNE_INTERVAL_S = 60.0
# Between two tries to write down what was sent. Until it is written nothing more goes to that lane.
RECORD_INTERVAL_S = 1.0


@dataclass(frozen=True)
class SenderStatistics:
    """Counted since the start of this process."""

    delivered: int
    attempts_failed: int
    given_up: int
    addresses_refused: int
    in_flight: int


class Sender:
    """One task that starts a task for each delivery that is due."""

    def __init__(
        self,
        outbox: Outbox,
        sealer: Sealer,
        client: OutboundClient,
        events: EventLog,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._outbox = outbox
        self._sealer = sealer
        self._client = client
        self._events = events
        self._clock = clock
        self._wake = outbox.changed
        # Ids of what was attempted while the outbox was being read: what was read of them is old.
        self._settled: set[str] = set()
        self._in_flight: dict[Lane, asyncio.Task[None]] = {}
        self._delivered = self._attempts_failed = self._given_up = self._addresses_refused = 0

    def statistics(self) -> SenderStatistics:
        return SenderStatistics(
            self._delivered,
            self._attempts_failed,
            self._given_up,
            self._addresses_refused,
            len(self._in_flight),
        )

    async def run(self) -> None:
        """Sends until cancelled. What is under way then is sent again after the next start."""
        failed = False
        pruned_at_s = time.monotonic()
        try:
            while True:
                self._wake.clear()
                try:
                    if time.monotonic() - pruned_at_s >= PRUNE_INTERVAL_S:
                        pruned_at_s = time.monotonic()
                        await self._prune()
                    wait_s = await self._start_due()
                    failed = False
                except SQLAlchemyError as error:
                    if not failed:
                        log.error("webhooks_not_read", cause=type(error).__name__)
                    failed, wait_s = True, RECORD_INTERVAL_S
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            tasks = list(self._in_flight.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_due(self) -> float:
        """Starts what is due; returns how long until the next is."""
        self._settled.clear()
        heads = await self._outbox.heads()
        now, wait_s = self._clock(), POLL_S
        for head in heads:
            if head.delivery.id in self._settled:
                continue
            due_in_s = ((head.delivery.next_attempt_at or now) - now).total_seconds()
            if due_in_s > 0:
                return min(wait_s, due_in_s)
            if head.lane not in self._in_flight and self._has_room(head.lane):
                task = asyncio.create_task(self._send(head))
                self._in_flight[head.lane] = task
        return wait_s

    def _has_room(self, wanted: Lane) -> bool:
        of_owner = sum(lane.owner_id == wanted.owner_id for lane in self._in_flight)
        of_one = sum(lane.webhook_id == wanted.webhook_id for lane in self._in_flight)
        return len(self._in_flight) < MAX_IN_FLIGHT and of_owner < MAX_OF_OWNER and of_one < MAX_OF_ONE

    async def _send(self, head: Head) -> None:
        try:
            attempt = await self._attempt(head)
            delivery = head.delivery
            verdict = judge(
                attempt,
                len(delivery.attempts) + 1,
                delivery.created_at,
                once=delivery.event == TEST_EVENT,
                chance=random.random(),  # noqa: S311 - spreads load, keeps no secret
            )
            await self._record(head, attempt, verdict)
            self._tell(head, attempt, verdict)
        finally:
            self._settled.add(head.delivery.id)
            del self._in_flight[head.lane]
            self._wake.set()

    async def _attempt(self, head: Head) -> Attempt:
        delivery, webhook = head.delivery, head.webhook
        at, start_s = self._clock(), time.monotonic()
        status_code = error_code = retry_after = None
        try:
            secret = self._sealer.open(webhook.sealed_secret, webhook.id)
            headers = signed_headers(delivery.id, at, delivery.body, secret)
            answer = await self._client.post(parse_url(webhook.url), delivery.body.encode(), headers, DEADLINE_S)
            status_code, retry_after = answer.status_code, answer.retry_after
        except TallylightError as error:
            error_code = error.code
            if isinstance(error, AddressRefusedError):
                self._refused(head, error)
        except Exception as error:
            log.error("webhook_send_broke", webhook=webhook.id, delivery=delivery.id, exc_info=error)
            error_code = "internal_error"
        return Attempt(at, status_code, error_code, round((time.monotonic() - start_s) * 1000), retry_after)

    async def _record(self, head: Head, attempt: Attempt, verdict: Verdict) -> None:
        failed = False
        while True:
            try:
                await self._outbox.record(head.delivery, attempt, verdict)
            except SQLAlchemyError as error:
                if not failed:
                    log.error("webhook_not_recorded", delivery=head.delivery.id, cause=type(error).__name__)
                failed = True
                await asyncio.sleep(RECORD_INTERVAL_S)
            else:
                return

    def _refused(self, head: Head, error: AddressRefusedError) -> None:
        self._addresses_refused += 1
        self._events.emit(
            "webhook_address_refused",
            stream=head.webhook.stream,
            webhook=head.webhook.id,
            host=error.host,
            reason=error.reason,
            during="use",
        )

    def _tell(self, head: Head, attempt: Attempt, verdict: Verdict) -> None:
        delivery = head.delivery
        facts = {
            "webhook": head.webhook.id,
            "delivery": delivery.id,
            "type": delivery.event,
            "attempt": len(delivery.attempts) + 1,
        }
        if verdict.status == "delivered":
            self._delivered += 1
            self._events.emit("webhook_delivered", stream=delivery.stream, **facts)
            return
        self._attempts_failed += 1
        facts |= {"status_code": attempt.status_code, "error": attempt.error}
        if verdict.next_attempt_at is not None:
            self._events.emit(
                "webhook_attempt_failed",
                stream=delivery.stream,
                next_attempt_at=verdict.next_attempt_at.isoformat(),
                **facts,
            )
            return
        self._given_up += 1
        self._events.emit("webhook_failed", stream=delivery.stream, **facts)
        if verdict.gone:
            self._events.emit("webhook_disabled", stream=head.webhook.stream, webhook=head.webhook.id)

    async def _prune(self) -> None:
        waiting = await self._outbox.prune(self._clock())
        if waiting:
            self._given_up += waiting
            self._events.emit("webhook_deliveries_dropped", count=waiting)
