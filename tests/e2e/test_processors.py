"""The founding processor around the whole server: what it makes, what it survives, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from support.hls_viewer import HlsRecorder, decode
from support.peers import WhipPublisher
from support.processor import lamp, steps, stream_status, video_processor
from support.publishers import SMALL, Publisher, card_publisher
from support.seen import lip_sync_ms, luma_of, missing_pictures
from support.server import Server
from support.waiting import wait_until
from tallylight.demo import testcard

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# Generous: a second or two, and a busy machine needs ten to start Python.
BACK_WITHIN_S = 45
LIP_SYNC_LIMIT_MS = 45
# Of pictures that wait behind a slow function in a queue without a limit, the age grows by nearly a second a second.
SLOW_SECONDS, AGE_GROWTH_LIMIT_S = 6, 2.5


async def wait_status(
    server: Server, stream: str, holds: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = BACK_WITHIN_S
) -> dict[str, Any]:
    """Waits until stream-status is as wanted."""

    async def asked() -> dict[str, Any] | None:
        status = await stream_status(server, stream)
        return status if holds(status) else None

    status: dict[str, Any] | None = await wait_until(asked, timeout_s, what, (httpx.HTTPError,))
    assert status is not None
    return status


async def test_the_result_is_the_source_drawn_on(server: Server) -> None:
    """Pictures in order, each with the source's own number below and the processor's above; sound in time with them;
    every link ok; SIGTERM ends it, and nobody calls that a failure."""
    async with (
        card_publisher(server.rtmp_url("draw")) as publisher,
        video_processor(server, "draw") as processor,
    ):
        await server.wait_on_air("draw-processed", BACK_WITHIN_S)
        async with HlsRecorder(server.http, "draw-processed") as recorder:
            await recorder.wait_decodable(2)
        frames, sound = decode(recorder.history(), 2)
        await assert_losses_are_counted(server, "draw", publisher, missing_pictures(frames))
        assert all(frame.bar is not None for frame in frames)
        skew_ms = lip_sync_ms(frames, sound)
        assert skew_ms
        assert abs(statistics.median(skew_ms)) < LIP_SYNC_LIMIT_MS, skew_ms
        status = await wait_status(server, "draw", lambda status: lamp(status, "process") == "ok", "the lamp")
        assert lamp(status, "expose") == "ok"
        assert status["cause"] is None
        (reported,) = status["processors"]
        assert (reported["pid"], reported["output"]) == (processor.process.pid, "draw-processed")
        assert [p["id"] for p in (await stream_status(server, "draw-processed"))["processors"]] == [reported["id"]]
        processor.signal(signal.SIGTERM)
        assert await processor.wait_exit(10) == 0
        status = await stream_status(server, "draw")
        assert (status["processors"], status["cause"]) == ([], None)
    assert processor.events("processor_stopped")[0]["frames_out"] > 60
    assert not processor.events("processor_failed")


async def assert_losses_are_counted(server: Server, stream: str, publisher: Publisher, missing: int) -> None:
    """What a busy machine could not do in time was left out by the publisher or by the processor, and both say so."""

    async def counted() -> bool:
        (processor,) = (await stream_status(server, stream))["processors"]
        return bool(publisher.frames_dropped() + processor["queue"]["dropped"] >= missing)

    await wait_until(counted, 5, f"{missing} missing pictures to be accounted for")


async def test_it_follows_the_source_off_the_air_and_back_in_another_size(server: Server) -> None:
    """The source ends: so does the result, and that is no fault. It returns in another size: so does the result,
    without a restart of the processor."""
    async with video_processor(server, "draw-again") as processor:
        async with card_publisher(server.rtmp_url("draw-again")):
            await wait_size(server, "draw-again-processed", 640)
        await server.wait_off_air("draw-again-processed")
        status = await wait_status(
            server, "draw-again", lambda s: [p["state"] for p in s["processors"]] == ["waiting"], "it to wait"
        )
        assert status["cause"] is None
        async with card_publisher(server.rtmp_url("draw-again"), replace(SMALL, width=480, height=272)):
            await wait_size(server, "draw-again-processed", 480)
        assert processor.process.returncode is None
        assert len(processor.events("processor_started")) == 1


async def wait_size(server: Server, stream: str, width: int) -> None:
    async def is_that_wide() -> bool:
        tracks = (await server.stream(stream)).get("tracks", [])
        return width in [track["width"] for track in tracks]

    await wait_until(is_that_wide, BACK_WITHIN_S, f"{stream} to be {width} pixels wide", (httpx.HTTPError,))


async def test_vp8_from_a_browser_becomes_what_hls_can_carry(server: Server) -> None:
    """WHIP with VP8 and Opus in: H.264 and the same Opus out, in HLS too."""
    async with (
        WhipPublisher(server.http, server.streams["draw-vp8"], video_mime_type="video/VP8"),
        video_processor(server, "draw-vp8"),
    ):
        state = await server.wait_on_air("draw-vp8-processed", BACK_WITHIN_S)
        assert {track["codec"] for track in state["tracks"]} == {"H264", "Opus"}
        async with HlsRecorder(server.http, "draw-vp8-processed") as recorder:
            await recorder.wait_decodable(1)
        frames, _ = decode(recorder.history(), 1)
        assert all(frame.bar is not None for frame in frames)
        source = await stream_status(server, "draw-vp8")
        assert source["playback"]["hls"]["code"] == "codec_not_hls"


async def test_it_survives_the_end_of_every_part_of_the_server(own_server: Server) -> None:
    """`kill -9` of the control plane, then of the engine: the result is back, made by the same process."""
    async with card_publisher(own_server.rtmp_url()), video_processor(own_server, "main") as processor:
        await own_server.wait_on_air("main-processed", BACK_WITHIN_S)
        for kill in (own_server.control_plane_pid, own_server.engine_pid):
            before = (await own_server.stream("main-processed"))["epoch"]
            os.kill(kill(), signal.SIGKILL)

            async def is_back(before: int = before) -> bool:
                state = await own_server.stream("main-processed")
                return bool(state["status"] == "ON_AIR" and state["epoch"] != before)

            await wait_until(is_back, BACK_WITHIN_S, f"another publication than {before}", (httpx.HTTPError,))
        assert len(processor.events("processor_started")) == 1
        await wait_status(own_server, "main", lambda s: lamp(s, "process") == "ok", "the processor's lamp")


async def test_a_wrong_token_is_named_by_everybody_until_it_is_right(server: Server, tmp_path: Path) -> None:
    """The processor's own words (once), the lamp, the cause and the chain name the refused token; with the right one in
    the file the result appears, without a restart."""
    token = tmp_path / "token"
    token.write_text("not-the-token")
    async with (
        card_publisher(server.rtmp_url("draw-refused")),
        video_processor(server, "draw-refused", "--token-file", str(token)) as processor,
    ):
        await server.wait_on_air("draw-refused")
        await processor.wait_event("processor_failed", timeout_s=BACK_WITHIN_S)
        (said,) = processor.events("processor_failed")
        assert said["code"] == "token_wrong"
        assert "internal route refused the processor's token" in said["sentence"]
        status = await wait_status(
            server,
            "draw-refused",
            # Every five seconds it tries again; the second refusal says nothing new.
            lambda s: s["ledger"]["expose"]["out"]["errors"] >= 4 and steps(s)["producers"] == "ok",
            "refusals to be counted, and the source to be measured",
        )
        assert_names_the_refused_token(status)
        assert len(processor.events("processor_failed")) == 1
        token.write_text(server.internal_token)
        await server.wait_on_air("draw-refused-processed", BACK_WITHIN_S)
        status = await wait_status(server, "draw-refused", lambda s: lamp(s, "process") == "ok", "the lamp")
        assert status["cause"] is None


def assert_names_the_refused_token(status: dict[str, Any]) -> None:
    assert status["cause"]["code"] == "expose.token_rejected"
    assert "refused the processor's token" in status["cause"]["sentence"]
    assert "internal-token" in status["cause"]["fix"]
    assert [link["link"] for link in status["links"] if link["state"] == "fail"] == ["expose"]
    assert lamp(status, "process") == "waiting"
    found = steps(status)
    assert [found[name] for name in ("start", "producers", "request", "route")] == ["ok", "ok", "ok", "fail"]
    assert {found[name] for name in ("process", "front_end", "plays")} == {"waiting"}


async def test_a_function_that_raises_is_named_and_nothing_is_shown_in_its_place(
    server: Server, tmp_path: Path
) -> None:
    """A picture that could not be drawn on is not passed on as it was; the lamp has the function's own words."""
    program = tmp_path / "broken.py"
    program.write_text(
        "from tallylight.processing.command_line import main\n"
        "def draw(frame): raise ZeroDivisionError('on purpose')\n"
        "main(draw, 'Fails.')\n"
    )
    async with (
        card_publisher(server.rtmp_url("draw-broken")),
        video_processor(server, "draw-broken", program=str(program)) as processor,
    ):
        status = await wait_status(
            server, "draw-broken", lambda s: s["cause"] is not None and s["processors"] != [], "the failure"
        )
        assert status["cause"]["code"] == "process.failed"
        assert "ZeroDivisionError: on purpose" in status["cause"]["sentence"]
        assert (await server.stream("draw-broken-processed"))["status"] == "OFF_AIR"
        processor.signal(signal.SIGTERM)
        assert await processor.wait_exit(10) == 0


