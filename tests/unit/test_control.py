"""The control plane's process: what ends it, and what it asks of the engine when the two meet."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest
import structlog

from support.processes import free_port
from tallylight.api.__main__ import serve
from tallylight.config import Settings
from tallylight.paths import DataDirectory
from tallylight.telemetry.sampler import Sampler

PATIENCE_S = 10.0


async def test_the_failure_of_a_part_ends_the_process(
    settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_self: Any) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(Sampler, "run", fails)
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as stdin, os.fdopen(write_end, "w"), structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(sys, "stdin", stdin)
        mine = settings.model_copy(update={"internal_port": free_port()})
        await asyncio.wait_for(serve(mine, data), PATIENCE_S)
    (failure,) = [entry for entry in logged if entry["event"] == "background_part_ended"]
    assert (failure["part"], failure["log_level"], str(failure["exc_info"])) == ("Sampler", "error", "planted")
