"""`/dashboard` in Chromium: what operators see, and what they do there."""

from __future__ import annotations

import os
import signal
from functools import partial

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from support.administration import Administrator, visit
from support.processes import is_alive
from support.publishers import card_publisher
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# Hardening H17: keys that were changed cut those who send with them.
CUT_WITHIN_S = 5.0


async def _shown_once(page: Page, label: str) -> str:
    """A value of the panel that shows what is told once; hidden until asked for."""
    field = page.locator(f".once tl-copy-field[label='{label}']")
    await field.get_by_role("button", name="Show").click()
    return await field.locator("code").inner_text()


async def test_the_life_of_a_stream(site: Server, administrator: Administrator, browser: Browser) -> None:
    """Made, sent to with the key shown once, cut by a new key, deleted; the keyboard stays where it was."""
    async with visit(browser, administrator, site.page("/dashboard#streams"), "admin") as seen:
        page = seen.page
        await page.click("#new-stream")
        await page.fill("dialog [name=name]", "made-here")
        await page.fill("dialog [name=title]", "Made on the dashboard")
        await page.get_by_role("button", name="Make stream").click()
        key = site.streams["made-here"] = await _shown_once(page, "Stream key")
        row = page.locator("[data-stream=made-here]")
        async with card_publisher(site.rtmp_url("made-here")):
            await site.wait_on_air("made-here")
            await row.get_by_role("button", name="Cut publisher").wait_for()
            await row.get_by_role("button", name="New key").click()
            await page.get_by_role("button", name="Make a new key").click()
            await site.wait_off_air("made-here", CUT_WITHIN_S)
            await expect(row.get_by_role("button", name="New key")).to_be_focused()
        # The new key is hidden until asked for, like the one before.
        assert await _shown_once(page, "Stream key") != key
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Delete stream").click()
        await expect(row).to_have_count(0)
    assert (await administrator.ask("GET", "/api/streams/made-here")).status_code == httpx.codes.NOT_FOUND


async def test_the_life_of_an_account(site: Server, administrator: Administrator, browser: Browser) -> None:
    """Made with a password shown once, which signs in; disabled, it does not; deleted."""
    async with visit(browser, administrator, site.page("/dashboard#accounts"), "admin") as seen:
        page = seen.page
        await page.click("#new-account")
        await page.fill("dialog [name=name]", "short-lived")
        await page.select_option("dialog [name=role]", "viewer")
        await page.get_by_role("button", name="Make account").click()
        password = await _shown_once(page, "Password")
        assert await _signs_in(site, "short-lived", password)
        row = page.locator("[data-account=short-lived]")
        await row.get_by_role("button", name="Disable").click()
        await page.get_by_role("button", name="Disable account").click()
        await row.get_by_role("button", name="Enable").wait_for()
        assert not await _signs_in(site, "short-lived", password)
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Delete account").click()
        await expect(row).to_have_count(0)


async def _signs_in(site: Server, name: str, password: str) -> bool:
    async with httpx.AsyncClient(base_url=site.url, timeout=10) as client:
        body = {"name": name, "password": password}
        answer = await client.post("/api/session", json=body, headers={"X-Tallylight-Request": "1"})
    return answer.is_success


