"""`/api/webhooks`: who is told of what happens. Administrators: of everything; streamers: of streams of their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

import httpx
from fastapi import APIRouter, Depends, Path, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field

from tallylight.accounts.identity import Identity
from tallylight.api.auth import NotAllowedError, needs
from tallylight.api.control import Control, ControlPlane
from tallylight.api.models import StreamName
from tallylight.api.problems import answers
from tallylight.db import Webhook, WebhookDelivery
from tallylight.errors import TallylightError
from tallylight.outbound import MAX_URL_LENGTH, AddressRefusedError, parse_url
from tallylight.streams.store import StreamUnknownError
from tallylight.webhooks.messages import SERVER_EVENTS, EventType
from tallylight.webhooks.outbox import MAX_DELIVERIES
from tallylight.webhooks.store import Known, NewSecret, WebhookUnknownError

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

Owner = Annotated[Identity, needs("webhooks")]
# A look-up that takes longer would also make the first delivery late.
CHECK_DEADLINE_S = 5.0

Url = Annotated[str, Field(max_length=MAX_URL_LENGTH, examples=["https://example.org/hooks/tallylight"])]
Events = Annotated[list[EventType], Field(min_length=1, max_length=16, examples=[["broadcast.started"]])]


class WebhookDisabledError(TallylightError):
    def __init__(self) -> None:
        super().__init__("webhook_disabled", "This webhook is switched off.", "Switch it on first.")


class NewWebhook(BaseModel):
    """Whom to tell of what; streamers name one of their streams."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Events
    stream: StreamName | None = None


class WebhookChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool | None = None
    events: Events | None = None
    url: Url | None = None


class AttemptView(BaseModel):
    """One try: the receiver's status code, or the code of an error when it gave none."""

    at: datetime
    status_code: int | None
    error: Annotated[str | None, Field(examples=["timeout"])]
    duration_ms: int


class DeliveryView(BaseModel):
    """One message, and what became of it. `id` is its `webhook-id`."""

    id: str
    event: str
    stream: str | None
    status: Literal["pending", "delivered", "failed"]
    attempts: list[AttemptView]
    created_at: datetime
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        return cls.model_validate(delivery, from_attributes=True)


class DeliveryList(BaseModel):
    deliveries: list[DeliveryView]


class WebhookView(BaseModel):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    stream: str | None
    enabled: bool
    created_at: datetime
    owner: str | None
    last_delivery: DeliveryView | None

    @classmethod
    def of(cls, known: Known) -> Self:
        webhook, last = known.webhook, known.last_delivery
        return cls(
            id=webhook.id,
            url=webhook.url,
            events=webhook.events.split(),
            stream=webhook.stream,
            enabled=webhook.enabled,
            created_at=webhook.created_at,
            owner=known.owner,
            last_delivery=None if last is None else DeliveryView.of(last),
        )


class WebhookWithSecret(WebhookView):
    """A webhook and the secret that signs what it is sent; never shown again."""

    secret: Annotated[str, Field(examples=["whsec_…"])]


class WebhookList(BaseModel):
    webhooks: list[WebhookView]


async def _own_webhook(webhook_id: Annotated[str, Path(max_length=64)], who: Owner, control: ControlPlane) -> Webhook:
    webhook = await control.webhooks.get(webhook_id)
    if who.role != "admin" and webhook.owner_id != who.user_id:
        # As if there were none: ids of others' webhooks are none of one's business.
        raise WebhookUnknownError(webhook_id)
    return webhook


OwnWebhook = Annotated[Webhook, Depends(_own_webhook)]


@router.get("")
async def list_webhooks(who: Owner, control: ControlPlane) -> WebhookList:
    """One's own webhooks; administrators see all."""
    found = await control.webhooks.list(None if who.role == "admin" else who.user_id)
    return WebhookList(webhooks=[WebhookView.of(known) for known in found])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=answers("stream_unknown", "url_invalid", "address_refused", "too_many_webhooks"),
)
async def create_webhook(
    wanted: NewWebhook, who: Owner, control: ControlPlane, response: Response
) -> WebhookWithSecret:
    """Makes a webhook. The secret that signs its messages is in this answer and nowhere else."""
    await _need_stream(who, wanted.stream, control)
    _need_events(who, wanted.events)
    url = await _checked(wanted.url, who, wanted.stream, control)
    new = await control.webhooks.create(who.user_id, str(url), dict.fromkeys(wanted.events), wanted.stream)
    control.events.emit("webhook_created", stream=wanted.stream, webhook=new.webhook.id, host=url.host, by=who.name)
    response.headers["Location"] = f"/api/webhooks/{new.webhook.id}"
    return await _with_secret(new, control)


