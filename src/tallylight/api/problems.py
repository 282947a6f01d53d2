"""Errors at the HTTP edge: one table from codes to statuses, and problem documents (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from tallylight.api.auth import TokenError
from tallylight.config import FIELD_RULES
from tallylight.errors import TallylightError

log = structlog.get_logger()

# Every code that this API can answer with, and its status.
STATUSES: dict[str, HTTPStatus] = {
    "broadcast_unknown": HTTPStatus.NOT_FOUND,
    "codec_not_playable": HTTPStatus.CONFLICT,
    "database_away": HTTPStatus.SERVICE_UNAVAILABLE,
    "engine_away": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "json_malformed": HTTPStatus.BAD_REQUEST,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "not_found": HTTPStatus.NOT_FOUND,
    "nothing_on_air": HTTPStatus.NOT_FOUND,
    "request_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "stream_exists": HTTPStatus.CONFLICT,
    "stream_unknown": HTTPStatus.NOT_FOUND,
    "token_missing": HTTPStatus.UNAUTHORIZED,
    "token_wrong": HTTPStatus.UNAUTHORIZED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_many_listeners": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_processors": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_taps": HTTPStatus.SERVICE_UNAVAILABLE,
}

_HTTP_CODES = {
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not answer to this method."),
}


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = "application/problem+json"

    def __init__(self, code: str, detail: str, headers: dict[str, str] | None = None, **members: Any) -> None:
        status = STATUSES[code]
        body = {"type": "about:blank", "title": status.phrase, "status": status.value, "code": code, "detail": detail}
        super().__init__(body | members, status_code=status.value, headers=headers)


def install(app: FastAPI) -> None:
    """Answers every error of this application with a problem document."""
    app.add_exception_handler(TallylightError, _tallylight_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


async def _tallylight_error(_request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, TallylightError)  # noqa: S101 - the registration above says so
    if error.code not in STATUSES:
        log.error("error_without_status", code=error.code)
        return ProblemResponse("internal_error", error.sentence())
    headers = {}
    if isinstance(error, TokenError):
        headers["WWW-Authenticate"] = error.challenge
    if STATUSES[error.code] is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return ProblemResponse(error.code, error.sentence(), headers)


async def _database_error(request: Request, error: Exception) -> ProblemResponse:
    log.error("database_failed", path=request.url.path, exc_info=error)
    return ProblemResponse(
        "database_away", "The database does not answer. Try again in a second.", {"Retry-After": "1"}
    )


async def _validation_error(_request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return ProblemResponse("json_malformed", "The request body is not valid JSON.")
    # The values are not repeated: they may be secrets, or long.
    fields = [_field(problem) for problem in problems[:20]]
    detail = "; ".join(f"{field['field']}: {field['message']}" for field in fields)
    return ProblemResponse("request_invalid", f"The request is not valid: {detail}.", errors=fields)


def _field(problem: dict[str, Any]) -> dict[str, str]:
    field = ".".join(str(part) for part in problem["loc"][1:]) or "body"
    rule = FIELD_RULES.get(field) if problem["type"] == "string_pattern_mismatch" else None
    message = str(problem["msg"])
    return {"field": field, "message": rule or message[:1].lower() + message[1:]}


async def _http_exception(_request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code, detail = _HTTP_CODES.get(
        HTTPStatus(error.status_code), ("request_invalid", "The request cannot be understood.")
    )
    return ProblemResponse(code, detail, dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> ProblemResponse:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return ProblemResponse("internal_error", "Something went wrong inside the server; its log says what.")