async def test_a_refusal_is_said_in_the_dialog(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The last administrator cannot be deleted: the server's sentence stands in the dialog, which stays open."""
    refusal = "409 /api/users/admin"
    async with visit(browser, administrator, site.page("/dashboard#accounts"), "admin", refusals=(refusal,)) as seen:
        await seen.page.locator("[data-account=admin]").get_by_role("button", name="Delete").click()
        await seen.page.get_by_role("button", name="Delete account").click()
        await expect(seen.page.get_by_role("alert")).to_contain_text("admin")
        await seen.page.keyboard.press("Escape")
        await expect(seen.page.locator("dialog")).to_have_count(0)


async def test_the_life_of_a_webhook(site: Server, administrator: Administrator, browser: Browser) -> None:
    """Made with a secret shown once, which verifies what the test sends; its delivery is in the log; deleted."""
    async with Receiver() as receiver, visit(browser, administrator, site.page("/dashboard#webhooks"), "admin") as seen:
        page = seen.page
        await page.click("#new-webhook")
        await page.fill("dialog [name=url]", f"http://127.0.0.1:{receiver.port}/tally")
        await page.get_by_role("button", name="Make webhook").click()
        secret = await _shown_once(page, "Secret")
        row = page.locator("[data-webhook]")
        await row.get_by_role("button", name="Test").click()
        await row.locator("tally-lamp", has_text="delivered").wait_for()
        assert receiver.messages[0].verified_by(secret)
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Delete webhook").click()
        await expect(row).to_have_count(0)


async def test_a_broken_link_comes_first_with_its_cause(
    site: Server, administrator: Administrator, browser: Browser
) -> None:
    """A processor whose token is wrong: its stream stands first, the lamp is red, cause and fix are in the first
    screenful of a phone, and the lamp says what it knows when it is tapped, until it is tapped again or another place
    is."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            site.internal("videoExpose?stream=secret"), headers={"Authorization": "Bearer from-before"}
        )
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    async with visit(browser, administrator, site.page("/dashboard"), "admin", phone=True) as seen:
        panel = seen.page.locator(".stream-panel").first
        broken = panel.locator(".link.fail")
        await broken.wait_for()
        assert await panel.get_attribute("data-stream") == "secret"
        for selector in (".link.fail", ".cause-sentence", ".fix"):
            shown = partial(seen.in_first_screenful, selector)
            await wait_until(shown, 5, f"{selector} in the first screenful")
        sentence = panel.locator(".chain-sentence")
        for place in (broken, seen.page.locator("#events h2")):
            await broken.tap()
            await expect(sentence).to_contain_text("token")
            await place.tap()
            await expect(sentence).to_have_count(0)


async def test_events_are_filtered_held_and_copied(
    site: Server, administrator: Administrator, browser: Browser
) -> None:
    """The tail follows; the filter narrows it; held, it stays as it is; what is copied is what is shown."""
    async with visit(browser, administrator, site.page("/dashboard"), "admin") as seen:
        page = seen.page
        rows = page.locator(".event-list li")
        await rows.filter(has_text="publish_started").first.wait_for()
        await page.fill("#event-text", "publish_started")
        await expect(rows.filter(has_not_text="publish_started")).to_have_count(0)
        await page.fill("#event-text", "stream_created")
        await page.click("#pause-events")
        before = await rows.count()
        await administrator.do("POST", "/api/streams", {"name": "eventful"})
        await expect(page.locator("#pause-events")).to_contain_text("new")
        assert await rows.count() == before
        await page.click("#pause-events")
        await expect(rows).to_have_count(before + 1)
        await page.locator("#events").get_by_role("button", name="Copy").click()
        await page.locator("#events").get_by_role("button", name="Copied").wait_for()
        copied: str = await page.evaluate("navigator.clipboard.readText()")
        assert "eventful" in copied.splitlines()[0]
        await administrator.do("DELETE", "/api/streams/eventful")


async def test_old_values_are_said_to_be_old(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The control plane hangs: what was known stays, with its age; when it answers again, so does the page."""
    async with visit(browser, administrator, site.page("/dashboard"), "admin") as seen:
        await seen.page.locator("tl-chain .link").first.wait_for()
        pid = site.control_plane_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await seen.page.locator("#stale").wait_for(timeout=20_000)
            assert await seen.page.locator("tl-chain .link").count() > 0
        finally:
            # The supervisor may have replaced a part that does not answer.
            if is_alive(pid):
                os.kill(pid, signal.SIGCONT)

        async def fresh() -> bool:
            # A page that shows a refusal instead has no age either.
            links = await seen.page.locator("tl-chain .link").count()
            return links > 0 and await seen.page.locator("#stale").count() == 0

        await wait_until(fresh, 20, "the page to be up to date again")
        seen.complaints.clear()  # what failed meanwhile had to
