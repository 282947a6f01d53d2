"""`/api/streams`: who may see a stream reads it; owners and administrators change it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Response, status

from tallylight.accounts.identity import Identity
from tallylight.api.auth import NotAllowedError, WhoAsks, needs
from tallylight.api.control import Control, ControlPlane
from tallylight.api.models import (
    NewStream,
    PlaybackToken,
    PlaybackTokenWanted,
    SessionList,
    SessionView,
    StreamChange,
    StreamList,
    StreamSettings,
    StreamView,
    StreamWithKey,
)
from tallylight.api.problems import answers
from tallylight.api.stream_access import EditableStream, InspectableStream, WatchableStream, need_editor
from tallylight.api.stream_report import StreamReportView, stream_report
from tallylight.api.stream_views import views_for
from tallylight.engine.client import NothingOnAirError
from tallylight.events.log import SESSION_SHOWN
from tallylight.streams import playback

router = APIRouter(prefix="/api/streams", tags=["streams"])

# More than a person runs; administrators have no limit.
MAX_STREAMS_OF_STREAMER = 100

Editor = Annotated[Identity, needs("streams")]


@router.get("", responses=answers("engine_away"))
async def list_streams(who: WhoAsks, control: ControlPlane) -> StreamList:
    """Streams by name, with what is on air now: public ones, one's own, and others that one may see."""
    visible = [stream for stream in await control.streams.all() if who.may_list(stream)]
    return StreamList(streams=await views_for(who, visible, control))


@router.post("", status_code=status.HTTP_201_CREATED, responses=answers("stream_exists", "too_many_streams"))
async def create_stream(wanted: NewStream, who: Editor, control: ControlPlane, response: Response) -> StreamWithKey:
    """Makes a stream of one's own. The key is in this answer and nowhere else."""
    new = await control.streams.create(
        wanted.name,
        wanted.title,
        description=wanted.description,
        visibility=wanted.visibility,
        owner_id=who.user_id,
        limit=None if who.role == "admin" else MAX_STREAMS_OF_STREAMER,
    )
    control.events.emit("stream_created", stream=new.stream.name)
    await control.policy.push()
    response.headers["Location"] = f"/api/streams/{new.stream.name}"
    return StreamWithKey.of(new)


@router.get("/{name}", responses=answers("stream_unknown", "engine_away"))
async def get_stream(stream: WatchableStream, who: WhoAsks, control: ControlPlane) -> StreamView:
    """One stream, on air or not."""
    return (await views_for(who, [stream], control))[0]


@router.patch("/{name}", responses=answers("stream_unknown", "user_unknown"))
async def change_stream(
    change: StreamChange, stream: EditableStream, who: Editor, control: ControlPlane
) -> StreamSettings:
    """Changes what people see of a stream, who may watch it, and whose it is.

    Who watches a stream that becomes private is sent away. A stream that is taken from its owner goes off the air, with
    a key that nobody has and no valid playback token; its new owner rotates the key to see one.
    """
    values = change.model_dump(exclude_none=True, exclude={"owner"})
    if "owner" in change.model_fields_set:
        values["owner_id"] = await _owner_id(change.owner, who, control)
    changed = await control.streams.change(stream.name, **values)
    if stream.visibility == "private" != changed.stream.visibility:
        # It shows what was not for everybody; while on air there is another within seconds.
        await control.posters.remove(stream.name)
    control.events.emit("stream_changed", stream=stream.name, changed=sorted(change.model_fields_set))
    if changed.key_rotated:
        control.events.emit("stream_key_rotated", stream=stream.name)
        await control.take_off_air(stream.name, "key_rotated")
    await control.policy.push()
    return StreamSettings.of(changed.stream, await control.accounts.users.names())


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, responses=answers("stream_unknown"))
async def delete_stream(stream: EditableStream, control: ControlPlane) -> None:
    """Deletes a stream with its key, and takes it off the air."""
    await control.streams.delete(stream.name)
    control.events.emit("stream_deleted", stream=stream.name)
    await control.take_off_air(stream.name)
    await control.policy.push()
    await control.posters.remove(stream.name)


@router.post("/{name}/rotate-key", responses=answers("stream_unknown"))
async def rotate_key(stream: EditableStream, control: ControlPlane) -> StreamWithKey:
    """Gives a stream a new key, and cuts its publisher: a key is changed because somebody else has it."""
    new = await control.streams.rotate_key(stream.name)
    control.events.emit("stream_key_rotated", stream=stream.name)
    await control.take_off_air(stream.name, "key_rotated")
    return StreamWithKey.of(new)


@router.delete(
    "/{name}/publisher",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers("stream_unknown", "nothing_on_air", "engine_away"),
)
async def cut_publisher(stream: EditableStream, control: ControlPlane) -> None:
    """Takes a stream off the air. Its key stays: an encoder that tries again is let in."""
    if not await control.engine.cut_publisher(stream.name, "removed"):
        raise NothingOnAirError("Nobody publishes to this stream.")


@router.post("/{name}/playback-token", responses=answers("stream_unknown", "sign_in_needed", "not_allowed"))
async def make_playback_token(
    stream: WatchableStream, who: WhoAsks, wanted: PlaybackTokenWanted | None = None
) -> PlaybackToken:
    """A token for watching a private stream, for a player or a link."""
    ttl_s = playback.DEFAULT_TTL_S if wanted is None else wanted.ttl_s
    if ttl_s > playback.DEFAULT_TTL_S:
        need_editor(who, stream)
    token, expires_at = playback.sign(stream, datetime.now(UTC), ttl_s)
    return PlaybackToken(
        token=token,
        expires_at=expires_at,
        watch_url=f"/watch/{stream.name}?token={token}",
        hls_url=f"/hls/{stream.name}/index.m3u8?token={token}",
        whep_url=f"/whep/{stream.name}?token={token}",
    )


@router.post(
    "/{name}/revoke-playback-tokens",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers("stream_unknown"),
)
async def revoke_playback_tokens(stream: EditableStream, control: ControlPlane) -> None:
    """Makes every playback token of this stream void, and sends away who watches with one."""
    await control.streams.void_playback_tokens(stream.name)
    control.events.emit("playback_tokens_revoked", stream=stream.name)
    await control.policy.push()


@router.get("/{name}/sessions", responses=answers("stream_unknown", "engine_away"))
async def list_sessions(stream: InspectableStream, who: WhoAsks, control: ControlPlane) -> SessionList:
    """Who publishes and who watches now, without telling who that is."""
    found = [session for session in await control.engine.sessions() if session.stream == stream.name]
    return SessionList(
        sessions=[
            SessionView(
                id=session.id[:SESSION_SHOWN],
                kind=session.kind,
                state=session.state,
                age_s=session.age_s,
                bytes=session.bytes,
                packets=session.packets,
                remote=session.remote if who.is_admin else None,
            )
            for session in found
        ]
    )


@router.get("/{name}/status", responses=answers("stream_unknown"))
async def get_status(stream: InspectableStream, control: ControlPlane) -> StreamReportView:
    """Every link of the stream's chain, who is connected and what processes it; what is broken, and what to do."""
    return (await stream_report(control, stream.name)).without_addresses()


async def _owner_id(name: str | None, who: Identity, control: Control) -> int | None:
    if not who.is_admin:
        raise NotAllowedError("Giving a stream to somebody is for the role admin, with a token of the scope admin.")
    return None if name is None else (await control.accounts.users.get(name)).id
