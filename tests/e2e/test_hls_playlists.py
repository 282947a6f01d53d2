"""LL-HLS as a protocol: parts, blocking reload, delta updates, and the rules over a recorded history."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack

import httpx
import pytest

from support import hls_rules
from support.hls_viewer import HlsRecorder, media_playlist_url
from support.playlist import apply_delta, parse_media, parse_multivariant
from support.publishers import Publisher, card_publisher
from support.server import Server
from support.waiting import Stopwatch, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_history_keeps_every_rule_over_reconnects(server: Server, on_air: Publisher) -> None:
    """An invariant checker for RFC 8216bis runs over a recorded playlist history, reconnects included. (The playlist of
    `main` grows meanwhile, for the tests that need a long one.)"""
    url = server.rtmp_url("history")
    async with AsyncExitStack() as stack:
        async with card_publisher(url):
            await server.wait_on_air("history")
            recorder = await stack.enter_async_context(HlsRecorder(server.http, "history"))
            await recorder.wait_segments(3)
        for segments in (6, 9):
            await server.wait_off_air("history")
            async with card_publisher(url):
                await recorder.wait_segments(segments)
    history = recorder.history()
    discontinuities = [segment.number for segment in history.segments() if segment.discontinuity]
    assert len(discontinuities) == 2, f"two returns, discontinuities at {discontinuities}"
    assert sum(len(segment.parts) for segment in history.segments()) > 60
    assert hls_rules.check(history) == []


async def test_blocking_reload_answers_with_the_part_asked_for(server: Server, on_air: Publisher) -> None:
    """Blocking reload: the answer comes when the part exists, holds it, and comes within two parts' time."""
    url = await _media_url(server.http)
    waits_s: list[float] = []
    for _ in range(5):
        number, part = parse_media((await server.http.get(url)).text).next_part()
        clock = Stopwatch()
        answer = await server.http.get(_with(url, _HLS_msn=number, _HLS_part=part))
        assert answer.status_code == httpx.codes.OK
        assert parse_media(answer.text).next_part() > (number, part)
        waits_s.append(clock.elapsed_s())
    # Of five, because the publisher of a busy machine may itself stand still for one of them.
    assert statistics.median(waits_s) < 0.6, waits_s
    assert max(waits_s) < 3, waits_s


async def test_blocking_reload_far_ahead_is_refused(server: Server, on_air: Publisher) -> None:
    """A part that will not exist for a long time is a mistake of the client: 400 at once, not a hanging request."""
    url = await _media_url(server.http)
    number, _ = parse_media((await server.http.get(url)).text).next_part()
    for parameters in ({"_HLS_msn": number + 100}, {"_HLS_part": 0}, {"_HLS_msn": "x"}):
        clock = Stopwatch()
        answer = await server.http.get(_with(url, **parameters))
        assert answer.status_code == httpx.codes.BAD_REQUEST, parameters
        assert clock.elapsed_s() < 1


async def test_delta_update_stands_for_the_whole_playlist(server: Server, on_air: Publisher) -> None:
    """Delta updates: the copy before plus the delta is the playlist that a full request gives."""
    url = await _media_url(server.http)

    async def is_long_enough() -> bool:
        playlist = parse_media((await server.http.get(url)).text)
        # Only segments older than CAN-SKIP-UNTIL may be skipped.
        total_s = sum(segment.duration_s or 0.0 for segment in playlist.segments)
        return total_s > float(playlist.server_control["CAN-SKIP-UNTIL"]) + playlist.target_duration_s

    await wait_until(is_long_enough, 40, "a playlist long enough to be cut short")

    async def same_moment() -> bool:
        before = parse_media((await server.http.get(url)).text)
        number, part = before.next_part()
        at = {"_HLS_msn": number, "_HLS_part": part}
        whole, delta = await asyncio.gather(
            server.http.get(_with(url, **at)), server.http.get(_with(url, **at, _HLS_skip="YES"))
        )
        assert delta.headers["content-type"] == "application/vnd.apple.mpegurl"
        read = parse_media(delta.text)
        assert read.skipped > 0
        assert len(delta.text) < len(whole.text)
        # A part may have been added between the two answers; then they cannot be compared.
        return apply_delta(before, read) == parse_media(whole.text)

    await wait_until(same_moment, 10, "a whole playlist and a delta of the same moment that agree")


async def test_multivariant_playlist_tells_what_is_inside(server: Server, on_air: Publisher) -> None:
    """Codecs, resolution, frame rate and bandwidth are there, and players on other sites may fetch it."""
    answer = await server.http.get("/hls/main/index.m3u8", headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    variant = parse_multivariant(answer.text)[0]
    assert variant.attributes["RESOLUTION"] == "640x360"
    codecs = variant.attributes["CODECS"].split(",")
    assert any(codec.startswith("avc1.") for codec in codecs)
    assert "mp4a.40.2" in codecs
    assert int(variant.attributes["BANDWIDTH"]) > 100_000


async def test_nothing_on_air_is_a_problem_document(server: Server) -> None:
    answer = await server.http.get("/hls/whip/index.m3u8")
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "nothing_on_air"


def _with(url: str, **directives: int | str) -> httpx.URL:
    return httpx.URL(url).copy_merge_params(directives)


async def _media_url(http: httpx.AsyncClient) -> str:
    return await wait_until(lambda: media_playlist_url(http), 10, "the playlist", (httpx.HTTPError, IndexError))
