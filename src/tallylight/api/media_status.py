"""`/api/media-status`, and the name that older clients ask for. Open to everybody: no addresses, no session ids."""

from fastapi import APIRouter

from tallylight.api.control import ControlPlane
from tallylight.api.models import Consumer, MediaStatus, Producer

router = APIRouter(prefix="/api", tags=["server"])


@router.get("/media-status")
@router.get("/mediasoup-status")
async def get_media_status(control: ControlPlane) -> MediaStatus:
    """What moves media now: the engine's workers, what publishers send, and who watches by WebRTC."""
    health = await control.engine.health()
    streams = await control.engine.streams()
    sessions = await control.engine.sessions()
    return MediaStatus(
        workers=list(health.workers),
        producers=[producer for stream in streams.values() for producer in Producer.all_of(stream)],
        consumers=[Consumer.of(session) for session in sessions if session.kind == "whep"],
    )
