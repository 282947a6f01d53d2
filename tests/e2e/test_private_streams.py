"""Private streams in Chromium: who gets in, by which way, and what the others are told."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from support.administration import Administrator, visit
from support.server import Server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PLAYING = "tallylight-player[data-state=playing]"
UNKNOWN = "404 /api/streams/secret"
REFUSED = (UNKNOWN, "401 /live/secret/events")


async def test_an_account_that_may_watches(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The page asks for a playback token in the viewer's name."""
    async with visit(browser, administrator, site.page("/watch/secret"), "guest") as seen:
        await seen.page.locator(PLAYING).wait_for()


async def test_others_are_told_to_sign_in(site: Server, administrator: Administrator, browser: Browser) -> None:
    """No player, a sentence, and the way to sign in and come back."""
    async with visit(browser, administrator, site.page("/watch/secret"), refusals=REFUSED) as seen:
        await seen.page.get_by_role("heading", name="This stream is private").wait_for()
        link = await seen.page.locator("#refused a.primary").get_attribute("href")
        assert link == "/sign-in?next=%2Fwatch%2Fsecret"
        assert await seen.page.locator("tallylight-player").count() == 0


async def test_a_link_with_a_token_opens_it(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The token leaves the address bar, and reloading still works."""
    token = (await administrator.do("POST", "/api/streams/secret/playback-token", {}))["token"]
    url = site.page(f"/watch/secret?token={token}")
    async with visit(browser, administrator, url, refusals=(UNKNOWN,)) as seen:
        await seen.page.locator(PLAYING).wait_for()
        assert seen.page.url == site.page("/watch/secret")
        await seen.page.reload()
        await seen.page.locator(PLAYING).wait_for()


async def test_a_broken_link_is_said_to_be_one(site: Server, administrator: Administrator, browser: Browser) -> None:
    """A token that opens nothing is explained."""
    url = site.page("/watch/secret?token=not.a.token")
    async with visit(browser, administrator, url, refusals=REFUSED) as seen:
        await seen.page.get_by_role("heading", name="This link does not open the stream").wait_for()


async def test_an_owner_hands_out_a_link(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The link made on the watch page lets somebody without an account in."""
    async with visit(browser, administrator, site.page("/watch/secret"), "admin") as seen:
        await seen.page.click("#make-link")
        link = await seen.page.locator("#share [role=status] code").inner_text()
    async with visit(browser, administrator, link, refusals=(UNKNOWN,)) as seen:
        await seen.page.locator(PLAYING).wait_for()
