"""The OpenAPI document: every problem is declared, every example is true."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema_rs
import pytest

from tallylight.api.app import public_app
from tallylight.api.control import Control
from tallylight.api.openapi import EXAMPLES, PROBLEM_TYPE, operations
from tallylight.api.problems import STATUSES


@pytest.fixture
def document(control: Control) -> dict[str, Any]:
    return public_app(control).openapi()


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]})


def medias(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What an operation takes and, on success, gives."""
    body = operation.get("requestBody", {}).get("content", {})
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    return [*body.items(), *success.get("content", {}).items()]


async def test_it_is_served(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["info"]["title"] == "Tallylight"


def test_every_body_and_answer_has_an_example_that_is_valid(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for media_type, media in medias(operation):
            if media_type == "image/jpeg":
                continue
            assert "example" in media, f"{name}: add an example to src/tallylight/api/openapi_examples.json"
            if media_type.endswith("json"):
                errors = [error.message for error in validator(document, media["schema"]).iter_errors(media["example"])]
                assert not errors, f"{name}: {errors}"


def test_no_example_is_of_something_that_is_not_there(document: dict[str, Any]) -> None:
    assert set(EXAMPLES) <= {name for name, _ in operations(document)}


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")) and name != "GET /api/health":
                assert set(answer["content"]) == {PROBLEM_TYPE}, f"{name}: {status}"
                codes = answer["description"].partition(": ")[2].split(", ")
                assert codes, f"{name}: {status}"
                assert {STATUSES[code] for code in codes} == {int(status)}, f"{name}: {codes}"
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_who_must_sign_in_is_told_so(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        declared = {"401", "403"} <= set(operation["responses"])
        if "security" in operation:
            assert declared, name
        assert operation.get("summary"), name
