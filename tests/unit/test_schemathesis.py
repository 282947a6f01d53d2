"""Every operation of both OpenAPI documents, asked what the document allows and what it forbids: no answer is a 5xx.

Schemathesis makes the requests, the same ones in each run, and sends them over loopback with the right credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.processes import free_port
from support.waiting import wait_until
from tallylight.api import openapi, problems
from tallylight.api.app import internal_app, public_app
from tallylight.api.control import Control

EXAMPLES = 20
REQUEST_TIMEOUT_S = 10.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True)
class Api:
    app: FastAPI
    url: str
    token: str


@asynccontextmanager
async def served(app: FastAPI, token: str) -> AsyncIterator[Api]:
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    with patch.object(server, "capture_signals", nullcontext):
        serving = asyncio.create_task(server.serve())
        await wait_until(lambda: server.started, 10, "the API to listen")
    yield Api(app, f"http://127.0.0.1:{port}", token)
    server.should_exit = True
    await serving


def endless(operation: dict[str, Any]) -> bool:
    """Whether its answer goes on until who asked leaves."""
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


def is_asked(document: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda context: not endless(document["paths"][context.operation.path][context.operation.method])


def ask_everything(api: Api) -> tuple[int, list[str]]:
    """Asks every operation; returns how many requests were sent, and what was wrong with the answers."""
    document = api.app.openapi()
    schema = schemathesis.openapi.from_dict(document).include(is_asked(document))
    sent, wrong = 0, []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case[Any]) -> None:
                nonlocal sent
                sent += 1
                case.call_and_validate(
                    base_url=api.url,
                    headers={"Authorization": f"Bearer {api.token}"},
                    timeout=REQUEST_TIMEOUT_S,
                    checks=CHECKS,
                )

            try:
                ask()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, f"{operation.label}: nothing can be asked"
            except FailureGroup as error:
                wrong.append(f"{operation.label} ({mode.value}): {error}")
    return sent, wrong


async def test_public_api(control: Control) -> None:
    async with served(public_app(control), control.admin_token) as api:
        sent, wrong = await asyncio.to_thread(ask_everything, api)
    assert not wrong, "\n\n".join(wrong)
    assert sent > 1000


async def test_internal_api(control: Control) -> None:
    async with served(internal_app(control), control.internal_token) as api:
        sent, wrong = await asyncio.to_thread(ask_everything, api)
    assert not wrong, "\n\n".join(wrong)
    assert sent > 100


async def test_a_server_error_is_found() -> None:
    app = FastAPI()

    @app.get("/api/planted")
    def planted(number: int = 0) -> int:
        return 1 // (number % 2)

    @app.get("/api/sound")
    def sound(number: int = 0) -> int:
        return number

    openapi.install(app)
    problems.install(app)
    async with served(app, "") as api:
        _, wrong = await asyncio.to_thread(ask_everything, api)
    assert {sentence.split(" (")[0] for sentence in wrong} == {"GET /api/planted"}
    assert "500" in wrong[0]