async def test_a_result_that_the_server_refuses_is_explained_in_its_words(server: Server, tmp_path: Path) -> None:
    """A wrong key for the result: the server's sentence, in the processor's output and as the cause."""
    key = tmp_path / "key"
    key.write_text("not-the-key")
    async with (
        card_publisher(server.rtmp_url("draw-again")),
        video_processor(server, "draw-again", "--key-file", str(key)) as processor,
    ):
        await processor.wait_event("processor_failed", timeout_s=BACK_WITHIN_S)
        (said,) = processor.events("processor_failed")
        assert said["code"] == "output_refused"
        assert "stream key is not valid" in said["sentence"]
        status = await wait_status(server, "draw-again", lambda s: s["cause"] is not None, "the cause")
        assert (status["cause"]["code"], status["processors"][0]["state"]) == ("process.failed", "failed")
        assert "stream key is not valid" in status["cause"]["sentence"]


async def test_a_slow_function_gets_the_newest_pictures(server: Server, tmp_path: Path) -> None:
    """A function that takes four pictures a second of thirty: what it shows does not get older and older, and the lamp
    says that it does not keep up."""
    program = tmp_path / "slow.py"
    program.write_text(
        "import time\n"
        "from tallylight.processing.command_line import main\n"
        "main(lambda frame: time.sleep(0.25), 'Slow.')\n"
    )

    def dropped(status: dict[str, Any]) -> bool:
        return bool(status["processors"][0]["queue"]["dropped"])

    async with (
        card_publisher(server.rtmp_url("draw-slow")),
        video_processor(server, "draw-slow", program=str(program)),
    ):
        status = await wait_status(
            server,
            "draw-slow",
            # The lamp warns of the pictures' age before the queue is full.
            lambda s: (lamp(s, "process"), lamp(s, "expose")) == ("warn", "ok") and dropped(s),
            "the warning",
        )
        assert status["cause"]["code"] == "process.not_keeping_up"
        ages_s = await asyncio.to_thread(ages_of_pictures, server, "draw-slow-processed", 4 * SLOW_SECONDS)
        assert min(ages_s[-4:]) - min(ages_s[:4]) < AGE_GROWTH_LIMIT_S


def ages_of_pictures(server: Server, stream: str, count: int) -> list[float]:
    """How old each of so many pictures of the card is when it was decoded."""
    headers = f"Authorization: Bearer {server.internal_token}\r\n"
    ages_s: list[float] = []
    url = server.internal(f"videoExpose?stream={stream}")
    with av.open(url, options={"headers": headers, "fpsprobesize": "0"}, timeout=15) as container:
        for picture in container.decode(video=0):
            counter = testcard.read_counter(luma_of(picture))
            assert counter is not None
            ages_s.append(time.time() - counter / SMALL.frame_rate)
            if len(ages_s) == count:
                break
    return ages_s


async def test_without_the_key_of_an_existing_stream_it_says_where_to_put_it(server: Server) -> None:
    """`NAME-processed` made by somebody else: two sentences and an exit code, no key guessed or changed."""
    async with video_processor(server, "draw", "--output", "draw-broken") as processor:
        assert await processor.wait_exit(BACK_WITHIN_S) == 1
    assert "output_key_unknown" in processor.log()
    assert "rotate-key" in processor.log()
