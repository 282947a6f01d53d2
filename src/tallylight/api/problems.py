"""Errors at the HTTP edge: one table from codes to statuses, and problem documents (RFC 9457)."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from tallylight.accounts.users import USER_NAME_PATTERN
from tallylight.api.auth import TokenError
from tallylight.config import FIELD_RULES, ONE_LINE_PATTERN, STREAM_NAME_PATTERN
from tallylight.db import DatabaseAwayError
from tallylight.errors import TallylightError

log = structlog.get_logger()

# Every code that this API can answer with, and its status.
STATUSES: dict[str, HTTPStatus] = {
    "address_refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "broadcast_unknown": HTTPStatus.NOT_FOUND,
    "codec_not_playable": HTTPStatus.CONFLICT,
    "csrf_refused": HTTPStatus.FORBIDDEN,
    "database_away": HTTPStatus.SERVICE_UNAVAILABLE,
    "engine_away": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "json_malformed": HTTPStatus.BAD_REQUEST,
    "last_admin": HTTPStatus.CONFLICT,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "not_allowed": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "nothing_on_air": HTTPStatus.NOT_FOUND,
    "password_wrong": HTTPStatus.UNAUTHORIZED,
    "poster_missing": HTTPStatus.NOT_FOUND,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "request_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "server_busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "sign_in_needed": HTTPStatus.UNAUTHORIZED,
    "stream_exists": HTTPStatus.CONFLICT,
    "stream_unknown": HTTPStatus.NOT_FOUND,
    "token_missing": HTTPStatus.UNAUTHORIZED,
    "token_unknown": HTTPStatus.NOT_FOUND,
    "token_wrong": HTTPStatus.UNAUTHORIZED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_many_listeners": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_processors": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_streams": HTTPStatus.CONFLICT,
    "too_many_taps": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_tokens": HTTPStatus.CONFLICT,
    "too_many_webhooks": HTTPStatus.CONFLICT,
    "url_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "user_exists": HTTPStatus.CONFLICT,
    "user_unknown": HTTPStatus.NOT_FOUND,
    "webhook_disabled": HTTPStatus.CONFLICT,
    "webhook_test_waits": HTTPStatus.CONFLICT,
    "webhook_unknown": HTTPStatus.NOT_FOUND,
}

# Seconds after which it is worth trying again; a wrong password's limit lets one more try pass in 12.
_RETRY_AFTER = {HTTPStatus.SERVICE_UNAVAILABLE: "1", HTTPStatus.TOO_MANY_REQUESTS: "12"}

# What a value must be, in words.
_PATTERNS = {
    STREAM_NAME_PATTERN: FIELD_RULES["name"],
    ONE_LINE_PATTERN: "this is one line of text",
    USER_NAME_PATTERN: "a user name has 1 to 32 characters of a-z, 0-9, ., - and _, and starts with a letter or digit",
}

_HTTP_CODES = {
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not answer to this method."),
}


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: Literal["about:blank"]
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    code: Annotated[str, Field(description="Stable; programs may compare it.", examples=["stream_unknown"])]
    detail: Annotated[str, Field(description="One or two sentences for people.")]
    errors: list[dict[str, str]] = []


def answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares: the problems it may answer with, by status."""
    statuses = sorted({STATUSES[code] for code in codes})
    return {
        status.value: {
            "model": Problem,
            "description": f"{status.phrase}: {', '.join(code for code in codes if STATUSES[code] is status)}",
        }
        for status in statuses
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
    if (wait := _RETRY_AFTER.get(STATUSES[error.code])) is not None:
        headers["Retry-After"] = wait
    return ProblemResponse(error.code, error.sentence(), headers)


async def _database_error(request: Request, error: Exception) -> ProblemResponse:
    if isinstance(error, DBAPIError) and _is_unstorable(error):
        return ProblemResponse("request_invalid", "The request holds characters or numbers that nothing here has.")
    if isinstance(error, PoolTimeoutError):
        log.warning("database_busy", path=request.url.path)
    elif not isinstance(error, DatabaseAwayError):  # which has been logged when the database went away
        log.error("database_failed", path=request.url.path, exc_info=error)
    return ProblemResponse(
        "database_away", "The database does not answer. Try again in a second.", {"Retry-After": "1"}
    )


def _is_unstorable(error: DBAPIError) -> bool:
    """PostgreSQL refuses some values even to look for them: a zero byte in a text, a number beyond its column."""
    # Appendix A of its manual: class 22 is "data exception". The driver finds some of them before it asks.
    cause = error.orig.__cause__ if error.orig is not None else None
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state.startswith("22") or (isinstance(cause, ValueError) and type(cause).__name__ == "DataError")


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
    rule = _PATTERNS.get(problem["ctx"]["pattern"]) if problem["type"] == "string_pattern_mismatch" else None
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
