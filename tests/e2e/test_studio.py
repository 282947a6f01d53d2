"""From a browser's camera on `/studio` to a second page on `/watch`, over both transports."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.async_api import Browser, expect

from support import hls_rules
from support.browser import CAMERA_FRAMES, WatchPage, go_live, open_page
from support.hls_viewer import HlsRecorder
from support.server import Server
from support.waiting import Stopwatch

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

STREAM = "camera"


async def test_fake_camera_reaches_both_kinds_of_viewers(server: Server, browser: Browser) -> None:
    """Chromium's fake camera on `/studio` -> `/watch` in a second page over WebRTC and over LL-HLS (H.264 is asked of
    the browser first), the counter on the camera's picture in order; the studio's tally lights only when its own
    loop-back player shows the picture."""
    async with open_page(browser, server.page("/studio")) as studio:
        await go_live(studio, STREAM, server.streams[STREAM])
        clock = Stopwatch()
        await server.wait_on_air(STREAM)
        # S4: a browser's camera is on air in less than two seconds.
        assert clock.elapsed_s() < 2.0
        state = await server.wait_on_air(STREAM, tracks=2)
        assert state["stream_type"] == "WEBRTC_STREAM"
        assert {track["codec"] for track in state["tracks"]} == {"H264", "Opus"}
        await studio.page.locator("#tally[data-tally=on_air]").wait_for(timeout=15_000)
        async with open_page(browser, server.page(f"/watch/{STREAM}")) as watch:
            await watch.wait_transport("webrtc")
            await _assert_shows_the_camera(watch)
        async with open_page(browser, server.page(f"/watch/{STREAM}"), webrtc=False) as watch:
            await watch.wait_transport("hls", 15)
            await _assert_shows_the_camera(watch)
        async with HlsRecorder(server.http, STREAM) as recorder:
            await recorder.wait_segments(3)
            assert hls_rules.check(recorder.history()) == []
        await studio.page.click("#end-broadcast")
        await server.wait_off_air(STREAM, 3)


async def test_wrong_key_is_said_in_words(server: Server, browser: Browser) -> None:
    """A wrong key in the studio: one sentence, nothing on air, and the page can try again."""
    async with open_page(browser, server.page("/studio")) as studio:
        await go_live(studio, STREAM, "a-wrong-key")
        message = studio.page.locator("#publisher-message[data-code=key_wrong]")
        await message.wait_for(timeout=5_000)
        assert "key" in (await message.inner_text()).lower()
        assert (await server.stream(STREAM))["status"] == "OFF_AIR"
        await expect(studio.page.locator("#go-live")).to_be_enabled()


async def _assert_shows_the_camera(watch: WatchPage) -> None:
    """Every picture carries a number of the camera's file, and numbers rise but where the file starts over."""
    counters = [frame.counter for frame in await watch.wait_more_frames(45)]
    readable = [counter for counter in counters if counter is not None]
    assert len(readable) == len(counters), f"{len(counters) - len(readable)} of {len(counters)} pictures are unreadable"
    assert max(readable) < CAMERA_FRAMES
    assert len(set(readable)) > len(readable) / 2, readable
    # The browser may film a picture twice when the machine is busy.
    assert sum(after < before for before, after in pairwise(readable)) <= 1, readable
