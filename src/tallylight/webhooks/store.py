"""Webhooks in the database."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.db import Database, User, Webhook, WebhookDelivery
from tallylight.errors import TallylightError
from tallylight.sealing import Sealer
from tallylight.webhooks.messages import new_secret, secret_as_text
from tallylight.webhooks.outbox import forget_pending

# Each event is a row for each of them.
MAX_WEBHOOKS = 50


class WebhookUnknownError(TallylightError):
    def __init__(self, webhook_id: str) -> None:
        super().__init__("webhook_unknown", f"There is no webhook {webhook_id!r}.")


class TooManyWebhooksError(TallylightError):
    def __init__(self) -> None:
        super().__init__(
            "too_many_webhooks", f"One account has at most {MAX_WEBHOOKS} webhooks.", "Delete one that is not needed."
        )


@dataclass(frozen=True)
class Known:
    """A webhook, its owner's name, and the newest delivery."""

    webhook: Webhook
    owner: str | None
    last_delivery: WebhookDelivery | None


@dataclass(frozen=True)
class NewSecret:
    """A webhook with its secret in plain text: the only moment anybody can see it."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"NewSecret(webhook={self.webhook.id!r})"


class WebhookStore:
    """Creates, finds, changes and deletes webhooks. Who may do that is decided before."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def list(self, owner_id: int | None = None) -> Sequence[Known]:
        """One account's webhooks, or all of them; oldest first."""
        query = select(Webhook, User.name).outerjoin(User, Webhook.owner_id == User.id)
        query = query.order_by(Webhook.created_at, Webhook.id)
        if owner_id is not None:
            query = query.where(Webhook.owner_id == owner_id)
        newest = select(func.max(WebhookDelivery.number)).group_by(WebhookDelivery.webhook_id)
        async with self._database.session() as session:
            found = (await session.execute(query)).all()
            deliveries = await session.scalars(select(WebhookDelivery).where(WebhookDelivery.number.in_(newest)))
            last = {delivery.webhook_id: delivery for delivery in deliveries}
        return [Known(webhook, owner, last.get(webhook.id)) for webhook, owner in found]

    async def known(self, webhook_id: str) -> Known:
        """Raises WebhookUnknownError."""
        newest = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        async with self._database.session() as session:
            webhook = await _find(session, webhook_id)
            owner = await session.scalar(select(User.name).where(User.id == webhook.owner_id))
            last = await session.scalar(newest.order_by(WebhookDelivery.number.desc()).limit(1))
        return Known(webhook, owner, last)

    async def get(self, webhook_id: str) -> Webhook:
        """Raises WebhookUnknownError."""
        async with self._database.session() as session:
            return await _find(session, webhook_id)

    async def create(self, owner_id: int | None, url: str, events: Iterable[str], stream: str | None) -> NewSecret:
        """Raises TooManyWebhooksError."""
        webhook_id, secret = uuid.uuid4().hex, new_secret()
        webhook = Webhook(
            id=webhook_id,
            owner_id=owner_id,
            url=url,
            events=" ".join(events),
            stream=stream,
            enabled=True,
            sealed_secret=self._sealer.seal(secret, webhook_id),
            created_at=datetime.now(UTC),
        )
        async with self._database.session() as session:
            owned = select(func.count()).select_from(Webhook).where(Webhook.owner_id.is_not_distinct_from(owner_id))
            if (await session.scalar(owned) or 0) >= MAX_WEBHOOKS:
                raise TooManyWebhooksError
            session.add(webhook)
        return NewSecret(webhook, secret_as_text(secret))

    async def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is given. What still waits is forgotten when it is switched off. Raises WebhookUnknownError."""
        async with self._database.session() as session:
            webhook = await _find(session, webhook_id)
            webhook.url = webhook.url if url is None else url
            webhook.events = webhook.events if events is None else " ".join(events)
            webhook.enabled = webhook.enabled if enabled is None else enabled
            if not webhook.enabled:
                await forget_pending(session, webhook_id)
        return webhook

    async def rotate_secret(self, webhook_id: str) -> NewSecret:
        """Signs with a new secret from now on. Raises WebhookUnknownError."""
        secret = new_secret()
        async with self._database.session() as session:
            webhook = await _find(session, webhook_id)
            webhook.sealed_secret = self._sealer.seal(secret, webhook_id)
        return NewSecret(webhook, secret_as_text(secret))

    async def delete(self, webhook_id: str) -> None:
        """With its deliveries. Raises WebhookUnknownError."""
        async with self._database.session() as session:
            found = await session.scalar(delete(Webhook).where(Webhook.id == webhook_id).returning(Webhook.id))
        if found is None:
            raise WebhookUnknownError(webhook_id)


async def _find(session: AsyncSession, webhook_id: str) -> Webhook:
    webhook = await session.get(Webhook, webhook_id)
    if webhook is None:
        raise WebhookUnknownError(webhook_id)
    return webhook
