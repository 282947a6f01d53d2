"""RTMP in: the same picture and sound come out over WHEP and HLS, in order and in step."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from aiortc import rtcdtlstransport
from playwright.async_api import Browser

from support.browser import open_page
from support.hls_viewer import HlsRecorder, decode
from support.peers import WhepViewer
from support.publishers import SMALL, Publisher, card_publisher, ffmpeg_publisher
from support.seen import Sound, assert_counter_runs, latency_s, lip_sync_ms
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# The bound on "beep and flash".
LIP_SYNC_LIMIT_MS = 80


def assert_in_step(offsets_ms: list[float]) -> None:
    assert len(offsets_ms) >= 2, "fewer than two flashes with a beep"
    assert max(abs(offset) for offset in offsets_ms) < LIP_SYNC_LIMIT_MS, offsets_ms


def assert_beeps_once_a_second(sound: Sound) -> None:
    beeps = sound.beeps_s()
    assert len(beeps) >= 2, f"{len(beeps)} beeps in {sound.duration_s():.1f} s of sound"
    for before, after in pairwise(beeps):
        assert abs(after - before - 1.0) < 0.02, beeps


async def test_ffmpeg_push_is_seen_and_heard(server: Server, clip: Path) -> None:
    """ffmpeg RTMP push -> decoded picture and sound in aiortc over WHEP, and over HLS; the counter read from the
    decoded picture is the one sent, in order, nothing missing; beep and flash within 80 ms on both paths."""
    async with ffmpeg_publisher(server.rtmp_url("clip"), clip):
        state = await server.wait_on_air("clip")
        assert {track["codec"] for track in state["tracks"]} == {"H264", "AAC"}
        async with WhepViewer(server.http, "clip") as viewer, HlsRecorder(server.http, "clip") as recorder:
            await viewer.wait_frames(120)
            clocks = viewer.clocks.values()
            await wait_until(lambda: all(clock.report for clock in clocks), 10, "sender reports of both tracks")
            frames, offset_s = list(viewer.frames), viewer.sound_offset_s()
            await recorder.wait_decodable(2)
            hls_frames, hls_sound = await asyncio.to_thread(decode, recorder.history(), 2)
    assert_counter_runs(frames)
    assert_counter_runs(hls_frames)
    # The clip is numbered from zero: these are its own numbers, not merely plausible ones.
    for frame in (frames[-1], hls_frames[-1]):
        assert frame.counter is not None
        assert frame.counter < 12 * 30
        assert (frame.width, frame.height) == (640, 360)
    assert_beeps_once_a_second(viewer.sound)
    assert_beeps_once_a_second(hls_sound)
    assert_in_step(lip_sync_ms(frames, viewer.sound, offset_s))
    assert_in_step(lip_sync_ms(hls_frames, hls_sound))


async def test_whep_picture_is_fresh(server: Server, on_air: Publisher) -> None:
    """Over WHEP the decoded picture is well under half a second old, encoder and decoder included."""
    async with WhepViewer(server.http, "main") as viewer:
        await viewer.wait_frames(60)
        frames = await viewer.wait_more_frames(60)
    await on_air.assert_sent(frames)
    assert latency_s(frames, 30) < 0.5


@pytest.mark.parametrize("profile", ["AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES128_CM_SHA1_80"])
async def test_each_srtp_profile_plays(
    server: Server, on_air: Publisher, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    """AES-CM fallback: whichever of the three ciphers a viewer offers alone, it sees and hears the stream."""
    offered = getattr(rtcdtlstransport, f"SRTP_{profile}")
    monkeypatch.setattr(rtcdtlstransport, "SRTP_PROFILES", [offered])
    async with WhepViewer(server.http, "main") as viewer:
        session = viewer.location.rpartition("/")[2]
        await viewer.wait_frames(60)
        # Reports are encrypted with keys of their own.
        await wait_until(lambda: all(clock.report for clock in viewer.clocks.values()), 10, "sender reports")
    await on_air.assert_sent(viewer.frames)
    assert viewer.sound.duration_s() > 1
    sessions = [line for line in server.log().splitlines() if session in line and "whep_session_opened" in line]
    assert any(profile in line for line in sessions), sessions


@pytest.mark.parametrize(("encoder", "codec"), [("libvpx-vp9", "VP9"), ("libsvtav1", "AV1")])
async def test_e_rtmp_codecs_play(server: Server, browser: Browser, encoder: str, codec: str) -> None:
    """By E-RTMP AV1, VP9, Opus: real Chromium plays them over WebRTC as they are, and HLS carries them."""
    stream = codec.lower()
    settings = replace(SMALL, frame_rate=15, video_codec=encoder, audio_codec="libopus")
    async with card_publisher(server.rtmp_url(stream), settings):
        state = await server.wait_on_air(stream)
        assert {track["codec"] for track in state["tracks"]} == {codec, "Opus"}
        async with open_page(browser, server.page(f"/watch/{stream}")) as watch:
            await watch.wait_transport("webrtc")
            seen = await watch.wait_more_frames(30)
        async with HlsRecorder(server.http, stream) as recorder:
            await recorder.wait_decodable(1)
            decoded, sound = await asyncio.to_thread(decode, recorder.history(), 1)
    for frames in (seen, decoded):
        # The fastest AV1 preset smears a strip now and then; what can be read must be in order.
        numbers = [frame.counter for frame in frames if frame.counter is not None]
        assert len(numbers) >= len(frames) * 2 // 3
        assert numbers == sorted(numbers)
    assert sound.duration_s() > 1


async def test_ffprobe_reads_the_hls(server: Server, on_air: Publisher) -> None:
    """ffprobe reads the HLS: both tracks, right codecs and size."""
    await wait_until(lambda: _is_served(server.http), 10, "the multivariant playlist", (httpx.HTTPError,))
    probe = await asyncio.create_subprocess_exec(
        *["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height,sample_rate", "-of", "json"],
        f"{server.url}/hls/main/index.m3u8",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(probe.communicate(), 20)
    assert probe.returncode == 0, errors.decode()
    streams = {stream["codec_name"]: stream for stream in json.loads(output)["streams"]}
    assert set(streams) == {"h264", "aac"}, streams
    assert (streams["h264"]["width"], streams["h264"]["height"]) == (640, 360)
    assert streams["aac"]["sample_rate"] == "48000"


async def _is_served(http: httpx.AsyncClient) -> bool:
    return (await http.get("/hls/main/index.m3u8")).status_code == httpx.codes.OK
