"""Private streams: who is let in, who is cut, and how many watch.

Policies go over the engine's socket, tokens are made by PyJWT.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from support.browser import open_page
from support.hls_viewer import HlsRecorder, decode, media_playlist_url
from support.peers import WhepViewer, post_sdp
from support.playlist import parse_media
from support.publishers import card_publisher
from support.server import Server
from support.waiting import wait_until
from tallylight.engine.client import EngineClient
from tallylight.engine.models import PlaybackPolicy, StreamPolicy

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# A change of the policy is felt by those who watch within this.
CUT_LIMIT_S = 1.0
# From the cut to a sentence on the page.
WORDS_LIMIT_S = 5.0
# A viewer counts until its last playlist is this old; counted once a second.
GONE_LIMIT_S = 10 + 3

KEY, OTHER_KEY = secrets.token_bytes(32), secrets.token_bytes(32)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def server() -> AsyncIterator[Server]:
    """A server of this module's own with the card on `main`: it overrules the control plane's policy."""
    async with Server.with_streams("main", "audience") as server, card_publisher(server.rtmp_url()):
        await server.wait_on_air()
        # Until HLS has something to play.
        await wait_until(lambda: media_playlist_url(server.http), 10, "a playlist", (httpx.HTTPError,))
        yield server


async def set_policy(server: Server, key: bytes | None) -> None:
    """Makes `main` private under `key`, or public."""
    rules = {} if key is None else {"main": StreamPolicy(visibility="private", playback_key=_text(key))}
    async with EngineClient(server.engine_socket) as client:
        await client.set_policy(PlaybackPolicy(streams=rules))


def _text(key: bytes) -> str:
    return urlsafe_b64encode(key).rstrip(b"=").decode()


def token(key: bytes = KEY, stream: str = "main", expires_in_s: float = 60) -> str:
    claims = {"sub": stream, "aud": "tallylight-playback", "exp": int(time.time() + expires_in_s)}
    return jwt.encode(claims, key, algorithm="HS256")


async def test_only_a_token_of_this_stream_opens_it(server: Server) -> None:
    """No token, a token of another stream or key, an expired one: 401 with its code on every way of watching."""
    await set_policy(server, KEY)
    refused = {
        None: "token_missing",
        "x": "token_wrong",
        token(OTHER_KEY): "token_wrong",
        token(stream="audience"): "token_wrong",
        jwt.encode({"sub": "main"}, "", algorithm="none"): "token_wrong",
        token(expires_in_s=-1): "token_expired",
    }
    for presented, code in refused.items():
        query = f"?token={presented}" if presented else ""
        answers = [
            await server.http.get(f"/hls/main/index.m3u8{query}"),
            await server.http.get(f"/live/main/events{query}"),
            await post_sdp(server.http, "/whep/main", "v=0\r\n", presented),
        ]
        for answer in answers:
            assert answer.status_code == httpx.codes.UNAUTHORIZED, (code, answer.url)
            assert (answer.json()["code"], answer.headers["www-authenticate"]) == (code, "Bearer")
    answer = await server.http.get("/hls/main/media.m3u8")
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.UNAUTHORIZED, "token_missing")


async def test_a_private_stream_plays_over_webrtc_until_its_key_changes(server: Server) -> None:
    """aiortc with a token sees the card; after a new key its session and its live state are closed within 1 s."""
    await set_policy(server, KEY)
    viewer = WhepViewer(server.http, "main", token())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(viewer)
        await viewer.wait_frames(30)
        live = await stack.enter_async_context(server.http.stream("GET", f"/live/main/events?token={token()}"))
        lines = live.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        session = viewer.location.rpartition("/")[2]
        # The same policy again leaves everybody alone.
        await set_policy(server, KEY)
        await viewer.wait_more_frames(10)

        await set_policy(server, OTHER_KEY)
        assert session not in {each["id"] for each in await server.sessions()}
        await asyncio.gather(
            wait_until(lambda: viewer.connection.connectionState == "closed", CUT_LIMIT_S, "the viewer to be cut"),
            asyncio.wait_for(_drain(lines), CUT_LIMIT_S),
        )
        viewer.location = ""
    closed = [event for event in await server.events() if event.get("session") == session]
    assert closed[-1]["reason"] == "access_revoked"


async def _drain(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass


async def test_a_private_stream_plays_over_hls_until_its_key_changes(server: Server) -> None:
    """Playlists and media play below the session; after a new key both are refused within 1 s."""
    await set_policy(server, KEY)
    async with HlsRecorder(server.http, token=token()) as recorder:
        await recorder.wait_decodable(2)
        frames, _ = await asyncio.to_thread(decode, recorder.history(), 2)
        assert len(frames) > 60
        assert "/~" in recorder.media_url
        part = recorder.playlists[-1].parts()[0].uri
        media = httpx.URL(recorder.media_url).join(part)
        assert (await server.http.get(media)).headers["cache-control"] == "private, no-store"
        assert recorder.refusals == []
        await set_policy(server, OTHER_KEY)
        await wait_until(lambda: recorder.refusals, CUT_LIMIT_S, "a refused playlist")
        assert set(recorder.refusals) == {httpx.codes.UNAUTHORIZED}
    for url in (recorder.media_url, media):
        answer = await server.http.get(url)
        assert (answer.status_code, answer.json()["code"]) == (httpx.codes.UNAUTHORIZED, "access_revoked")
    outside = await server.http.get(f"/hls/main/{part}")
    assert (outside.status_code, outside.json()["code"]) == (httpx.codes.UNAUTHORIZED, "token_missing")


async def test_ffmpeg_plays_a_private_stream(server: Server) -> None:
    """A player that knows nothing of tokens plays an address that has one."""
    await set_policy(server, KEY)
    player = await _ffmpeg(server, f"/hls/main/index.m3u8?token={token()}", "-frames:v", "60")
    assert await asyncio.wait_for(player.wait(), 30) == 0


@pytest.mark.parametrize("webrtc", [True, False], ids=["webrtc", "hls"])
async def test_a_shared_link_plays_in_the_browser_until_its_tokens_are_revoked(
    server: Server, browser: Browser, *, webrtc: bool
) -> None:
    """From the API to the picture: a private stream's link plays in Chromium; revoked, the page says so in words."""
    admin = {"Authorization": f"Bearer {(server.data_dir / 'admin-token').read_text().strip()}"}

    async def ask(method: str, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        answer = await server.http.request(method, f"/api/streams/main{path}", json=body, headers=admin)
        answer.raise_for_status()
        return answer

    await ask("PATCH", "", {"visibility": "private"})
    link = httpx.URL((await ask("POST", "/playback-token", {})).json()["watch_url"]).raw_path.decode()
    async with open_page(browser, server.page(link), webrtc=webrtc) as watch:
        await watch.wait_transport("webrtc" if webrtc else "hls")
        await watch.wait_more_frames(30)
        await ask("POST", "/revoke-playback-tokens")
        # The player's sentence, or the page's in its place.
        await watch.wait_text("does not work any more", "does not open the stream", timeout_s=WORDS_LIMIT_S)
    await ask("PATCH", "", {"visibility": "public"})


async def test_a_public_stream_that_turns_private_loses_who_has_no_token(server: Server) -> None:
    """Both ways of watching end within 1 s, and the address of public media is closed."""
    await set_policy(server, None)
    async with WhepViewer(server.http, "main") as viewer, HlsRecorder(server.http) as recorder:
        await viewer.wait_frames(1)
        media = httpx.URL(recorder.media_url).join(recorder.playlists[-1].parts()[0].uri)
        assert (await server.http.get(media)).status_code == httpx.codes.OK
        await set_policy(server, KEY)
        await wait_until(lambda: viewer.connection.connectionState == "closed", CUT_LIMIT_S, "the viewer to be cut")
        await wait_until(lambda: recorder.refusals, CUT_LIMIT_S, "a refused playlist")
        viewer.location = ""
    assert (await server.http.get(media)).status_code == httpx.codes.UNAUTHORIZED


async def test_viewers_of_every_kind_are_counted_while_they_watch(server: Server) -> None:
    """Two blocking readers, ffmpeg and one WebRTC viewer are four; who stops reading leaves the count."""
    await set_policy(server, None)
    async with AsyncExitStack() as stack, card_publisher(server.rtmp_url("audience")):
        await server.wait_on_air("audience")
        async with HlsRecorder(server.http, "audience") as leaving:
            staying = await stack.enter_async_context(HlsRecorder(server.http, "audience"))
            await stack.enter_async_context(WhepViewer(server.http, "audience"))
            player = await _ffmpeg(server, "/hls/audience/index.m3u8")
            await _wait_viewers(server, {"webrtc": 1, "hls": 3})
            assert await _viewers_of_the_live_state(server) == 4
            kinds = [each["state"] for each in await server.sessions("hls") if each["stream"] == "audience"]
            assert kinds == ["watching"] * 3
            # Media of a public stream has one address for all viewers.
            assert leaving.media_url != staying.media_url
            assert set(leaving.media) & set(staying.media)
            player.terminate()
            await player.wait()
        await _wait_viewers(server, {"webrtc": 1, "hls": 1}, GONE_LIMIT_S)
        known = staying.playlists[-1].next_part()
        playlist = parse_media((await server.http.get(staying.media_url)).text)
        assert playlist.next_part() >= known


async def _wait_viewers(server: Server, expected: dict[str, int], timeout_s: float = 10) -> None:
    async def counted() -> bool:
        return bool((await server.engine_stream("audience"))["viewers"] == expected)

    await wait_until(counted, timeout_s, f"viewers {expected}")


async def _viewers_of_the_live_state(server: Server) -> int:
    async with server.http.stream("GET", "/live/audience/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                return int(json.loads(line.removeprefix("data: "))["viewers"])
    raise AssertionError("no state")


async def _ffmpeg(server: Server, path: str, *options: str) -> asyncio.subprocess.Process:
    """Plays until it is told to stop, or as far as the options say."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", server.url + path, *options, "-f", "null", "-"]
    return await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
