"""`/api/streams`: reading is open to everybody, changing needs the admin token."""

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from tallylight.api.auth import AdminOnly
from tallylight.api.control import ControlPlane
from tallylight.api.models import NewStream, StreamList, StreamView, StreamWithKey
from tallylight.engine.models import off_air

router = APIRouter(prefix="/api/streams", tags=["streams"])

# Any text: a name that cannot exist is simply not found.
Name = Annotated[str, Path(max_length=256)]


@router.get("")
async def list_streams(control: ControlPlane) -> StreamList:
    """All streams by name, with what is on air now."""
    live = await control.engine.streams()
    streams = await control.streams.all()
    broadcasts = await control.broadcasts.open_ids()
    return StreamList(
        streams=[
            StreamView.of(stream, live.get(stream.name) or off_air(stream.name), broadcasts.get(stream.name))
            for stream in streams
        ]
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[AdminOnly])
async def create_stream(wanted: NewStream, control: ControlPlane, response: Response) -> StreamWithKey:
    """Makes a stream. The key is in this answer and nowhere else."""
    new = await control.streams.create(wanted.name, wanted.title)
    control.events.emit("stream_created", stream=new.stream.name)
    response.headers["Location"] = f"/api/streams/{new.stream.name}"
    return StreamWithKey.of(new)


@router.get("/{name}")
async def get_stream(name: Name, control: ControlPlane) -> StreamView:
    """One stream, on air or not."""
    stream = await control.streams.get(name)
    broadcast_id = (await control.broadcasts.open_ids()).get(name)
    return StreamView.of(stream, await control.engine.stream(name) or off_air(name), broadcast_id)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[AdminOnly])
async def delete_stream(name: Name, control: ControlPlane) -> None:
    """Deletes a stream with its key, and takes it off the air."""
    await control.streams.delete(name)
    control.events.emit("stream_deleted", stream=name)
    await control.take_off_air(name)


@router.post("/{name}/rotate-key", dependencies=[AdminOnly])
async def rotate_key(name: Name, control: ControlPlane) -> StreamWithKey:
    """Gives a stream a new key, and cuts its publisher: a key is changed because somebody else has it."""
    new = await control.streams.rotate_key(name)
    control.events.emit("stream_key_rotated", stream=name)
    await control.take_off_air(name)
    return StreamWithKey.of(new)
