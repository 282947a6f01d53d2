"""Pictures of the pages as they are: written to `docs/images` with TALLYLIGHT_UPDATE_IMAGES=1, else to test-results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from support.administration import ADMIN_ENVIRONMENT, Administrator, visit
from support.browser import DESKTOP, PHONE, go_live, image_path, open_page
from support.publishers import SMALL, card_publisher
from support.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SIZES = {"": DESKTOP, "-phone": PHONE}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site() -> AsyncIterator[Server]:
    """A small site: two streams on air, two more."""
    large = replace(SMALL, width=1280, height=720)
    async with (
        Server.with_streams("main", "garden", "studio", "workshop", extra_environment=ADMIN_ENVIRONMENT) as server,
        card_publisher(server.rtmp_url("main"), large),
        card_publisher(server.rtmp_url("garden")),
    ):
        for name in ("main", "garden"):
            await server.wait_on_air(name)
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def administrator(site: Server) -> Administrator:
    administrator = Administrator(site)
    words = {"title": "Morning rehearsal, hall 2", "description": "Every Wednesday, without an audience."}
    await administrator.do("PATCH", "/api/streams/main", words)
    await administrator.do("PATCH", "/api/streams/garden", {"title": "The garden"})
    return administrator


@pytest.mark.parametrize("size", SIZES)
async def test_index(site: Server, administrator: Administrator, browser: Browser, size: str) -> None:
    """`/` says who is on air and shows their newest keyframes; on a phone too."""
    async with open_page(browser, site.page("/"), size=SIZES[size]) as index:
        for name in ("main", "garden"):
            await index.page.locator(f"a[href='/watch/{name}'] img").wait_for()
        assert await index.fits_its_width()
        await index.screenshot(f"index{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_watch(site: Server, administrator: Administrator, browser: Browser, size: str) -> None:
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


@pytest.mark.parametrize("size", SIZES)
async def test_dashboard(site: Server, administrator: Administrator, browser: Browser, size: str) -> None:
    """`/dashboard`: lamps of what is on air, and what the server carries; on a phone too."""
    async with visit(browser, administrator, site.page("/dashboard"), "admin", phone=size == "-phone") as seen:
        page = seen.page
        await expect(page.locator(".stream-panel")).to_have_count(2)
        await page.locator(".u-over").first.wait_for()
        await page.locator(".event-list li").first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        await page.screenshot(path=image_path(f"dashboard{size}"))
