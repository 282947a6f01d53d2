"""`/api/broadcasts`: each time on air, newest first; open to everybody."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from tallylight.api.control import ControlPlane
from tallylight.broadcasts.view import BroadcastView

router = APIRouter(prefix="/api/broadcasts", tags=["broadcasts"])

# A page of a history; more are asked for one by one.
MAX_LIMIT = 100

BroadcastId = Annotated[str, Path(max_length=64)]


class BroadcastList(BaseModel):
    """One page. `next`, when there may be more, is the value of `before` for the next page."""

    broadcasts: list[BroadcastView]
    next: str | None


@router.get("")
async def list_broadcasts(
    control: ControlPlane,
    stream: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    before: Annotated[str | None, Query(max_length=64)] = None,
) -> BroadcastList:
    """Broadcasts of one stream or of all, newest first."""
    found = await control.broadcasts.newest(limit, stream, before)
    now = datetime.now(UTC)
    return BroadcastList(
        broadcasts=[BroadcastView.of(broadcast, now) for broadcast in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/{broadcast_id}")
async def get_broadcast(broadcast_id: BroadcastId, control: ControlPlane) -> BroadcastView:
    """One broadcast."""
    return BroadcastView.of(await control.broadcasts.get(broadcast_id), datetime.now(UTC))
