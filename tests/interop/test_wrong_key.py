"""A wrong key is refused in a way that encoders understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.publishers import card_publisher, ffmpeg_publisher
from support.rtmp import RtmpClient
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]


async def test_rtmp_gets_denied_with_a_sentence(server: Server) -> None:
    """Wrong key: RTMP gets `NetStream.Publish.Denied` with a sentence (OBS ignores `BadName` and goes on trying)."""
    refused_before = server.log().count("publish_refused")
    async with RtmpClient(server.rtmp_port) as client:
        info = await client.publish("not-a-key")
    assert info["level"] == "error"
    assert info["code"] == "NetStream.Publish.Denied"
    assert info["description"].rstrip().endswith(".")
    assert "key" in info["description"].lower()
    await wait_until(lambda: server.log().count("publish_refused") > refused_before, 5, "the refusal in the log")
    assert "not-a-key" not in server.log()


async def test_rtmp_needs_the_app_live(server: Server) -> None:
    """Another application name is refused; nothing goes on air."""
    async with RtmpClient(server.rtmp_port) as client:
        await client.handshake()
        from support.rtmp import command  # noqa: PLC0415

        await client.send(command("connect", 1.0, {"app": "other", "tcUrl": "rtmp://127.0.0.1/other"}))
        answer = await client.read_command("_error", "_result", "onStatus")
        if answer[0] == "_result":
            await client.send(command("createStream", 2.0, None))
            result = await client.read_command("_result")
            await client.send(
                command("publish", 3.0, None, server.streams["hostile"], "live", stream_id=int(result[3]))
            )
            answer = await client.read_command("onStatus")
    assert answer[0] == "_error" or answer[3]["code"] == "NetStream.Publish.Denied"
    assert (await server.stream("hostile"))["status"] == "OFF_AIR"


async def test_ffmpeg_ends_with_an_error(server: Server, clip: Path) -> None:
    """ffmpeg itself understands the refusal and ends."""
    async with ffmpeg_publisher(f"rtmp://127.0.0.1:{server.rtmp_port}/live/wrong", clip) as publisher:
        assert await publisher.wait_exit(15) != 0


async def test_a_right_key_still_works(server: Server) -> None:
    """Others' wrong keys lock nobody out."""
    async with card_publisher(server.rtmp_url("hostile")):
        await server.wait_on_air("hostile")
    await server.wait_off_air("hostile")
