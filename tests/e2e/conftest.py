"""A site with accounts, for the suites that look at its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import expect

from support.administration import ADMIN_ENVIRONMENT, Administrator
from support.publishers import card_publisher
from support.server import Server

# No test waits this long unless it fails; the usual 5 s are short for a page on a busy machine.
expect.set_options(timeout=15_000)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site() -> AsyncIterator[Server]:
    """A small site: `main` of the streamer maria and the private `secret` on air, `quiet` off air."""
    # Receivers of webhooks are on loopback here.
    environment = {**ADMIN_ENVIRONMENT, "TALLYLIGHT_WEBHOOK_ALLOW_PRIVATE": "127.0.0.0/8"}
    async with (
        Server.with_streams("main", "quiet", "secret", extra_environment=environment) as server,
        card_publisher(server.rtmp_url("main")),
        card_publisher(server.rtmp_url("secret")),
    ):
        await server.wait_on_air("main")
        await server.wait_on_air("secret")
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def administrator(site: Server) -> Administrator:
    """Who made the accounts of that site: maria, a streamer, and guest, a viewer."""
    administrator = Administrator(site)
    await administrator.make_account("maria", "streamer")
    await administrator.make_account("guest", "viewer")
    words = {"title": "Morning rehearsal", "description": "Hall 2, without an audience."}
    await administrator.do("PATCH", "/api/streams/main", {"owner": "maria", **words})
    await administrator.do("PATCH", "/api/streams/secret", {"visibility": "private"})
    return administrator
