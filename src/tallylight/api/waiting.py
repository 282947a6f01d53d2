"""What is answered while the database is away at the start: that, in words, to everybody."""

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tallylight import __version__
from tallylight.api.health import HealthResponse
from tallylight.api.models import Check, Health
from tallylight.api.problems import ProblemResponse

HEALTH_PATHS = frozenset({"/api/health", "/internal/health"})


class WaitingApp:
    """Takes the place of both applications.

    Attributes:
        sentence: Why the database cannot be used now.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._health() if scope.get("path") in HEALTH_PATHS else self._refusal()
        await response(scope, receive, send)

    def _health(self) -> JSONResponse:
        checks = {"database": [Check(status="fail", output=self.sentence)]}
        health = Health(status="fail", version=__version__, checks=checks)
        return HealthResponse(health.model_dump(exclude_none=True), status_code=503)

    def _refusal(self) -> JSONResponse:
        return ProblemResponse("database_away", "The database does not answer yet. Try again.", {"Retry-After": "1"})
