"""`/api/streams`: reading is open to everybody, changing needs the admin token."""

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from tallylight.api.auth import AdminOnly
from tallylight.api.control import ControlPlane
from tallylight.api.models import NewStream, StreamList, StreamView, StreamWithKey

router = APIRouter(prefix="/api/streams", tags=["streams"])

# Any text: a name that cannot exist is simply not found.
Name = Annotated[str, Path(max_length=256)]


@router.get("")
async def list_streams(control: ControlPlane) -> StreamList:
    """All streams by name, with what is on air now."""
    return StreamList(streams=[StreamView.of(now) for now in await control.streams_now.all()])


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
    return StreamView.of(await control.streams_now.one(name))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[AdminOnly])
async def delete_stream(name: Name, control: ControlPlane) -> None:
    """Deletes a stream with its key, and takes it off the air."""
    await control.streams.delete(name)
    control.events.emit("stream_deleted", stream=name)
    await control.take_off_air(name)
    await control.posters.remove(name)


@router.post("/{name}/rotate-key", dependencies=[AdminOnly])
async def rotate_key(name: Name, control: ControlPlane) -> StreamWithKey:
    """Gives a stream a new key, and cuts its publisher: a key is changed because somebody else has it."""
    new = await control.streams.rotate_key(name)
    control.events.emit("stream_key_rotated", stream=name)
    await control.take_off_air(name, "key_rotated")
    return StreamWithKey.of(new)
