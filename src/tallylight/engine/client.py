"""Requests to the engine over its Unix socket."""

import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import quote

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from tallylight.config import STREAM_NAME_PATTERN
from tallylight.engine.models import (
    EngineHealth,
    EngineProblem,
    PlaybackPolicy,
    Session,
    Sessions,
    Statistics,
    Streams,
    StreamStatus,
)
from tallylight.errors import TallylightError

log = structlog.get_logger()

# The engine answers from memory; a second without an answer means that it is gone or drowning.
REQUEST_TIMEOUT_S = 1.0
# A new policy is on the engine's disk before it answers.
POLICY_TIMEOUT_S = 5.0
# The engine closes publishers that stay silent for half of this, and the tap with them.
TAP_SILENCE_TIMEOUT_S = 30.0

_STREAM_NAME = re.compile(STREAM_NAME_PATTERN)

# What the publisher is told, and the reason of its broadcast's end.
CutReason = Literal["removed", "key_rotated"]

Model = TypeVar("Model", bound=BaseModel)


class EngineAwayError(TallylightError):
    """The engine does not answer, or not as agreed."""

    def __init__(self, cause: str) -> None:
        super().__init__("engine_away", f"The media engine does not answer ({cause}).", "Try again in a second.")


class NothingOnAirError(TallylightError):
    """There is no publisher, or no media, to do something with."""

    def __init__(self, message: str) -> None:
        super().__init__("nothing_on_air", message)


class TapRefusedError(TallylightError):
    """The engine has a reason of its own not to open a tap: `too_many_taps` or `codec_not_playable`."""


class EngineClient:
    """The engine's API. Holds a small pool of connections; close it, or use it as an async context manager."""

    def __init__(self, socket: Path) -> None:
        self._http = httpx.AsyncClient(
            # No TLS on a Unix socket: reading the system's authorities would cost more than the rest of this object.
            transport=httpx.AsyncHTTPTransport(uds=str(socket), verify=False),
            base_url="http://engine",
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """For the stream of events, which outlives a request's timeout."""
        return self._http

    async def health(self) -> EngineHealth:
        return _parse(EngineHealth, await self._get("/v1/health"))

    async def statistics(self) -> dict[str, float]:
        """The engine's counters and gauges by dotted name."""
        return _parse(Statistics, await self._get("/v1/statistics")).numbers()

    async def streams(self) -> dict[str, StreamStatus]:
        """Every stream that the engine has seen since its start, by name."""
        answer = _parse(Streams, await self._get("/v1/streams"))
        return {stream.name: stream for stream in answer.streams}

    async def stream(self, name: str) -> StreamStatus | None:
        """One stream, or None when the engine has never seen it. Any text may be asked for."""
        if not _STREAM_NAME.fullmatch(name):
            return None  # an empty one would ask for all streams
        response = await self._request("GET", f"/v1/streams/{quote(name, safe='')}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _parse(StreamStatus, _ok(response))

    async def cut_publisher(self, name: str, reason: CutReason = "removed") -> bool:
        """Takes a stream off the air, and says why; False when nothing was on air."""
        response = await self._request("DELETE", f"/v1/streams/{quote(name, safe='')}/publisher?reason={reason}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return False
        _ok(response)
        return True

    async def sessions(self) -> tuple[Session, ...]:
        """Every peer that is connected now."""
        return _parse(Sessions, await self._get("/v1/sessions")).sessions

    async def set_policy(self, policy: PlaybackPolicy) -> None:
        """Replaces the whole playback policy. In force when this returns, and kept for the engine's next start.

        An engine that could not keep it lets nobody watch after a restart until it is sent one, which happens then.
        """
        body = policy.model_dump(mode="json", exclude_none=True)
        response = await self._request("PUT", "/v1/policy", body, POLICY_TIMEOUT_S)
        if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            problem = _parse(EngineProblem, response.content)
            if problem.code == "policy_not_kept":
                log.error("playback_policy_not_kept", cause=problem.detail)
                return
        _ok(response)

    async def open_tap(self, name: str) -> httpx.Response | None:
        """The endless MP4 of a stream, which the caller reads and closes; None when nothing is on air.

        Raises:
            TapRefusedError: The engine will not, and says why.
        """
        path = f"/v1/streams/{quote(name, safe='')}/tap"
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S, read=TAP_SILENCE_TIMEOUT_S)
        try:
            response = await self._http.send(self._http.build_request("GET", path, timeout=timeout), stream=True)
        except httpx.HTTPError as error:
            raise EngineAwayError(type(error).__name__) from error
        if response.is_success:
            return response
        try:
            refusal = _parse(EngineProblem, await response.aread())
        except httpx.HTTPError as error:
            raise EngineAwayError(type(error).__name__) from error
        finally:
            await response.aclose()
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise TapRefusedError(refusal.code, refusal.detail)

    async def _get(self, path: str) -> bytes:
        return _ok(await self._request("GET", path))

    async def _request(
        self, method: str, path: str, body: object = None, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise EngineAwayError(type(error).__name__) from error


def _ok(response: httpx.Response) -> bytes:
    if not response.is_success:
        raise EngineAwayError(f"status {response.status_code}")
    return response.content


def _parse(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise EngineAwayError(f"its answer is not as agreed: {error.error_count()} fields") from error
