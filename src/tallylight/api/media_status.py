"""`/api/media-status`, and the name that older clients ask for. Open to everybody: no addresses, no session ids."""

from fastapi import APIRouter

from tallylight.api.auth import WhoAsks
from tallylight.api.control import ControlPlane
from tallylight.api.models import Consumer, MediaStatus, Producer
from tallylight.api.problems import answers

router = APIRouter(prefix="/api", tags=["server"])


@router.get("/media-status", responses=answers("engine_away"))
@router.get("/mediasoup-status", responses=answers("engine_away"))
async def get_media_status(who: WhoAsks, control: ControlPlane) -> MediaStatus:
    """What moves media now: the engine's workers, what publishers send, and who watches by WebRTC.

    Of streams that one does not find in the list there is nothing here either.
    """
    health = await control.engine.health()
    streams = await control.engine.streams()
    sessions = await control.engine.sessions()
    listed = {stream.name for stream in await control.streams.all() if who.may_list(stream)}
    return MediaStatus(
        workers=list(health.workers),
        producers=[
            producer for name, stream in streams.items() if name in listed for producer in Producer.all_of(stream)
        ],
        consumers=[Consumer.of(session) for session in sessions if session.kind == "whep" and session.stream in listed],
    )
