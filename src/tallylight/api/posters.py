"""`/api/streams/NAME/poster`: a still picture of what was on air last."""

from fastapi import APIRouter
from fastapi.responses import Response

from tallylight.api.control import ControlPlane
from tallylight.api.problems import answers
from tallylight.api.stream_access import WatchableStream
from tallylight.errors import TallylightError
from tallylight.posters.store import POSTER_EVERY_S

router = APIRouter(prefix="/api/streams", tags=["streams"])


class PosterMissingError(TallylightError):
    def __init__(self, name: str) -> None:
        super().__init__("poster_missing", f"There is no picture of the stream {name!r}.", "It has one when on air.")


class PosterResponse(Response):
    media_type = "image/jpeg"


@router.get("/{name}/poster", response_class=PosterResponse, responses=answers("stream_unknown", "poster_missing"))
async def get_poster(stream: WatchableStream, control: ControlPlane) -> PosterResponse:
    """The newest picture as JPEG, 640 pixels wide; a new one every 10 s while on air, none after a day off air."""
    picture = await control.posters.read(stream.name, stream.created_at)
    if picture is None:
        raise PosterMissingError(stream.name)
    kept = f"max-age={POSTER_EVERY_S:.0f}" if stream.visibility != "private" else "private, no-store"
    return PosterResponse(picture, headers={"Cache-Control": kept})
