"""The reader that runs inside pages sees what the Python reader sees."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.async_api import Browser

from support.browser import open_page
from support.publishers import write_clip
from support.seen import missing_pictures
from tallylight.demo.encoding import CardSettings

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

FIRST_FRAME = 53_867_014_620


async def test_the_page_reads_every_counter(browser: Browser, tmp_path: Path) -> None:
    """A file of the card, played in a page, yields only numbers that are in it, rising."""
    clip = write_clip(tmp_path / "card.mp4", CardSettings(width=640, height=360, bitrate_bps=300_000), 4, FIRST_FRAME)
    source = "data:video/mp4;base64," + base64.b64encode(clip.read_bytes()).decode()
    async with open_page(browser, "about:blank") as watch:
        await watch.page.set_content("<video muted autoplay></video>")
        await watch.page.evaluate("(source) => { document.querySelector('video').src = source }", source)
        frames = await watch.wait_more_frames(60)
    # A page may present fewer pictures than it decodes.
    missing_pictures(frames)
    for frame in frames:
        assert frame.counter is not None
        # A file keeps its times: the number must be the one shown at that time.
        assert abs(frame.counter - FIRST_FRAME - round(frame.media_s * 30)) <= 1


_COLOURS = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext('2d');
  let hue = 0;
  setInterval(() => { context.fillStyle = `hsl(${hue += 7}, 80%, 50%)`; context.fillRect(0, 0, 640, 360); }, 33);
  document.querySelector('video').srcObject = canvas.captureStream(30);
}"""


async def test_a_page_without_the_card_has_no_counter(browser: Browser) -> None:
    """Any other moving picture is None, never a number."""
    async with open_page(browser, "about:blank") as watch:
        await watch.page.set_content("<video muted autoplay></video>")
        await watch.page.evaluate(_COLOURS)
        frames = await watch.wait_more_frames(20)
    assert all(frame.counter is None for frame in frames)
