"""B-frames and HEVC by RTMP: WebRTC cannot show them, so the page plays LL-HLS at once and says why."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from playwright.async_api import Browser

from support.browser import open_page
from support.hls_viewer import HlsRecorder, decode
from support.publishers import SMALL, card_publisher
from support.seen import SeenFrame, missing_pictures
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

FIRST_PICTURE_LIMIT_MS = 1500
_OFFER = """async () => {
  const peer = new RTCPeerConnection();
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
  const offer = await peer.createOffer();
  peer.close();
  return offer.sdp;
}"""


async def test_b_frames_play_over_hls_at_once(server: Server, browser: Browser) -> None:
    """B-frames in (OBS's x264 default): LL-HLS at once, first picture <= 1.5 s after opening the page, one sentence
    says why and what to change."""
    async with card_publisher(server.rtmp_url("b-frames"), replace(SMALL, b_frames=2)):
        state = await server.wait_on_air("b-frames")
        video = next(track for track in state["tracks"] if track["kind"] == "video")
        assert video["has_b_frames"]

        async def is_known() -> bool:
            playback = (await server.stream("b-frames"))["playback"]
            return playback["hls"]["playable"] is True and playback["webrtc"]["code"] == "b_frames"

        await wait_until(is_known, 10, "the server to know about the B-frames")
        playback = (await server.stream("b-frames"))["playback"]["webrtc"]
        assert "B-frames" in playback["reason"]
        assert playback["fix"]
        async with open_page(browser, server.page("/watch/b-frames")) as watch:
            # The browser is warm from here on: a first visit also loads the player's scripts.
            await watch.wait_transport("hls")
            await watch.page.reload()
            await watch.wait_transport("hls")
            facts = await watch.facts()
            frames = await watch.wait_more_frames(45)
            assert "B-frames" in await watch.text()
            sdp = await watch.page.evaluate(_OFFER)
        refused = await server.http.post(
            "/whep/b-frames", content=sdp.encode(), headers={"Content-Type": "application/sdp"}
        )
    assert facts["openToFirstFrameMs"] <= FIRST_PICTURE_LIMIT_MS
    assert missing_pictures(frames) < len(frames)
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.json()["code"] == "b_frames"


async def test_b_frames_keep_their_order_in_hls(server: Server) -> None:
    """Reordered pictures come out of HLS in order, none missing, and in step with the sound's clock."""
    async with card_publisher(server.rtmp_url("b-frames"), replace(SMALL, b_frames=2)) as publisher:
        await server.wait_on_air("b-frames")
        async with HlsRecorder(server.http, "b-frames") as recorder:
            await recorder.wait_decodable(2)
            frames, _ = decode(recorder.history(), 2)
    await publisher.assert_sent(frames)


async def test_hevc_is_refused_in_words_and_nothing_breaks(server: Server, browser: Browser) -> None:
    """HEVC in: WHEP answers 409 and names the codec, the page says in one sentence why and what to change; nothing
    crashes, nothing loops in silence; HLS carries it for the browsers that can."""
    async with card_publisher(server.rtmp_url("newer"), replace(SMALL, video_codec="libx265")) as publisher:
        state = await server.wait_on_air("newer")
        assert {track["codec"] for track in state["tracks"]} == {"H265", "AAC"}
        async with open_page(browser, server.page("/watch/newer")) as watch:
            # Either the picture by HLS with a note beside it, or a card in its place: what to change is in both.
            words = await watch.wait_text("H.264 encoder", "encoder to H.264", timeout_s=5)
            assert "H.265 (HEVC), which browsers do not play over WebRTC" in words
            sdp = await watch.page.evaluate(_OFFER)
            refused = await server.http.post(
                "/whep/newer", content=sdp.encode(), headers={"Content-Type": "application/sdp"}
            )
            async with HlsRecorder(server.http, "newer") as recorder:
                await recorder.wait_decodable(1)

                def pictures() -> list[SeenFrame]:
                    return decode(recorder.history(), 1)[0]

                # An encoder that cannot keep up leaves whole segments to the sound; the newest may not be whole yet.
                frames = await wait_until(pictures, 30, "a segment with pictures", (AssertionError,))
            assert (await watch.facts())["starts"] <= 2
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.json()["code"] == "codec_not_playable"
    assert "265" in refused.text or "HEVC" in refused.text
    await publisher.assert_sent(frames)
