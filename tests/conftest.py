"""The shared kit and its fixtures. Everything asynchronous here lives on one loop for the whole run.

A suite's module says so once: `pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# `--import-mode=importlib` adds nothing to the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

from playwright.async_api import Browser, async_playwright

from support.browser import CAMERA_FRAMES, launch
from support.publishers import SMALL, Publisher, card_publisher, write_camera_file, write_clip
from support.server import Server

# The same examples in each run, and none fails for being slow: how busy the machine is says nothing about the code.
hypothesis_settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("suite")

# One stream for each test that publishes, so that tests never wait for each other's endings.
SHARED_STREAMS = (
    "main", "clip", "whip", "muxer", "camera", "comings", "freeze", "b-frames", "newer", "history", "hostile", "sweep",
    "vp9", "av1", "expose", "expose-hevc", "expose-whip", "draw", "draw-again", "draw-vp8", "draw-refused",
    "draw-broken", "draw-slow", "founding", "poster", "telemetry",
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def server() -> AsyncIterator[Server]:
    """The server that tests share as long as they do it no harm."""
    async with Server.with_streams(*SHARED_STREAMS) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def on_air(server: Server) -> AsyncIterator[Publisher]:
    """The test card live on the stream `main` of the shared server."""
    async with card_publisher(server.rtmp_url()) as publisher:
        await server.wait_on_air()
        yield publisher
    await server.wait_off_air()


@pytest_asyncio.fixture(loop_scope="session")
async def own_server() -> AsyncIterator[Server]:
    """A server of the test's own, to be maltreated; its stream is `main`."""
    async with Server.with_streams() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Chromium, whose fake camera films the test card."""
    camera = write_camera_file(tmp_path_factory.mktemp("camera") / "card.mjpeg", CAMERA_FRAMES)
    async with async_playwright() as playwright:
        browser = await launch(playwright, camera)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the card in a file, frame 0 first."""
    return write_clip(tmp_path_factory.mktemp("clip") / "card.flv", SMALL, 12)
