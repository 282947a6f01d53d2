"""`/engine/*`: what only the engine may ask, over the Unix socket."""

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from tallylight.api.control import ControlPlane
from tallylight.engine.models import AdmissionAnswer, AdmissionQuestion


def refuse_forwarded(request: Request) -> None:
    """The front never passes /engine on, and marks all it passes; so a marked request here is a hole in the front."""
    if "x-forwarded-for" in request.headers:
        raise HTTPException(404)


router = APIRouter(prefix="/engine", include_in_schema=False)


@router.post("/admission")
async def admission(question: AdmissionQuestion, request: Request, control: ControlPlane) -> AdmissionAnswer:
    """May this publisher go on air?"""
    refuse_forwarded(request)
    return await control.admission.decide(question)
