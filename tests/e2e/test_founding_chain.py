"""The chain this project began with, whole: a camera, the studio, a Python processor, the pages that play the result.

1 a user starts a stream, 2 producers are there, 3 the processor asks for the video, 4 the internal route gives it,
5 processing works and HLS is made, 6 the front end gets the stream, 7 the video plays. Each step is looked at from
outside, by something that is not the server's own diagnosis, and then compared with what `stream-status` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from support import hls_rules
from support.browser import CAMERA_FRAMES, WatchPage, open_page, wait_for_preview
from support.hls_viewer import HlsRecorder, decode
from support.processor import STEPS, dashboard, steps, stream_status, video_processor
from support.publishers import Publisher, card_publisher
from support.seen import BAR_BITS
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SOURCE = "founding"
RESULT = f"{SOURCE}-processed"
# Generous: a second or two, and a busy machine needs ten to start Python.
PLAYS_WITHIN_S = 45

# The number that `examples/videoProcess.py` drew, read off the picture that the page shows; null where there is no bar.
_READ_BAR = """bits => {
  const find = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element instanceof HTMLVideoElement && element.videoWidth > 2) return element;
      const inside = element.shadowRoot && find(element.shadowRoot);
      if (inside) return inside;
    }
    return null;
  };
  const video = find(document);
  if (!video) return null;
  const rows = Math.floor(video.videoHeight / 36) * 2;
  const canvas = new OffscreenCanvas(video.videoWidth, rows);
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  let number = 0;
  for (let index = 0; index < bits; index += 1) {
    const x = Math.round(((index + 0.5) * video.videoWidth) / bits);
    const [red, green, blue] = context.getImageData(x, Math.round(rows / 2), 1, 1).data;
    const level = (red + green + blue) / 3;
    if (level > 92 && level < 168) return null;
    number = number * 2 + (level >= 168 ? 1 : 0);
  }
  return number;
}"""


@asynccontextmanager
async def camera_on_air(server: Server, browser: Browser) -> AsyncIterator[WatchPage]:
    """Chromium's fake camera on `/studio`, opened as the banner's link opens it: the key is in the address."""
    async with open_page(browser, server.page(f"/studio#key={server.streams[SOURCE]}")) as studio:
        page = studio.page
        await page.locator("#turn-on-camera").or_(page.locator("#preview")).first.wait_for()
        if await page.locator("#turn-on-camera").is_visible():
            await page.click("#turn-on-camera")
        await wait_for_preview(page)
        # The key in the address is taken once the page knows who asks.
        await expect(page.locator("#stream-key")).not_to_have_value("")
        await page.click("#go-live")
        yield studio


async def test_from_the_camera_to_the_player_and_back_again(server: Server, browser: Browser) -> None:
    """All seven steps, by WebRTC and by HLS; then the camera ends and returns, and the same page plays on."""
    async with video_processor(server, SOURCE) as processor:
        async with open_page(browser, server.page(f"/watch/{RESULT}")) as watch:
            async with camera_on_air(server, browser):
                await assert_started_with_producers(server)
                await server.wait_on_air(RESULT, PLAYS_WITHIN_S)
                await assert_asked_and_given(server, processor)
                await assert_processed_and_made_hls(server)
                await watch.wait_transport("webrtc", PLAYS_WITHIN_S)
                await assert_plays(watch)
                async with open_page(browser, server.page(f"/watch/{RESULT}"), webrtc=False) as by_hls:
                    await by_hls.wait_transport("hls", PLAYS_WITHIN_S)
                    await assert_plays(by_hls)
                    await wait_chain(server, dict.fromkeys(STEPS, "ok"))
            await server.wait_off_air(RESULT)
            found = steps(await wait_chain(server, {"start": "waiting", "producers": "waiting"}))
            assert "fail" not in found.values()
            async with camera_on_air(server, browser):
                await watch.wait_transport("webrtc", PLAYS_WITHIN_S)
                await assert_plays(watch)
        assert processor.process.returncode is None
        assert len(processor.events("processor_started")) == 1
    # Sound may be on air half a second before the picture.
    assert {event["code"] for event in processor.events("processor_failed")} <= {"no_video"}


async def test_a_wrong_internal_token_is_named_as_the_broken_step(server: Server, tmp_path: Any) -> None:
    """The route refuses the processor's token: its own output, `stream-status` and the dashboard all say so."""
    token = tmp_path / "token"
    token.write_text("a-wrong-token\n")
    async with (
        card_publisher(server.rtmp_url(SOURCE)),
        video_processor(server, SOURCE, "--token-file", str(token)) as processor,
    ):
        await server.wait_on_air(SOURCE)
        await processor.wait_event("processor_failed", timeout_s=PLAYS_WITHIN_S)
        assert "The internal route refused the processor's token." in processor.log()
        ok = dict.fromkeys(("start", "producers", "request"), "ok")
        waiting = dict.fromkeys(("process", "front_end", "plays"), "waiting")
        status = await wait_chain(server, ok | {"route": "fail"} | waiting)
        (broken,) = [step for step in status["chain"] if step["state"] == "fail"]
        assert (broken["step"], broken["name"]) == (4, "route")
        said = (status["cause"]["code"], status["cause"]["link"])
        assert said == ("expose.token_rejected", "expose")
        assert "refused the processor's token" in status["cause"]["sentence"]
        (row,) = [stream for stream in (await dashboard(server))["streams"] if stream["name"] == SOURCE]
        assert row["cause"]["code"] == "expose.token_rejected"
        assert "refused the processor's token" in row["cause"]["sentence"]
    await server.wait_off_air(SOURCE)


