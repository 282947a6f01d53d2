"""`/api/webhooks`: who may make which, what is refused, and what is shown."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from support.receiver import HANG, Receiver
from support.waiting import wait_until
from tallylight.accounts.identity import ROLE_SCOPES, Role
from tallylight.api.app import public_app
from tallylight.api.control import Control, open_control
from tallylight.config import Settings
from tallylight.db import Stream
from tallylight.paths import DataDirectory
from tallylight.webhooks.store import MAX_WEBHOOKS
from unit.conftest import quick_passwords
from unit.fake_engine import FakeEngine

PATIENCE_S = 10
URL = "http://127.0.0.1:9/hook"
STARTED = ["broadcast.started"]


@dataclass
class House:
    """An application whose webhooks may reach loopback; `ada` and `bob` have a stream of that name each."""

    control: Control
    client: Callable[[str], httpx.AsyncClient]

    async def hook(self, who: str = "root", **fields: Any) -> httpx.Response:
        return await self.client(who).post("/api/webhooks", json={"url": URL, "events": STARTED} | fields)

    async def hook_id(self, who: str = "root", **fields: Any) -> str:
        answer = await self.hook(who, **fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def heard(self, name: str) -> list[dict[str, Any]]:
        return [event.as_dict() for event in self.control.events.reader(0).take() if event.event == name]


@pytest.fixture
async def house(data: DataDirectory, engine: FakeEngine) -> AsyncIterator[House]:
    settings = Settings(data_dir=data.root, webhook_allow_private=(ipaddress.IPv4Network("127.0.0.0/8"),))
    async with open_control(settings, data, quick_passwords()) as control:
        headers = {"token": {"Authorization": f"Bearer {control.admin_token}"}, "nobody": {}}
        roles: dict[str, Role] = {"root": "admin", "ada": "streamer", "bob": "streamer", "eve": "viewer"}
        for name, role in roles.items():
            user = await control.accounts.users.create(name, role, "x")
            token = await control.accounts.tokens.create(user, "t", sorted(ROLE_SCOPES[role]), datetime.now(UTC), None)
            headers[name] = {"Authorization": f"Bearer {token.secret}"}
            if role == "streamer":
                await control.streams.create(name)
                async with control.database.session() as session:
                    await session.execute(update(Stream).where(Stream.name == name).values(owner_id=user.id))
        transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
        clients = {
            name: httpx.AsyncClient(transport=transport, base_url="http://test", headers=header)
            for name, header in headers.items()
        }
        yield House(control, clients.__getitem__)
        for client in clients.values():
            await client.aclose()


async def test_create_shows_the_secret_once_and_hides_it_in_the_database(house: House) -> None:
    answer = await house.hook("ada", stream="ada", events=["broadcast.ended", "broadcast.ended"])
    assert answer.status_code == 201
    made = answer.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert answer.headers["location"] == f"/api/webhooks/{made['id']}"
    assert (made["owner"], made["stream"], made["enabled"]) == ("ada", "ada", True)
    assert (made["events"], made["last_delivery"]) == (["broadcast.ended"], None)
    listed = await house.client("ada").get("/api/webhooks")
    assert listed.json() == {"webhooks": [made]}
    webhook = await house.control.webhooks.get(made["id"])
    assert secret.removeprefix("whsec_").encode() not in webhook.sealed_secret
    rotated = await house.client("ada").post(f"/api/webhooks/{made['id']}/rotate-secret")
    assert rotated.json()["secret"] not in (secret, "")
    assert secret not in str(house.control.events.reader(0).take())


@pytest.mark.parametrize(
    ("who", "fields", "status"),
    [
        ("root", {}, 201),
        ("root", {"stream": "ada", "events": ["health.changed", "recording.ready"]}, 201),
        ("token", {}, 201),
        ("ada", {"stream": "ada"}, 201),
        ("ada", {}, 403),
        ("ada", {"stream": "bob"}, 403),
        ("ada", {"stream": "ada", "events": ["health.changed"]}, 403),
        ("ada", {"stream": "none"}, 404),
        ("root", {"stream": "none"}, 404),
        ("eve", {"stream": "ada"}, 403),
        ("nobody", {}, 401),
    ],
)
async def test_who_may_make_which(house: House, who: str, fields: dict[str, Any], status: int) -> None:
    answer = await house.hook(who, **fields)
    assert answer.status_code == status, answer.text
    assert len(await house.control.webhooks.list()) == (status == 201)


async def test_a_private_stream_of_another_is_unknown(house: House) -> None:
    async with house.control.database.session() as session:
        await session.execute(update(Stream).where(Stream.name == "bob").values(visibility="private"))
    assert (await house.hook("ada", stream="bob")).json()["code"] == "stream_unknown"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/rotate-secret"),
        ("GET", "/deliveries"),
    ],
)
async def test_others_do_not_learn_of_a_webhook(house: House, method: str, path: str) -> None:
    hook_id = await house.hook_id("ada", stream="ada")
    body = {"enabled": False} if method == "PATCH" else None
    for who, status in (("bob", 404), ("eve", 403), ("nobody", 401)):
        answer = await house.client(who).request(method, f"/api/webhooks/{hook_id}{path}", json=body)
        assert answer.status_code == status, (who, answer.text)
    assert (await house.client("bob").get("/api/webhooks")).json() == {"webhooks": []}
    assert len((await house.client("root").get("/api/webhooks")).json()["webhooks"]) == 1
    answer = await house.client("root").request(method, f"/api/webhooks/{hook_id}{path}", json=body)
    assert answer.is_success
    unknown = await house.client("root").request(method, f"/api/webhooks/none{path}", json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "webhook_unknown")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"url": "ftp://example.com/"}, "url_invalid"),
        ({"url": "http://u:p@127.0.0.1/"}, "url_invalid"),
        ({"url": "http://10.0.0.1/"}, "address_refused"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "address_refused"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "address_refused"),
        ({"url": "http://0x0a000001/"}, "address_refused"),
        ({"url": "x" * 2001}, "request_invalid"),
        ({"events": []}, "request_invalid"),
        ({"events": ["webhook.test"]}, "request_invalid"),
        ({"events": ["broadcast.exploded"]}, "request_invalid"),
        ({"stream": "A/B"}, "request_invalid"),
        ({"secret": "mine"}, "request_invalid"),
    ],
)
async def test_what_is_not_valid_is_refused_when_it_is_saved(house: House, fields: dict[str, Any], code: str) -> None:
    for answer in (
        await house.hook(**fields),
        await house.client("root").patch(f"/api/webhooks/{await house.hook_id()}", json=fields),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    (known,) = await house.control.webhooks.list()
    assert (known.webhook.url, known.webhook.events) == (URL, "broadcast.started")
    refusals = house.heard("webhook_address_refused")
    assert [(event["during"], event["by"]) for event in refusals] == [("save", "root")] * (
        2 if code == "address_refused" else 0
    )


async def test_changes_change_only_what_they_name(house: House) -> None:
    hook_id = await house.hook_id("ada", stream="ada")
    ada = house.client("ada")
    off = (await ada.patch(f"/api/webhooks/{hook_id}", json={"enabled": False})).json()
    assert (off["enabled"], off["url"], off["events"]) == (False, URL, STARTED)
    refused = await ada.post(f"/api/webhooks/{hook_id}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    other = {"url": "http://127.0.0.2:9/", "events": ["broadcast.ended"], "enabled": True}
    changed = (await ada.patch(f"/api/webhooks/{hook_id}", json=other)).json()
    assert {name: changed[name] for name in other} == other
    server_event = await ada.patch(f"/api/webhooks/{hook_id}", json={"events": ["health.changed"]})
    assert (server_event.status_code, server_event.json()["code"]) == (403, "not_allowed")
    assert (await ada.delete(f"/api/webhooks/{hook_id}")).status_code == 204
    assert (await ada.delete(f"/api/webhooks/{hook_id}")).status_code == 404


async def test_a_test_message_arrives_and_is_in_the_log(house: House) -> None:
    async with Receiver() as receiver:
        made = (await house.hook("ada", stream="ada", url=receiver.url())).json()
        ada, path = house.client("ada"), f"/api/webhooks/{made['id']}"
        accepted = await ada.post(f"{path}/test")
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
        (message,) = await receiver.wait_for(1)
        told = message.verified_by(made["secret"])
        assert (told["type"], told["data"]) == ("webhook.test", {"webhook": made["id"]})

        async def delivered() -> Any:
            (delivery,) = (await ada.get(f"{path}/deliveries")).json()["deliveries"]
            return delivery if delivery["status"] == "delivered" else None

        delivery = await wait_until(delivered, PATIENCE_S, "the delivery in the log")
    assert delivery["id"] == message.id == accepted.json()["id"]
    (one,) = delivery["attempts"]
    assert (one["status_code"], one["error"]) == (204, None)
    assert one["duration_ms"] >= 0
    (listed,) = (await ada.get("/api/webhooks")).json()["webhooks"]
    assert listed["last_delivery"] == delivery
    for limit in ("0", "201", "x"):
        assert (await ada.get(f"{path}/deliveries?limit={limit}")).status_code == 422


async def test_a_second_test_is_refused_while_one_is_on_its_way(house: House) -> None:
    async with Receiver(answers={"/": [HANG]}) as receiver:
        path = f"/api/webhooks/{await house.hook_id('ada', stream='ada', url=receiver.url())}"
        assert (await house.client("ada").post(f"{path}/test")).status_code == 202
        refused = await house.client("ada").post(f"{path}/test")
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_test_waits")


async def test_a_broadcast_is_told_from_the_engine_to_the_receiver(house: House, engine: FakeEngine) -> None:
    async with Receiver() as receiver:
        made = (await house.hook("ada", stream="ada", url=receiver.url())).json()
        facts = {"status": "ON_AIR", "stream_type": "RTMP_STREAM", "session": "s1", "epoch": 1, "media_age_ms": 20}
        off_air = {"playable": False, "code": "starting", "reason": None, "fix": None}
        engine.streams["ada"] = {"name": "ada", "playback": {"webrtc": off_air, "hls": off_air}} | facts
        engine.add_event({"at": "2026-11-25T00:00:00Z", "event": "publish_started", "stream": "ada"})
        (message,) = await receiver.wait_for(1)
        told = message.verified_by(made["secret"])
    assert (told["type"], told["data"]["stream"], told["data"]["status"]) == ("broadcast.started", "ada", "ON_AIR")
    shown = (await house.client("ada").get(f"/api/broadcasts/{told['data']['id']}")).json()
    assert set(told["data"]) == set(shown)


async def test_an_account_has_so_many(house: House) -> None:
    for _ in range(MAX_WEBHOOKS):
        await house.hook_id("ada", stream="ada")
    refused = await house.hook("ada", stream="ada")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")
    await house.hook_id("bob", stream="bob")


async def test_deleting_the_owner_deletes_the_webhook(house: House) -> None:
    await house.hook_id("ada", stream="ada")
    await house.control.delete_user("ada")
    assert await house.control.webhooks.list() == []
