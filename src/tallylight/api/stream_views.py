"""Puts together what is shown of streams: the engine's figures, the database's facts, and the past of publishers."""

from collections.abc import Sequence

from tallylight.accounts.identity import Identity
from tallylight.api.control import Control
from tallylight.api.models import LastPublisher, RefusalView, StreamDetails, StreamView
from tallylight.broadcasts.lifecycle import Broadcast
from tallylight.db import Stream
from tallylight.streams.sentences import ended_sentence


async def views_for(who: Identity, streams: Sequence[Stream], control: Control) -> list[StreamView]:
    """Streams as this asker sees them, with what is on air now."""
    details = await details_of([stream for stream in streams if who.may_inspect(stream)], control)
    return [StreamView.of(now, who, details.get(now.stream.name)) for now in await control.streams_now.of(streams)]


async def details_of(streams: Sequence[Stream], control: Control) -> dict[str, StreamDetails]:
    """What those see who manage these streams, by name."""
    if not streams:
        return {}
    owners = await control.accounts.users.names()
    names = [stream.name for stream in streams]
    past = await control.broadcasts.last_off_air(names)
    return {stream.name: _details(stream, owners, past.get(stream.name), control) for stream in streams}


def _details(stream: Stream, owners: dict[int, str], past: Broadcast | None, control: Control) -> StreamDetails:
    refusals = control.publishers.refusals(stream.name, stream.created_at)
    return StreamDetails(
        owner=None if stream.owner_id is None else owners.get(stream.owner_id),
        key_created_at=stream.key_created_at,
        last_publisher=_last_publisher(stream, past, control),
        refusals=[
            RefusalView(at=refusal.at, protocol=refusal.protocol, code=refusal.code, message=refusal.message)
            for refusal in refusals
        ],
    )


def _last_publisher(stream: Stream, past: Broadcast | None, control: Control) -> LastPublisher | None:
    heard = control.publishers.last(stream.name, stream.created_at)
    if heard is not None:
        return LastPublisher(ended_at=heard.at, code=heard.code, sentence=heard.sentence)
    if past is None or past.end_reason is None or past.last_media_at < stream.created_at:
        return None
    return LastPublisher(ended_at=past.last_media_at, code=past.end_reason, sentence=ended_sentence(past.end_reason))
