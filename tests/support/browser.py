"""Real headless Chromium, and a page whose pictures can be read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from playwright.async_api import Browser, BrowserContext, Page, Playwright

from support.seen import SeenFrame
from support.server import REPOSITORY
from support.waiting import wait_until

Result = TypeVar("Result")
CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    # All test traffic stays on loopback, on machines without any other address too.
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# Frames of the file that the fake camera plays: longer than any test watches it, so that it starts over once at most.
CAMERA_FRAMES = 600
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
_STRIP_READER = Path(__file__).with_name("strip_reader.js").read_text()
WHEP_JOIN = Path(__file__).with_name("whep_join.js").read_text()
# Chromium names its fake camera after the file's path; pictures in the documentation should name no machine's paths.
_CAMERA_NAME = """
const label = Object.getOwnPropertyDescriptor(MediaDeviceInfo.prototype, "label").get;
Object.defineProperty(MediaDeviceInfo.prototype, "label", {
  get() { return this.kind === "videoinput" ? "Test card camera" : label.call(this); },
});
"""
_NO_WEBRTC = "delete window.RTCPeerConnection; delete window.webkitRTCPeerConnection;"


async def launch(playwright: Playwright, camera: Path) -> Browser:
    """The system's Chromium; Playwright says so when it is missing (`apt-get install chromium`).

    Args:
        camera: A Motion JPEG file that its fake camera plays in a loop.
    """
    arguments = [*_ARGUMENTS, f"--use-file-for-fake-video-capture={camera}"]
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@dataclass
class WatchPage:
    """A page that shows a stream: what it says, and what is on its picture."""

    page: Page
    errors: list[str] = field(default_factory=list)

    async def frames(self) -> list[SeenFrame]:
        """Every picture presented since the page was opened; whether the flash was lit is not read here."""
        seen: list[dict[str, Any]] = await self.page.evaluate("window.tallySeen")
        return [SeenFrame(flash=False, **frame) for frame in seen]

    async def frame_count(self) -> int:
        count: int = await self.page.evaluate("window.tallySeen.length")
        return count

    async def wait_more_frames(self, count: int, timeout_s: float = 15) -> list[SeenFrame]:
        """Waits for this many pictures beyond those there are now, and returns only them."""
        start = await self.frame_count()

        async def enough() -> bool:
            return await self.frame_count() >= start + count

        await self._explained(wait_until(enough, timeout_s, f"{count} more pictures"))
        return (await self.frames())[start:]

    async def facts(self) -> dict[str, Any]:
        """What the player measured; empty while it has no stream."""
        facts: dict[str, Any] | None = await self.page.evaluate("document.querySelector('tallylight-player')?.facts")
        return facts or {}

    async def text(self) -> str:
        """All text a person can read on the page now, the player's cards included."""
        text: str = await self.page.evaluate(_VISIBLE_TEXT)
        return text

    async def wait_text(self, *words: str, timeout_s: float) -> str:
        """Waits until the page shows one of these words, and returns all it shows."""

        async def shown() -> str:
            text = await self.text()
            return text if any(word.lower() in text.lower() for word in words) else ""

        return await self._explained(wait_until(shown, timeout_s, f"one of {words} on the page"))

    async def wait_transport(self, name: str, timeout_s: float = 10) -> None:
        """Waits until the player shows its picture over "webrtc" or "hls"."""

        async def shows() -> bool:
            facts = await self.facts()
            return facts.get("transport") == name and facts.get("state") == "playing"

        await self._explained(wait_until(shows, timeout_s, f"the player to play over {name}"))

    async def _explained(self, waiting: Awaitable[Result]) -> Result:
        """Adds to a failure what the page shows and what its player knows."""
        try:
            return await waiting
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says: {await self.text()!r}; {await self.facts()}") from None

    async def fits_its_width(self) -> bool:
        """Whether there is nothing to scroll sideways."""
        fits: bool = await self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return fits

    async def screenshot(self, name: str) -> None:
        await self.page.screenshot(path=image_path(name))


async def go_live(studio: WatchPage, stream: str, key: str) -> None:
    """On `/studio`: names the stream, waits for the camera's picture and presses the button."""
    page = studio.page
    await page.fill("#stream-name", stream)
    await page.fill("#stream-key", key)
    await page.locator("#turn-on-camera").or_(page.locator("#preview")).first.wait_for()
    if await page.locator("#turn-on-camera").is_visible():
        await page.click("#turn-on-camera")
    await wait_for_preview(page)
    await page.click("#go-live")


async def wait_for_preview(page: Page) -> None:
    """Waits until the studio shows the camera's picture."""
    # Not by `wait_for_function`: it asks again with eval(), which the pages' Content-Security-Policy forbids.
    shows = lambda: page.evaluate("document.querySelector('#preview')?.videoWidth > 2")  # noqa: E731
    await wait_until(shows, 15, "the camera's picture in the studio")


# Text of the page and of open shadow roots, as far as it is displayed.
_VISIBLE_TEXT = """() => {
  const texts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const box = node.parentElement ?? node.getRootNode().host;
      if (box.checkVisibility?.({opacityProperty: true, visibilityProperty: true})) texts.push(node.textContent.trim());
      return;
    }
    if (["STYLE", "SCRIPT", "TEMPLATE"].includes(node.nodeName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
    for (const child of node.childNodes) walk(child);
  };
  walk(document.body);
  return texts.filter(Boolean).join(" ");
}"""


@asynccontextmanager
async def open_page(
    browser: Browser, url: str, *, webrtc: bool = True, size: dict[str, int] | None = None
) -> AsyncIterator[WatchPage]:
    """A page in a profile of its own; leaving closes it and fails on any uncaught error in its scripts."""
    context: BrowserContext = await browser.new_context(
        color_scheme="dark",  # the pages' first theme
        viewport=size or DESKTOP,  # type: ignore[arg-type]
        device_scale_factor=2 if size == PHONE else 1,
        is_mobile=size == PHONE,
        has_touch=size == PHONE,
        permissions=["camera", "microphone"],
    )
    await context.add_init_script(_STRIP_READER if webrtc else _NO_WEBRTC + _STRIP_READER)
    await context.add_init_script(f"if (window.MediaDeviceInfo) {{ {_CAMERA_NAME} }}")
    page = await context.new_page()
    watch = WatchPage(page)
    page.on("pageerror", lambda error: watch.errors.append(str(error)))
    try:
        await page.goto(url)
        yield watch
    finally:
        await context.close()
    assert not watch.errors, f"uncaught errors in the page: {watch.errors}"


def image_path(name: str) -> Path:
    """Where a screenshot goes: into the documentation when asked to update it, else among the results."""
    update = os.environ.get("TALLYLIGHT_UPDATE_IMAGES") == "1"
    directory = REPOSITORY / ("docs/images" if update else "test-results/images")
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}.png"