@router.patch("/{webhook_id}", responses=answers("webhook_unknown", "url_invalid", "address_refused"))
async def change_webhook(change: WebhookChange, webhook: OwnWebhook, who: Owner, control: ControlPlane) -> WebhookView:
    """Switches a webhook on or off, or changes its events or address. Switching off forgets what still waits."""
    if change.events is not None:
        _need_events(who, change.events)
    url = None if change.url is None else str(await _checked(change.url, who, webhook.stream, control))
    events = None if change.events is None else dict.fromkeys(change.events)
    await control.webhooks.change(webhook.id, url=url, events=events, enabled=change.enabled)
    control.events.emit("webhook_changed", stream=webhook.stream, webhook=webhook.id, by=who.name)
    return WebhookView.of(await control.webhooks.known(webhook.id))


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, responses=answers("webhook_unknown"))
async def delete_webhook(webhook: OwnWebhook, who: Owner, control: ControlPlane) -> None:
    """Deletes a webhook with the log of its deliveries."""
    await control.webhooks.delete(webhook.id)
    control.events.emit("webhook_deleted", stream=webhook.stream, webhook=webhook.id, by=who.name)


@router.post(
    "/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    responses=answers("webhook_unknown", "webhook_disabled", "webhook_test_waits"),
)
async def send_test(webhook: OwnWebhook, control: ControlPlane) -> DeliveryView:
    """Sends a message of type `webhook.test`, once; the log of deliveries tells what became of it.

    One at a time: while a test is on its way, another is refused.
    """
    if not webhook.enabled:
        raise WebhookDisabledError
    return DeliveryView.of(await control.outbox.put_test(webhook.id))


@router.post("/{webhook_id}/rotate-secret", responses=answers("webhook_unknown"))
async def rotate_secret(webhook: OwnWebhook, who: Owner, control: ControlPlane) -> WebhookWithSecret:
    """Signs with a new secret from now on; the old one is worth nothing any more."""
    new = await control.webhooks.rotate_secret(webhook.id)
    control.events.emit("webhook_changed", stream=webhook.stream, webhook=webhook.id, by=who.name)
    return await _with_secret(new, control)


@router.get("/{webhook_id}/deliveries", responses=answers("webhook_unknown"))
async def list_deliveries(
    webhook: OwnWebhook, control: ControlPlane, limit: Annotated[int, Query(ge=1, le=MAX_DELIVERIES)] = 50
) -> DeliveryList:
    """What was sent and what waits, newest first."""
    found = await control.outbox.deliveries(webhook.id, limit)
    return DeliveryList(deliveries=[DeliveryView.of(delivery) for delivery in found])


async def _need_stream(who: Identity, name: str | None, control: Control) -> None:
    """Lets pass an administrator, and a streamer who names a stream of their own."""
    if name is None:
        if who.role != "admin":
            raise NotAllowedError("Webhooks for all streams are for the role admin; name one of your streams.")
        return
    stream = await control.streams.get(name)
    if who.role == "admin" or who.owns(stream):
        return
    if not who.may_watch(stream):
        raise StreamUnknownError(name)
    raise NotAllowedError("This stream belongs to somebody else; only its owner and administrators may do that.")


def _need_events(who: Identity, events: Sequence[EventType]) -> None:
    if who.role != "admin" and not SERVER_EVENTS.isdisjoint(events):
        raise NotAllowedError(f"These events are for the role admin: {', '.join(sorted(SERVER_EVENTS))}.")


async def _checked(text: str, who: Identity, stream: str | None, control: Control) -> httpx.URL:
    """The address, if a message could be sent there now; it is checked again at each delivery."""
    url = parse_url(text)
    try:
        await control.outbound.check(url, CHECK_DEADLINE_S)
    except AddressRefusedError as error:
        control.events.emit(
            "webhook_address_refused",
            stream=stream,
            webhook=None,
            host=error.host,
            reason=error.reason,
            during="save",
            by=who.name,
        )
        raise
    return url


async def _with_secret(new: NewSecret, control: Control) -> WebhookWithSecret:
    view = WebhookView.of(await control.webhooks.known(new.webhook.id))
    return WebhookWithSecret(**view.model_dump(), secret=new.secret)
