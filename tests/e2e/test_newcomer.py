"""The first minute of somebody who has just installed it."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser

from support.browser import open_page
from support.publishers import card_publisher
from support.seen import latency_s, missing_pictures
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_demo_shows_a_picture_in_one_command(browser: Browser) -> None:
    """`tallylight demo`: serve plus a built-in publisher; the banner's address shows the moving test card, live, with
    no camera and no OBS; ending it ends the publisher too."""
    async with Server.with_streams("main", command="demo") as server:
        shown = lambda: re.search(r"Test card\s+(http://\S+)", server.log())  # noqa: E731
        address = await wait_until(shown, 30, "the demo's banner")
        assert address is not None
        async with open_page(browser, address[1]) as watch:
            await watch.wait_transport("webrtc")
            frames = await watch.wait_more_frames(60)
    assert (frames[0].width, frames[0].height) == (1280, 720)
    assert missing_pictures(frames) < len(frames)
    assert latency_s(frames, 30) < 1.0


async def test_first_start_prints_a_key_that_works() -> None:
    """First start creates the stream `main` and prints watch page, studio page, OBS server and key; with these two a
    publisher goes on air."""
    async with Server.with_streams(extra_environment={"TALLYLIGHT_BOOTSTRAP_STREAMS": ""}) as server:
        shown = lambda: re.search(r"OBS server\s+(rtmp://\S+).*OBS key\s+(\S+)", server.log(), re.DOTALL)  # noqa: E731
        obs = await wait_until(shown, 10, "the banner")
        assert obs is not None
        assert server.page("/watch/main") in server.log()
        assert server.page("/studio") in server.log()
        async with card_publisher(f"{obs[1]}/{obs[2]}"):
            await server.wait_on_air("main")
