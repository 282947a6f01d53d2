"""Every page: usable by everybody, without an error, right on a phone, and deaf to what hostile texts tell it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, expect

from support.administration import Administrator, Visit, visit
from support.axe import COLOUR_RULES, grave_faults
from support.browser import DESKTOP, PHONE
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# Each would set this or open a dialog if a page took it for more than text (hardening H6, H14).
CANARY = "window.__executed"
HOSTILE_TEXTS = (
    "<img src=x onerror=window.__executed=1>",
    "<script>window.__executed=1</script>",
    '"><svg/onload=window.__executed=1>',
    "'-alert(1)-'",
    "${window.__executed=1}{{constructor.constructor('window.__executed=1')()}}",
    "</title></textarea></script><iframe srcdoc='<script>parent.__executed=1</script>'>",
    "javascript:window.__executed=1",
    'title" autofocus onfocus=window.__executed=1 x="',
)
LINE_BREAKS = ("line\r\nX-Injected: 1", "a\n#EXT-X-ENDLIST", "nul\x00l", "para\u2029graph")
HOSTILE_NAMES = ("<img src=x onerror=window.__executed=1>", "a b", '"quoted"', "'-alert(1)-'")
# Not even the address of a watch page.
IMPOSSIBLE_NAMES = ("line\n", "%3Cscript%3E", "../admin")
HOSTILE_URLS = (
    "javascript:window.__executed=1",
    "data:text/html,<script>window.__executed=1</script>",
    'https://example.com/"><img src=x onerror=window.__executed=1>',
    "https://user:pass@example.com/' onmouseover='window.__executed=1",
)


@dataclass(frozen=True)
class Place:
    """One page as one person sees it."""

    path: str
    who: str | None
    # What is there once the page has settled.
    ready: str
    # Pressed before looking.
    press: str | None = None
    refusals: tuple[str, ...] = ()

    def __str__(self) -> str:
        pressed = f"{self.press}" if self.press else ""
        return f"{self.path}{pressed} as {self.who or 'anybody'}"


PLAYING = "tallylight-player[data-state=playing]"
# Whoever may not watch a private stream is told neither that it exists nor what it is.
PRIVATE = ("404 /api/streams/secret", "401 /live/secret/events")
PLACES = (
    Place("/", None, ".stream-card"),
    Place("/watch/main", None, f"{PLAYING} >> visible=true"),
    Place("/watch/main", "maria", "#to-studio"),
    Place("/watch/quiet", None, "tallylight-player[data-state=waiting]"),
    Place("/watch/secret", None, "#refused", refusals=PRIVATE),
    Place("/watch/secret", "guest", PLAYING),
    Place("/studio", None, "#guest-note"),
    Place("/studio", "maria", "#broadcasts [data-broadcast]"),
    Place("/sign-in", None, "#sign-in"),
    Place("/account", "maria", "#create-token"),
    Place("/dashboard", None, "#not-for-you"),
    Place("/dashboard", "maria", "#not-for-you"),
    Place("/dashboard", "admin", "tl-chain .link"),
    Place("/dashboard#streams", "admin", "[data-stream=main]", press="#new-stream"),
    Place("/dashboard#broadcasts", "admin", "[data-broadcast]"),
    Place("/dashboard#accounts", "admin", "[data-account=maria]", press="#new-account"),
    Place("/dashboard#webhooks", "admin", "#new-webhook", press="#new-webhook"),
)


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_everybody_can_use_it(site: Server, administrator: Administrator, browser: Browser, place: Place) -> None:
    """axe-core finds no serious or critical fault on any page, dark and light, on a desk and a phone; no console error,
    no failed request."""
    url = site.page(place.path)
    async with visit(browser, administrator, url, place.who, refusals=place.refusals) as seen:
        page = seen.page
        await page.locator(place.ready).first.wait_for()
        if place.press:
            await page.click(place.press)
            await page.locator("dialog[open]").wait_for()
        for size in (DESKTOP, PHONE):
            await page.set_viewport_size(size)  # type: ignore[arg-type]
            for theme in ("dark", "light"):
                await page.emulate_media(color_scheme=theme)
                faults = await grave_faults(page, None if theme == "dark" else COLOUR_RULES)
                assert not faults, f"{place} at {size['width']} px, {theme}: {faults}"


async def test_the_check_can_fail(site: Server, administrator: Administrator, browser: Browser) -> None:
    """A button without a name and text in pale grey on grey are found."""
    planted = "document.querySelector('main').insertAdjacentHTML('beforeend', '{}')"
    async with visit(browser, administrator, site.page("/")) as seen:
        await seen.page.locator(".stream-card").first.wait_for()
        await seen.page.evaluate(planted.format("<button></button>"))
        assert {fault["id"] for fault in await grave_faults(seen.page)} == {"button-name"}
        await seen.page.evaluate(planted.format('<p style="color:#777;background:#888">pale</p>'))
        assert {fault["id"] for fault in await grave_faults(seen.page)} == {"button-name", "color-contrast"}


# What ui.md wants each reader to see first.
FIRST_SCREENFUL = (
    (
        Place("/", None, ".stream-card img"),
        (".stream-card img", ".stream-card h2", ".stream-card tally-lamp", ".stream-card .uptime", ".stream-card p"),
    ),
    (
        Place("/watch/main", None, "#latency"),
        ("tallylight-player video", "tallylight-player .badge", "h1", "#tally", "#viewers", "#uptime"),
    ),
    (Place("/watch/secret", None, "#refused", refusals=PRIVATE), ("#refused h1", "#refused a.primary")),
    (Place("/sign-in", None, "#password"), ("#user-name", "#password", "#sign-in")),
    (Place("/studio", "maria", "#go-live"), ("#preview, #turn-on-camera", "#go-live")),
    (
        Place("/dashboard", "admin", "tl-chain .link"),
        ("#on-air-now", *(f"tl-chain li:nth-child({number})" for number in range(1, 10))),
    ),
)


@pytest.mark.parametrize(("place", "wanted"), FIRST_SCREENFUL, ids=[str(place) for place, _ in FIRST_SCREENFUL])
async def test_first_screenful_of_a_phone(
    site: Server, administrator: Administrator, browser: Browser, place: Place, wanted: tuple[str, ...]
) -> None:
    """At 390 px the first screenful answers the page's reader, and nothing has to be scrolled sideways."""
    url = site.page(place.path)
    async with visit(browser, administrator, url, place.who, phone=True, refusals=place.refusals) as seen:
        await seen.page.locator(place.ready).first.wait_for()
        for selector in wanted:
            shown = partial(seen.in_first_screenful, selector)
            await wait_until(shown, 5, f"{selector} in the first screenful")
        assert await seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def test_hostile_texts_stay_texts(site: Server, administrator: Administrator, browser: Browser) -> None:
    """The corpus in title, description, names and webhook addresses: whatever the API takes, no page executes it, and
    each is shown as the text it is."""
    for number, text in enumerate(HOSTILE_TEXTS):
        words = {"name": f"hostile-{number}", "title": text, "description": text}
        await administrator.do("POST", "/api/streams", words)
    for title in LINE_BREAKS:
        await _assert_refused(administrator, "/api/streams", {"name": "broken", "title": title})
    for name in (*HOSTILE_NAMES, *IMPOSSIBLE_NAMES):
        await _assert_refused(administrator, "/api/streams", {"name": name})
        await _assert_refused(administrator, "/api/users", {"name": name, "role": "viewer"})
    taken = 0
    for url in HOSTILE_URLS:
        answer = await administrator.ask("POST", "/api/webhooks", {"url": url, "events": ["broadcast.started"]})
        assert answer.is_success or answer.is_client_error, answer.text
        taken += answer.is_success
    # Each with what shows that its data is there.
    pages = {
        "/": ".stream-card",
        "/dashboard": "tl-chain .link",
        "/dashboard#streams": "[data-stream=main]",
        "/dashboard#accounts": "[data-account=maria]",
        "/dashboard#webhooks": "[data-webhook]" if taken else "#new-webhook",
        "/studio": "#stream-select option[value=hostile-0]",
    }
    async with visit(browser, administrator, site.page("/"), "admin") as seen:
        for path, ready in pages.items():
            await seen.page.goto("about:blank")  # a fragment alone would not load anything
            await seen.page.goto(site.page(path))
            await seen.page.locator(ready).first.wait_for(state="attached")
            if path in ("/", "/dashboard#streams"):
                for text in HOSTILE_TEXTS:
                    await seen.page.get_by_text(text, exact=True).first.wait_for()
            await _assert_nothing_ran(seen)
        for number, text in enumerate(HOSTILE_TEXTS):
            await seen.page.goto(site.page(f"/watch/hostile-{number}"))
            await seen.page.get_by_role("heading", name=text, exact=True).wait_for()
            await seen.page.locator("#about .description").get_by_text(text, exact=True).wait_for()
            assert text in await seen.page.title()
            await _assert_nothing_ran(seen)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_an_address_stays_a_text(site: Server, administrator: Administrator, browser: Browser, name: str) -> None:
    """Whatever stands in the address of a watch page is a name at most, and one of a stream that is not there."""
    url = site.page(f"/watch/{quote(name, safe='')}")
    async with visit(browser, administrator, url, refusals=(f"404 /api/streams/{name}",)) as seen:
        await seen.page.get_by_role("heading", name=name, exact=True).wait_for()
        await expect(seen.page.locator("#tracks")).to_contain_text("No stream on this server")
        await _assert_nothing_ran(seen)


async def test_a_text_that_runs_is_noticed(site: Server, administrator: Administrator, browser: Browser) -> None:
    """A hostile text that was taken for markup is found: it runs, or the policy of the page complains."""
    planted = "document.querySelector('main').insertAdjacentHTML('beforeend', text)"
    async with visit(browser, administrator, site.page("/")) as seen:
        await seen.page.locator(".stream-card").first.wait_for()
        await seen.page.evaluate(f"(text) => {planted}", "<svg onload=window.__executed=1></svg>")
        await wait_until(lambda: any("Content Security Policy" in text for text in seen.complaints), 5, "a complaint")
        seen.complaints.clear()


async def _assert_refused(administrator: Administrator, path: str, body: dict[str, str]) -> None:
    answer = await administrator.ask("POST", path, body)
    assert answer.is_client_error, f"{body} was answered {answer.status_code}"


async def _assert_nothing_ran(seen: Visit) -> None:
    assert await seen.page.evaluate(f"{CANARY} === undefined")
    assert seen.dialogs == []
