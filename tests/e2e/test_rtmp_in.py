"""RTMP in: the same picture and sound come out over WHEP and HLS, in order and in step."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from support.hls_viewer import HlsRecorder, decode
from support.peers import WhepViewer
from support.publishers import Publisher, ffmpeg_publisher
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
