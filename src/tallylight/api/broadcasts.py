"""`/api/broadcasts`: each time on air, newest first; open to everybody."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from tallylight.api.control import ControlPlane
from tallylight.broadcasts.lifecycle import Broadcast, Status, status_at

router = APIRouter(prefix="/api/broadcasts", tags=["broadcasts"])

# A page of a history; more are asked for one by one.
MAX_LIMIT = 100

BroadcastId = Annotated[str, Path(max_length=64)]


class BroadcastView(BaseModel):
    """A broadcast as everybody may see it."""

    id: str
    stream: str
    title: str
    status: Status
    stream_type: str
    epoch: int
    started_at: datetime
    last_media_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    peak_viewers: int
    average_viewers: float

    @classmethod
    def of(cls, broadcast: Broadcast, now: datetime) -> Self:
        return cls(
            id=broadcast.id,
            stream=broadcast.stream,
            title=broadcast.title,
            status=status_at(broadcast, now),
            stream_type=broadcast.stream_type,
            epoch=broadcast.epoch,
            started_at=broadcast.started_at,
            last_media_at=broadcast.last_media_at,
            ended_at=broadcast.ended_at,
            end_reason=broadcast.end_reason,
            peak_viewers=broadcast.peak_viewers,
            average_viewers=round(broadcast.average_viewers, 2),
        )


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
