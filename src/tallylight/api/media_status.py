"""`/api/media-status`, and the name that older clients ask for. Open to everybody: no addresses, no session ids."""

from fastapi import APIRouter

from tallylight.api.auth import WhoAsks
from tallylight.api.control import ControlPlane
from tallylight.api.models import Consumer, MediaStatus, Producer
from tallylight.api.problems import answers
from tallylight.engine.models import Worker
from tallylight.telemetry.sampler import Sample

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
    newest = control.sampler.history[-1] if control.sampler.history else None
    listed = {stream.name for stream in await control.streams.all() if who.may_list(stream)}
    return MediaStatus(
        workers=[_with_load_of_now(worker, newest) for worker in health.workers],
        producers=[
            producer for name, stream in streams.items() if name in listed for producer in Producer.all_of(stream)
        ],
        consumers=[Consumer.of(session) for session in sessions if session.kind == "whep" and session.stream in listed],
    )


def _with_load_of_now(worker: Worker, newest: Sample | None) -> Worker:
    """The engine knows its mean load since its start; of interest is that of the last seconds."""
    load = None if newest is None else newest.engine_load
    return worker if load is None else worker.model_copy(update={"load": round(load, 2)})
