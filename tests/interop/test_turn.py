"""Media through a real coturn, with the credentials that the server hands to each browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from aioice import stun, turn
from playwright.async_api import Browser

from support.browser import go_live, open_page
from support.publishers import card_publisher
from support.server import Server
from support.turn import RELAY_PORTS, Turn, coturn
from support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def relay() -> AsyncIterator[Turn]:
    async with coturn() as relay:
        yield relay


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def relayed(relay: Turn) -> AsyncIterator[Server]:
    """A server that tells browsers about the relay."""
    servers = [{"urls": relay.urls, "secret": relay.secret}]
    async with Server.with_streams(
        "main", "camera", extra_environment={"TALLYLIGHT_ICE_SERVERS": json.dumps(servers)}
    ) as server:
        yield server


async def relayed_sessions(server: Server, kind: str) -> list[str]:
    """Remote addresses of the sessions that came through the relay: the engine's view, not the browser's."""
    remotes = [str(session["remote"]) for session in await server.sessions(kind) if session["state"] == "connected"]
    return [remote for remote in remotes if int(remote.rpartition(":")[2] or 0) in RELAY_PORTS]


async def test_a_viewer_watches_through_the_relay(relay: Turn, relayed: Server, browser: Browser) -> None:
    """With everything but the relay forbidden, the picture arrives by WebRTC, and the engine sees the relay's port."""
    async with card_publisher(relayed.rtmp_url()):
        await relayed.wait_on_air()
        async with open_page(browser, relayed.page("/watch/main?ice=relay")) as watch:
            # A page that did not hear of the relay within a second tries without it first, for 15 s here.
            await watch.wait_transport("webrtc", 30)
            await watch.wait_more_frames(30)
            assert len(await relayed_sessions(relayed, "whep")) == 1
        async with open_page(browser, relayed.page("/watch/main")) as watch:
            await watch.wait_transport("webrtc")
            direct = [session for session in await relayed.sessions("whep") if session["state"] == "connected"]
            relays = await relayed_sessions(relayed, "whep")
            assert len(relays) < len(direct), "a viewer who can go directly does not use the relay"
    await relayed.wait_off_air()


async def test_a_camera_goes_live_through_the_relay(relayed: Server, browser: Browser) -> None:
    """The studio publishes through the relay as well."""
    async with open_page(browser, relayed.page("/studio?ice=relay")) as studio:
        await go_live(studio, "camera", relayed.streams["camera"])
        await relayed.wait_on_air("camera", 30)
        assert len(await relayed_sessions(relayed, "whip")) == 1
        await studio.page.click("#end-broadcast")
        await relayed.wait_off_air("camera")


async def test_credentials_open_the_relay_until_they_expire(relay: Turn, relayed: Server) -> None:
    """coturn accepts what the `Link` header says, and refuses yesterday's and other people's."""
    answer = await relayed.http.options("/whep/main")
    links = answer.headers.get_list("link")
    assert len(links) == len(relay.urls)
    assert relay.secret not in answer.headers["link"]
    username, credential = (re.search(rf'{name}="([^"]+)"', links[0]) for name in ("username", "credential"))
    assert username is not None
    assert credential is not None
    assert time.time() + 3600 < int(username[1].partition(":")[0]) < time.time() + 2 * 86400
    await _allocate(relay, username[1], credential[1])
    yesterday = f"{int(time.time()) - 86400}:{username[1].partition(':')[2]}"
    for name, password in (
        (yesterday, _password(relay.secret, yesterday)),
        (username[1], _password("guess", username[1])),
    ):
        with pytest.raises(stun.TransactionFailed, match="401"):
            await _allocate(relay, name, password)


async def test_to_the_relay_an_address_is_one_user(relayed: Server) -> None:
    """Asking for credentials again does not get around coturn's quota, and another address has a quota of its own."""
    again = [await _user(relayed, "127.0.0.1") for _ in range(2)]
    assert again[0] == again[1]
    assert await _user(relayed, "127.0.0.2") != again[0]


async def _user(server: Server, from_address: str) -> str:
    """What coturn counts by: a username without the time that it expires at."""
    transport = httpx.AsyncHTTPTransport(local_address=from_address)
    async with httpx.AsyncClient(transport=transport, base_url=server.url) as http:
        link = (await http.options("/whep/main")).headers["link"]
    found = re.search(r'username="\d+:([0-9a-f]+)"', link)
    assert found is not None, link
    return found[1]


async def test_a_wrong_secret_is_survived(relay: Turn, browser: Browser) -> None:
    """The relay refuses everybody: whoever is forced onto it gets the picture by HLS."""
    servers = [{"urls": relay.urls, "secret": "not-the-secret"}]
    async with Server.with_streams(extra_environment={"TALLYLIGHT_ICE_SERVERS": json.dumps(servers)}) as server:
        async with card_publisher(server.rtmp_url()):
            await server.wait_on_air()
            refused_before = len(relay.log.read_text())
            async with open_page(browser, server.page("/watch/main?ice=relay")) as watch:
                await watch.wait_transport("hls", 20)
                assert await relayed_sessions(server, "whep") == []

                async def refused() -> bool:
                    # A 401 begins every exchange; only this says that a password was wrong.
                    return "Cannot find credentials of user" in relay.log.read_text()[refused_before:]

                await wait_until(refused, 5, lambda: f"coturn to refuse: {relay.log.read_text()[refused_before:]}")
        await server.wait_off_air()


def _password(secret: str, username: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()


async def _allocate(relay: Turn, username: str, password: str) -> None:
    """Asks for a relayed port, and gives it back."""
    transport, _ = await turn.create_turn_endpoint(
        _Nothing, server_addr=("127.0.0.1", relay.port), username=username, password=password, lifetime=60
    )
    transport.close()


class _Nothing(asyncio.DatagramProtocol):
    """Takes what arrives, and does nothing with it."""
