"""The OpenAPI document: what FastAPI derives from the routes, with the answers that every route can give.

Problems are problem documents, also those that come before a route is reached; each operation shows an example of what
it takes and gives, from `openapi_examples.json`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tallylight.api.problems import STATUSES, Problem

# By the operation's name: `body`, what it takes, and `answer`, what it gives on success.
EXAMPLES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("openapi_examples.json").read_text(encoding="utf-8")
)
PROBLEM_TYPE = "application/problem+json"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_METHODS = ("get", "put", "post", "delete", "patch")

# Problems that an operation can answer with because of what it takes; its own are declared with it.
_WITH_BODY = ("json_malformed", "request_invalid", "too_large")
_WITH_PARAMETERS = ("request_invalid",)
_WITH_SIGN_IN = ("sign_in_needed", "token_wrong", "not_allowed")
_CHANGES = ("csrf_refused",)
_ALWAYS = ("internal_error", "database_away", "server_busy")


def install(app: FastAPI) -> None:
    """Makes the application describe itself in this way."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="State and control of a Tallylight server. Errors are problem documents (RFC 9457).",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    schemas["Problem"] = Problem.model_json_schema()
    for name, operation in operations(document):
        _add_problems(name, operation)
        _add_examples(operation, EXAMPLES.get(name, {}))
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation under its name, `METHOD /path`."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def _add_problems(name: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    for answer in responses.values():
        # FastAPI takes them for the type of the answer that the route gives on success.
        content = answer.get("content", {})
        for media_type in [media_type for media_type, media in content.items() if media.get("schema") == _PROBLEM]:
            content[PROBLEM_TYPE] = content.pop(media_type)
    if responses.get("422", {}).get("description") == "Validation Error":
        del responses["422"]  # FastAPI's own words for it
    codes = list(_ALWAYS)
    codes += _WITH_BODY if "requestBody" in operation else ()
    codes += _WITH_PARAMETERS if operation.get("parameters") else ()
    codes += _WITH_SIGN_IN if "security" in operation else ()
    codes += _CHANGES if not name.startswith("GET ") else ()
    for code in dict.fromkeys(codes):
        _add_problem(responses, code)


def _add_problem(responses: dict[str, Any], code: str) -> None:
    status = STATUSES[code]
    known = responses.get(str(status.value))
    if known is None:
        responses[str(status.value)] = {
            "description": f"{status.phrase}: {code}",
            "content": {PROBLEM_TYPE: {"schema": _PROBLEM}},
        }
    elif PROBLEM_TYPE not in known.setdefault("content", {}):
        known["content"][PROBLEM_TYPE] = {"schema": _PROBLEM}
    elif code not in known["description"].replace(":", ",").split(", "):
        known["description"] += f", {code}"


def _add_examples(operation: dict[str, Any], examples: dict[str, Any]) -> None:
    if "body" in examples:
        operation["requestBody"]["content"]["application/json"]["example"] = examples["body"]
    if "answer" in examples:
        successes = (answer for status, answer in operation["responses"].items() if status.startswith("2"))
        for media in next(successes)["content"].values():
            media["example"] = examples["answer"]
