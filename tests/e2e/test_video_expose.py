"""The internal listener: what is on air as MP4 for programs on this host, and what it says when nothing is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import av
import cv2
import httpx
import pytest

from support.peers import WhipPublisher
from support.processor import stream_status
from support.publishers import SMALL, card_publisher
from support.seen import SeenFrame, assert_counter_runs, media_time_s, read_frame
from support.server import Server
from support.waiting import wait_until
from tallylight.demo import testcard

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# Opening and reading: far more than any pause of the stream.
AV_TIMEOUT_S = (15.0, 15.0)


def bearer(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.internal_token}"}


def decode(server: Server, path: str, count: int | None) -> list[SeenFrame]:
    """So many pictures as PyAV decodes them, or all until the stream ends."""
    frames: list[SeenFrame] = []
    headers = f"Authorization: Bearer {server.internal_token}\r\n"
    with av.open(server.internal(path), options={"headers": headers}, timeout=AV_TIMEOUT_S) as container:
        for frame in container.decode(video=0):
            frames.append(read_frame(frame, media_time_s(frame), time.time()))
            if len(frames) == count:
                break
    return frames


def numbers_by_opencv(server: Server, stream: str, count: int) -> list[int | None]:
    """The numbers on so many pictures as `cv2.VideoCapture` gives them, with the token as password in the address."""
    url = server.internal(f"videoExpose?stream={stream}", f"x:{server.internal_token}@")
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    assert capture.isOpened()
    numbers: list[int | None] = []
    try:
        while len(numbers) < count:
            there, picture = capture.read()
            assert there
            # Limited range, as the card's reader expects it: OpenCV gives full range.
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(float)
            numbers.append(testcard.read_counter((16 + grey * 219 / 255).astype("uint8")))
    finally:
        capture.release()
    return numbers


async def assert_opencv_reads(server: Server, stream: str) -> None:
    numbers = await asyncio.to_thread(numbers_by_opencv, server, stream, 15)
    readable = [number for number in numbers if number is not None]
    assert len(readable) == len(numbers)
    assert readable == sorted(set(readable))


async def wait_no_taps(server: Server) -> None:
    async def none_open() -> bool:
        return (await server.statistics())["tap.open"] == 0

    await wait_until(none_open, 10, "every tap to be closed")


async def wait_delivered(server: Server) -> None:
    async def exposed() -> int:
        # What the route handed out; the engine's own count of taps includes the posters'.
        return int((await stream_status(server, "expose"))["ledger"]["expose"]["out"]["bytes"])

    before = await exposed()

    async def more() -> bool:
        return await exposed() > before

    await wait_until(more, 10, "a tap to deliver")


async def test_h264_by_rtmp_until_it_ends(server: Server) -> None:
    """`av.open(videoExpose)` decodes the newest stream in order, and its end is an end, not an error. The reader's
    going away closes the tap. OpenCV reads it as well."""
    async with card_publisher(server.rtmp_url("expose")) as publisher:
        await server.wait_on_air("expose")
        frames = await asyncio.to_thread(decode, server, "videoExpose", 30)
        await publisher.assert_sent(frames)
        await wait_no_taps(server)
        await assert_opencv_reads(server, "expose")
        await wait_no_taps(server)
        whole = asyncio.create_task(asyncio.to_thread(decode, server, "videoExpose?stream=expose", None))
        await wait_delivered(server)
    frames = await asyncio.wait_for(whole, 20)
    assert frames
    await publisher.assert_sent(frames)
    await wait_no_taps(server)
    closed = [
        event for event in await server.events() if event["event"] == "tap_closed" and event["stream"] == "expose"
    ]
    assert {event["reason"] for event in closed} == {"reader_gone", "publication_ended"}


async def test_hevc_by_rtmp(server: Server) -> None:
    """HEVC, which WebRTC cannot show: decoded in order, by OpenCV too."""
    async with card_publisher(server.rtmp_url("expose-hevc"), replace(SMALL, video_codec="libx265")) as publisher:
        state = await server.wait_on_air("expose-hevc")
        assert "H265" in {track["codec"] for track in state["tracks"]}
        await assert_opencv_reads(server, "expose-hevc")
        frames = await asyncio.to_thread(decode, server, "videoExpose?stream=expose-hevc", 30)
        await publisher.assert_sent(frames)


async def test_vp8_by_whip(server: Server) -> None:
    """VP8, which HLS cannot carry: decoded in order, by OpenCV too."""
    async with WhipPublisher(server.http, server.streams["expose-whip"], video_mime_type="video/VP8"):
        await server.wait_on_air("expose-whip")
        await assert_opencv_reads(server, "expose-whip")
        frames = await asyncio.to_thread(decode, server, "videoExpose?stream=expose-whip", 30)
    assert_counter_runs(frames)


async def test_ffmpeg_reads_it_with_the_token_as_password(server: Server) -> None:
    """`ffmpeg -i http://x:TOKEN@…` decodes pictures; the same with a wrong token does not."""
    async with card_publisher(server.rtmp_url("expose")):
        await server.wait_on_air("expose")
        code, output, errors = await ffmpeg(server.internal("videoExpose", f"x:{server.internal_token}@"))
        assert code == 0, errors
        pictures = [line for line in output.splitlines() if not line.startswith("#")]
        assert len(pictures) == 10
        code, _, errors = await ffmpeg(server.internal("videoExpose", "x:wrong@"))
        assert code != 0
        assert "401" in errors
    await server.wait_off_air("expose")


async def ffmpeg(url: str) -> tuple[int | None, str, str]:
    """Exit code, one line for each of ten decoded pictures, errors."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", url, "-map", "0:v", "-frames:v", "10", "-f", "framecrc", "-"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode(), errors.decode()


