"""A broadcast as everybody may see it: what the API answers and webhooks send."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel

from tallylight.broadcasts.lifecycle import Broadcast, Status, status_at


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
