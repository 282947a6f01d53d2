"""`/api/health` and `/api/config`."""

from http import HTTPStatus

from fastapi import APIRouter

from tallylight import __version__
from tallylight.api.control import ControlPlane
from tallylight.api.health import HealthResponse, health_of
from tallylight.api.models import Health, IceServerAddresses, PageConfig, RtmpAddress

router = APIRouter(prefix="/api", tags=["server"])


@router.get(
    "/health",
    response_model=Health,
    response_class=HealthResponse,
    responses={503: {"model": Health, "description": "A part does not work"}},
)
async def get_health(control: ControlPlane) -> HealthResponse:
    """Whether every part works; 503 when one does not."""
    health = await health_of(control.database, control.engine)
    status = HTTPStatus.SERVICE_UNAVAILABLE if health.status == "fail" else HTTPStatus.OK
    return HealthResponse(health.model_dump(exclude_none=True), status_code=status)


@router.get("/config")
async def get_config(control: ControlPlane) -> PageConfig:
    """What pages need to know about this server."""
    settings = control.settings
    return PageConfig(
        version=__version__,
        ice_servers=[IceServerAddresses(urls=server.urls) for server in settings.ice_servers],
        rtmp=RtmpAddress(port=settings.rtmp_port),
    )
