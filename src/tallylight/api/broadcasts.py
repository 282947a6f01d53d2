"""`/api/broadcasts`: each time on air, newest first; of the streams that one may see."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from tallylight.accounts.identity import Identity
from tallylight.api.auth import WhoAsks
from tallylight.api.control import Control, ControlPlane
from tallylight.api.problems import answers
from tallylight.broadcasts.store import BroadcastUnknownError
from tallylight.broadcasts.view import BroadcastView
from tallylight.db import Stream

router = APIRouter(prefix="/api/broadcasts", tags=["broadcasts"])

# A page of a history; more are asked for one by one.
MAX_LIMIT = 100

BroadcastId = Annotated[str, Path(max_length=64)]


class BroadcastList(BaseModel):
    """One page. `next`, when there may be more, is the value of `before` for the next page."""

    broadcasts: list[BroadcastView]
    next: str | None


@router.get("", responses=answers("broadcast_unknown"))
async def list_broadcasts(
    who: WhoAsks,
    control: ControlPlane,
    stream: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    before: Annotated[str | None, Query(max_length=64)] = None,
) -> BroadcastList:
    """Broadcasts of one stream or of all, newest first."""
    visible = await _visible(who, stream, control)
    ids = None if visible is None else [known.id for known in visible]
    found = await control.broadcasts.newest(limit, ids, stream=stream, before=before)
    now = datetime.now(UTC)
    return BroadcastList(
        broadcasts=[BroadcastView.of(broadcast, now) for broadcast in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/{broadcast_id}", responses=answers("broadcast_unknown"))
async def get_broadcast(broadcast_id: BroadcastId, who: WhoAsks, control: ControlPlane) -> BroadcastView:
    """One broadcast."""
    broadcast = await control.broadcasts.get(broadcast_id)
    visible = await _visible(who, broadcast.stream, control)
    # Of a deleted stream that had the same name, it is not of the one that may be seen.
    if visible is not None and not any(broadcast.started_at >= stream.created_at for stream in visible):
        raise BroadcastUnknownError(broadcast_id)
    return BroadcastView.of(broadcast, datetime.now(UTC))


async def _visible(who: Identity, stream: str | None, control: Control) -> Sequence[Stream] | None:
    """Streams whose broadcasts may be seen, of this name or all; None for no limit, also of streams that are gone.

    Who names a stream sees an unlisted one as well.
    """
    if who.role == "admin" and "read" in who.scopes:
        return None
    streams = await control.streams.all()
    if stream is None:
        return [known for known in streams if who.may_list(known)]
    return [known for known in streams if known.name == stream and who.may_watch(known)]
