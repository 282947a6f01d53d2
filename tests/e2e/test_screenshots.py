"""Pictures of the pages as they are: written to `docs/images` with TALLYLIGHT_UPDATE_IMAGES=1, else to test-results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from support.browser import DESKTOP, PHONE, go_live, open_page
from support.publishers import SMALL, card_publisher
from support.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SIZES = {"": DESKTOP, "-phone": PHONE}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site() -> AsyncIterator[Server]:
    """A small site: one stream on air, two more."""
    large = replace(SMALL, width=1280, height=720)
    async with Server.with_streams("main", "studio", "garden") as server, card_publisher(server.rtmp_url(), large):
        await server.wait_on_air()
        yield server


async def test_index(site: Server, browser: Browser) -> None:
    """`/` says who is on air."""
    async with open_page(browser, site.page("/")) as page:
        await page.wait_text("main", timeout_s=5)
        assert await page.fits_its_width()
        await page.screenshot("index")


@pytest.mark.parametrize("size", SIZES)
async def test_watch(site: Server, browser: Browser, size: str) -> None:
    """`/watch` shows the picture, on a phone too, with nothing to scroll sideways."""
    async with open_page(browser, site.page("/watch/main"), size=SIZES[size]) as page:
        await page.wait_transport("webrtc")
        # The latency figure needs two samples of statistics.
        await page.wait_more_frames(60)
        assert await page.fits_its_width()
        await page.screenshot(f"watch{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_studio(site: Server, browser: Browser, size: str) -> None:
    """`/studio` on air: the camera, what viewers see, health and charts; on a phone too."""
    async with open_page(browser, site.page("/studio"), size=SIZES[size]) as studio:
        await go_live(studio, "studio", site.streams["studio"])
        await studio.page.locator("#tally[data-tally=on_air]").wait_for(timeout=15_000)
        await studio.wait_more_frames(120)
        assert await studio.fits_its_width()
        # Filling in the key scrolled to it.
        await studio.page.evaluate("window.scrollTo(0, 0)")
        await studio.screenshot(f"studio{size}")
    await site.wait_off_air("studio")
