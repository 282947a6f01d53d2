"""Pictures of the pages as they are: written to `docs/images` with TALLYLIGHT_UPDATE_IMAGES=1, else to test-results."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from support.browser import DESKTOP, PHONE, open_page
from support.publishers import Publisher
from support.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


PAGES = {
    "index": ("/", DESKTOP),
    "watch": ("/watch/main", DESKTOP),
    "watch-phone": ("/watch/main", PHONE),
    "studio": ("/studio", DESKTOP),
    "studio-phone": ("/studio", PHONE),
}


@pytest.mark.parametrize("name", PAGES)
async def test_page(server: Server, browser: Browser, on_air: Publisher, name: str) -> None:
    """Each page fits its screen (nothing to scroll sideways) and shows what it is for."""
    path, size = PAGES[name]
    async with open_page(browser, server.page(path), size=size) as watch:
        if path.startswith("/watch"):
            await watch.wait_transport("webrtc")
            await watch.wait_more_frames(45)
        else:
            await watch.wait_text({"/": "main", "/studio": "go live"}[path], timeout_s=5)
        assert await watch.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        await watch.screenshot(name)
