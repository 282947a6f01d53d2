"""WHIP in: aiortc and FFmpeg's own muxer as publishers, seen over WHEP and HLS."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from support import hls_rules
from support.hls_viewer import HlsRecorder, decode
from support.peers import WhepViewer, WhipPublisher
from support.publishers import whip_muxer_publisher
from support.seen import assert_counter_runs
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_aiortc_publishes_h264(server: Server) -> None:
    """aiortc by WHIP -> aiortc by WHEP and HLS, counter in order, sound there."""
    async with WhipPublisher(server.http, server.streams["whip"]):
        state = await server.wait_on_air("whip", tracks=2)
        assert state["stream_type"] == "WEBRTC_STREAM"
        assert {track["codec"] for track in state["tracks"]} == {"H264", "Opus"}
        async with WhepViewer(server.http, "whip") as viewer, HlsRecorder(server.http, "whip") as recorder:
            frames = await viewer.wait_frames(90)
            await wait_until(lambda: len(viewer.sound.beeps_s()) >= 2, 10, "two beeps")
            await recorder.wait_decodable(1)
            history = recorder.history()
        hls_frames, hls_sound = await asyncio.to_thread(decode, history, 1)
    assert_counter_runs(frames)
    assert_counter_runs(hls_frames)
    assert hls_sound.duration_s() > 0.5
    assert hls_rules.check(history) == []


async def test_aiortc_publishes_vp8(server: Server) -> None:
    """VP8 plays over WHEP; HLS says that it cannot carry it."""
    async with WhipPublisher(server.http, server.streams["whip"], video_mime_type="video/VP8"):
        state = await server.wait_on_air("whip", tracks=2)
        assert {track["codec"] for track in state["tracks"]} == {"VP8", "Opus"}
        async with WhepViewer(server.http, "whip") as viewer:
            frames = await viewer.wait_frames(45)
        playback = (await server.stream("whip"))["playback"]
    assert_counter_runs(frames)
    assert not playback["hls"]["playable"]
    assert playback["hls"]["code"] == "codec_not_hls"


async def test_ffmpeg_whip_muxer_publishes(server: Server) -> None:
    """FFmpeg's whip muxer (PyAV in its own process) with its default certificate -> aiortc by WHEP."""
    async with whip_muxer_publisher(server.page("/whip"), server.streams["muxer"]) as publisher:
        try:
            await server.wait_on_air("muxer")
        except AssertionError as error:
            raise AssertionError(f"{error}; the muxer says: {publisher.log()}") from None
        async with WhepViewer(server.http, "muxer") as viewer:
            frames = await viewer.wait_frames(60)
    await publisher.assert_sent(frames)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Authorization": "Bearer wrong-key"}, "offer", httpx.codes.UNAUTHORIZED, "key_wrong"),
        ({}, "offer", httpx.codes.UNAUTHORIZED, "key_missing"),
        ({"Authorization": "Bearer {key}"}, "v=0\r\nnonsense", httpx.codes.BAD_REQUEST, "sdp_malformed"),
        ({"Authorization": "Bearer {key}", "Content-Type": "text/plain"}, "offer", 415, "content_type_wrong"),
    ],
)
async def test_whip_refusals(server: Server, headers: dict[str, str], body: str, status: int, code: str) -> None:
    """Wrong key: WHIP 401; every refusal is a problem document with a stable code."""
    filled = {name: value.format(key=server.streams["whip"]) for name, value in headers.items()}
    answer = await server.http.post("/whip", content=body, headers={"Content-Type": "application/sdp", **filled})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["detail"].rstrip().endswith(".")


async def test_whep_without_a_broadcast_is_404(server: Server) -> None:
    answer = await server.http.post("/whep/main2", content="v=0", headers={"Content-Type": "application/sdp"})
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert answer.json()["code"] == "nothing_on_air"
