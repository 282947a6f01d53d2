"""Webhooks of a whole server, from the publisher to a receiver."""

from __future__ import annotations

import os
import signal

import pytest

from support.publishers import card_publisher
from support.receiver import HANG, Message, Receiver
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

WINDOW_S = 2
SETTINGS = {"TALLYLIGHT_WEBHOOK_ALLOW_PRIVATE": "127.0.0.0/8", "TALLYLIGHT_RECONNECT_WINDOW_S": str(WINDOW_S)}
# The first retry comes after 5.5 s at most.
RETRY_LIMIT_S = 20
# The promise is 3 s until the API answers again; this waits for a busy machine.
RESTART_LIMIT_S = 40
BROADCAST_EVENTS = ["broadcast.started", "broadcast.reconnecting", "broadcast.ended"]


async def hook(server: Server, url: str, stream: str) -> str:
    """Makes a webhook for all that happens to a stream's broadcasts, and returns its secret."""
    token = (server.data_dir / "admin-token").read_text().strip()
    wanted = {"url": url, "events": BROADCAST_EVENTS, "stream": stream}
    answer = await server.http.post("/api/webhooks", json=wanted, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


def once(messages: list[Message]) -> list[Message]:
    """Without repetitions, as a receiver would tell them: by their id."""
    return list({message.id: message for message in messages}.values())


async def test_a_broadcast_is_told_from_start_to_end_whoever_else_listens() -> None:
    """In order and signed, also to who fails first; a receiver that hangs holds up neither others nor a publisher; what
    was under way when the control plane was killed comes again under the same id."""
    answers = {"/flaky": [500, 204], "/hangs": [HANG]}
    async with (
        Server.with_streams("main", "other", extra_environment=SETTINGS) as server,
        Receiver(answers) as receiver,
    ):
        secrets = {path: await hook(server, receiver.url(path), "main") for path in ("/all", "/flaky", "/hangs")}
        await hook(server, receiver.url("/other"), "other")
        async with card_publisher(server.rtmp_url("main")):
            (hung,) = await receiver.wait_for(1, "/hangs")
            async with card_publisher(server.rtmp_url("other")):
                await server.wait_on_air("other")
                await receiver.wait_for(1, "/other", 10)
            os.kill(server.control_plane_pid(), signal.SIGKILL)
            again = (await receiver.wait_for(2, "/hangs", RESTART_LIMIT_S))[1]
            assert (again.id, again.body) == (hung.id, hung.body)
            again.verified_by(secrets["/hangs"])

        await wait_until(lambda: len(once(receiver.at("/all"))) == 3, RETRY_LIMIT_S, "the end of the broadcast")
        told = [message.verified_by(secrets["/all"]) for message in once(receiver.at("/all"))]
        assert [one["type"] for one in told] == BROADCAST_EVENTS
        assert [one["data"]["status"] for one in told] == ["ON_AIR", "RECONNECTING", "ENDED"]
        assert {(one["data"]["id"], one["data"]["stream"]) for one in told} == {(told[0]["data"]["id"], "main")}

        await wait_until(lambda: len(once(receiver.at("/flaky"))) == 3, RETRY_LIMIT_S, "what was refused at first")
        refused, *taken = receiver.at("/flaky")
        assert taken[0].id == refused.id
        assert [message.verified_by(secrets["/flaky"]) for message in once(taken)] == told