async def test_who_may_ask_and_where(own_server: Server) -> None:
    """401 without the token, 404 with a reason when nothing is on air; health needs no token and lists every process;
    nothing of it on the public port, whatever the token."""
    server = own_server
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        for path in ("videoExpose", "stream-status/main"):
            assert (await client.get(server.internal(path))).json()["code"] == "token_missing"
        nothing = await client.get(server.internal("videoExpose"), headers=bearer(server))
        assert (nothing.status_code, nothing.json()["code"]) == (404, "nothing_on_air")
        as_json = await client.get(
            server.internal("videoExpose"), headers={**bearer(server), "Accept": "application/json"}
        )
        assert (as_json.json()["producers"], as_json.json()["reason"]) == ([], nothing.json()["detail"])
    await wait_until(lambda: server.pid_of("tallylight.posters"), 20, "the posters' process", (AssertionError,))
    assert server.process is not None
    pids = {
        ("supervisor", server.process.pid),
        ("control", server.control_plane_pid()),
        ("engine", server.engine_pid()),
        ("posters", server.pid_of("tallylight.posters")),
    }

    async def all_listed() -> bool:
        # An engine that takes 30 ms to answer is not listed as running for once.
        processes = (await server.http.get(server.internal("health"))).json()["processes"]
        return {(process["name"], process["pid"]) for process in processes if process["state"] == "running"} == pids

    await wait_until(all_listed, 5, f"{pids} to be listed")
    for path in ("/internal/videoExpose", "//internal/videoExpose", "/x/../internal/videoExpose"):
        assert (await server.http.get(f"{server.url}{path}", headers=bearer(server))).status_code == 404


async def test_the_server_stops_while_a_tap_is_open(own_server: Server) -> None:
    """A reader does not hold the server up; stopping leaves no error in the log (the fixture looks)."""
    async with (
        card_publisher(own_server.rtmp_url()),
        httpx.AsyncClient(timeout=15, trust_env=False, headers=bearer(own_server)) as client,
    ):
        await own_server.wait_on_air()
        async with client.stream("GET", own_server.internal("videoExpose")) as answer:
            pieces = answer.aiter_raw()
            assert (await anext(pieces))[4:8] == b"ftyp"
            status = (await client.get(own_server.internal("stream-status/main"))).json()
            assert status["producers"]
            assert status["ledger"]["ingest"]["in"]["bytes"] > 0
            assert [session["kind"] for session in status["sessions"]] == ["rtmp"]
            await own_server.stop()