async def assert_started_with_producers(server: Server) -> None:
    """Steps 1 and 2: a row on air for a browser's camera, and its tracks in the engine itself."""
    await server.wait_on_air(SOURCE, tracks=2)

    async def newest() -> dict[str, Any] | None:
        rows = (await server.http.get("/api/broadcasts", params={"stream": SOURCE, "limit": 1})).json()["broadcasts"]
        return rows[0] if rows and rows[0]["status"] == "ON_AIR" else None

    broadcast = await wait_until(newest, 5, "a broadcast on air")
    assert broadcast is not None
    assert broadcast["stream_type"] == "WEBRTC_STREAM"
    tracks = (await server.engine_stream(SOURCE))["tracks"]
    assert {track["kind"] for track in tracks} == {"video", "audio"}
    producers = (await server.http.get("/api/mediasoup-status")).json()["producers"]
    assert {producer["kind"] for producer in producers if producer["stream"] == SOURCE} == {"video", "audio"}


async def assert_asked_and_given(server: Server, processor: Publisher) -> None:
    """Steps 3 and 4: the engine opened a tap for the route, and what went through it was decoded by the processor."""
    opened = [event for event in await server.events() if event["event"] == "tap_opened" and event["stream"] == SOURCE]
    assert opened
    # Of the route: the posters open taps of their own.
    assert (await stream_status(server, SOURCE))["ledger"]["expose"]["out"]["bytes"] > 0
    headers = {"Authorization": f"Bearer {server.internal_token}", "Accept": "application/json"}
    async with httpx.AsyncClient(timeout=10, trust_env=False, headers=headers) as client:
        described = (await client.get(server.internal(f"videoExpose?stream={SOURCE}"))).json()
    assert (described["status"], described["reason"]) == ("ON_AIR", None)
    await processor.wait_event("processor_on_air")
    await processor.wait_event("processor_running")


async def assert_processed_and_made_hls(server: Server) -> None:
    """Step 5: HLS of the result keeps the rules, and its pictures carry the camera's number and the processor's."""
    async with HlsRecorder(server.http, RESULT) as recorder:
        await recorder.wait_decodable(2)
    assert hls_rules.check(recorder.history()) == []
    frames, _ = await asyncio.to_thread(decode, recorder.history(), 2)
    bars = [frame.bar for frame in frames if frame.bar is not None]
    assert len(bars) == len(frames)
    assert all(after == before + 1 for before, after in pairwise(bars)), bars
    assert_camera([frame.counter for frame in frames])


async def assert_plays(watch: WatchPage) -> None:
    """Steps 6 and 7: the page decodes new pictures of the camera, and the processor's bar is on them and moves."""
    assert_camera([frame.counter for frame in await watch.wait_more_frames(30, PLAYS_WITHIN_S)])
    numbers: list[int] = []

    async def bar_moves() -> bool:
        number = await watch.page.evaluate(_READ_BAR, BAR_BITS)
        if number is not None and number not in numbers:
            numbers.append(number)
        return len(numbers) >= 5

    await wait_until(bar_moves, 10, lambda: f"the processor's number to move; saw {numbers}")
    assert numbers == sorted(numbers)


def assert_camera(counters: list[int | None]) -> None:
    """Numbers of the camera's file, which rise but where it starts over."""
    readable = [counter for counter in counters if counter is not None]
    assert len(readable) == len(counters), f"{len(counters) - len(readable)} of {len(counters)} cannot be read"
    assert max(readable) < CAMERA_FRAMES
    # The browser may film a picture twice when the machine is busy.
    assert sum(after < before for before, after in pairwise(readable)) <= 1, readable


async def wait_chain(server: Server, wanted: dict[str, str]) -> dict[str, Any]:
    """Waits until these steps of the chain have these states."""
    last: dict[str, Any] = {}

    async def as_wanted() -> bool:
        nonlocal last
        last = await stream_status(server, SOURCE)
        return wanted.items() <= steps(last).items()

    await wait_until(
        as_wanted, PLAYS_WITHIN_S, lambda: f"the chain to be {wanted}; it is {last.get('chain')}", (httpx.HTTPError,)
    )
    return last
