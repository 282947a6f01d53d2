"""Owners, visibility, private playback and the past of publishers, through the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from support.waiting import wait_until
from tallylight.accounts.identity import Role, Scope
from tallylight.api.app import public_app
from tallylight.api.control import Control, open_control
from tallylight.api.streams import MAX_STREAMS_OF_STREAMER
from tallylight.broadcasts.lifecycle import Broadcast, Change, Status
from tallylight.config import Settings
from tallylight.db import DatabaseAwayError, RetiredKey
from tallylight.engine.models import StreamStatus
from tallylight.paths import DataDirectory
from tallylight.streams.cuts import why_cut
from tallylight.streams.store import PublishingRule
from unit.conftest import quick_passwords, served
from unit.fake_engine import FakeEngine
from unit.test_accounts_api import opens
from unit.test_api import assert_problem, on_air

PATIENCE_S = 10.0
Ask = Callable[..., Any]


class People:
    """Clients of users, each with a token of every scope that the role allows."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
        self.clients: list[httpx.AsyncClient] = []

    async def add(self, name: str, role: Role, *scopes: Scope) -> httpx.AsyncClient:
        accounts = self._control.accounts
        user = await accounts.users.create(name, role, "no password")
        wanted: tuple[Scope, ...] = scopes or ("read", "streams", "webhooks", "admin")
        token = await accounts.tokens.create(user, "test", wanted, datetime.now(UTC), None)
        headers = {"Authorization": f"Bearer {token.secret}"}
        client = httpx.AsyncClient(transport=self._transport, base_url="http://test", headers=headers)
        self.clients.append(client)
        return client


@pytest.fixture
async def people(control: Control, no_blocking_calls: None) -> AsyncIterator[People]:
    people = People(control)
    yield people
    for client in people.clients:
        await client.aclose()


@pytest.fixture
async def ada(people: People) -> httpx.AsyncClient:
    """A streamer with the streams `open`, `hidden` and `secret`, one of each visibility."""
    ada = await people.add("ada", "streamer")
    for name, visibility in (("open", "public"), ("hidden", "unlisted"), ("secret", "private")):
        assert (await ada.post("/api/streams", json={"name": name, "visibility": visibility})).status_code == 201
    return ada


async def listed(client: httpx.AsyncClient) -> list[str]:
    return [stream["name"] for stream in (await client.get("/api/streams")).json()["streams"]]


async def ask(client: httpx.AsyncClient, key: str, stream: str | None = None, session: str = "s") -> Any:
    question = {"action": "publish", "protocol": "rtmp", "key": key, "session": session, "remote_ip": "127.0.0.1"}
    return (await client.post("/engine/admission", json=question | {"stream": stream})).json()


async def test_who_finds_which_streams(
    ada: httpx.AsyncClient, people: People, api: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    assert await listed(api) == ["main", "open"]
    assert await listed(ada) == ["hidden", "main", "open", "secret"]
    assert await listed(await people.add("bob", "streamer")) == ["main", "open"]
    assert await listed(await people.add("vic", "viewer")) == ["main", "open", "secret"]
    assert await listed(admin) == ["hidden", "main", "open", "secret"]
    assert await listed(await people.add("eve", "admin", "webhooks")) == ["main", "open"]


async def test_who_is_told_of_whose_broadcasts_and_publishers(
    ada: httpx.AsyncClient, people: People, api: httpx.AsyncClient, control: Control, engine: FakeEngine
) -> None:
    track = {"id": 1, "kind": "video", "codec": "VP8"}
    for name in ("open", "hidden", "secret", "gone"):
        await control.broadcasts.apply([Change(None, ended(name), None)])
        engine.streams[name] = on_air(name, tracks=[track])
    engine.sessions = [
        {"id": "1", "kind": "whep", "stream": name, "state": "s", "age_s": 1, "packets": 1, "bytes": 1}
        for name in ("open", "secret", None)
    ]

    async def told(client: httpx.AsyncClient) -> tuple[set[str], set[str], set[str]]:
        broadcasts = (await client.get("/api/broadcasts")).json()["broadcasts"]
        media = (await client.get("/api/media-status")).json()
        return tuple(  # type: ignore[return-value]
            {found["stream"] for found in part} for part in (broadcasts, media["producers"], media["consumers"])
        )

    assert await told(api) == ({"open"}, {"open"}, {"open"})
    assert await told(ada) == ({"open", "hidden", "secret"}, {"open", "hidden", "secret"}, {"open", "secret"})
    vic = await people.add("vic", "viewer")
    assert await told(vic) == ({"open", "secret"}, {"open", "secret"}, {"open", "secret"})
    by_name = (await api.get("/api/broadcasts", params={"stream": "hidden"})).json()["broadcasts"]
    assert [broadcast["stream"] for broadcast in by_name] == ["hidden"]
    assert (await api.get("/api/broadcasts", params={"stream": "secret"})).json()["broadcasts"] == []
    assert_problem(await api.get("/api/broadcasts/of-secret"), 404, "broadcast_unknown")
    assert (await ada.get("/api/broadcasts/of-secret")).status_code == 200


async def test_the_past_of_a_deleted_stream_is_not_told_to_who_takes_its_name(
    ada: httpx.AsyncClient, people: People, admin: httpx.AsyncClient, control: Control
) -> None:
    before = datetime.now(UTC) - timedelta(days=1)
    await control.broadcasts.apply([Change(None, ended("secret", started_at=before), None)])
    await ada.delete("/api/streams/secret")
    bob = await people.add("bob", "streamer")
    await bob.post("/api/streams", json={"name": "secret"})
    await control.broadcasts.apply([Change(None, ended("secret", id="of-bobs"), None)])
    for query in ({}, {"stream": "secret"}):
        told = (await bob.get("/api/broadcasts", params=query)).json()["broadcasts"]
        assert [broadcast["id"] for broadcast in told] == ["of-bobs"]
        told = (await admin.get("/api/broadcasts", params=query)).json()["broadcasts"]
        assert [broadcast["id"] for broadcast in told] == ["of-bobs", "of-secret"]
    assert_problem(await bob.get("/api/broadcasts/of-secret"), 404, "broadcast_unknown")
    assert (await bob.get("/api/broadcasts/of-bobs")).status_code == 200
    assert (await admin.get("/api/broadcasts/of-secret")).status_code == 200


def ended(stream: str, **fields: Any) -> Broadcast:
    at = datetime.now(UTC)
    broadcast = Broadcast(
        id=f"of-{stream}",
        stream=stream,
        title="",
        status=Status.ENDED,
        stream_type="RTMP_STREAM",
        session="s",
        epoch=1,
        boot_id="b",
        started_at=at,
        last_media_at=at,
        expires_at=at,
        ended_at=at,
    )
    return replace(broadcast, **fields)


async def test_what_one_may_do_is_said(
    ada: httpx.AsyncClient, people: People, api: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    async def may(client: httpx.AsyncClient, name: str = "open") -> dict[str, bool]:
        may: dict[str, bool] = (await client.get(f"/api/streams/{name}")).json()["may"]
        return may

    assert await may(api) == {"edit": False, "watch": True}
    assert await may(ada) == await may(admin) == await may(ada, "secret") == {"edit": True, "watch": True}
    assert await may(await people.add("vic", "viewer"), "secret") == {"edit": False, "watch": True}


async def test_only_who_manages_a_stream_sees_its_inside(
    ada: httpx.AsyncClient, people: People, api: httpx.AsyncClient
) -> None:
    await ask(api, "a wrong key", "open")
    inside = ("owner", "key_created_at", "last_publisher", "refusals")
    shown = (await api.get("/api/streams/open")).json()
    assert [shown[field] for field in inside] == [None, None, None, []]
    bob = (await (await people.add("bob", "streamer")).get("/api/streams/open")).json()
    assert [bob[field] for field in inside] == [None, None, None, []]
    own = (await ada.get("/api/streams/open")).json()
    assert own["owner"] == "ada"
    assert own["key_created_at"] is not None
    assert [refusal["code"] for refusal in own["refusals"]] == ["key_wrong"]
    assert (await ada.get("/api/streams")).json()["streams"][2] == own | {"name": "open"}


async def test_a_change_keeps_what_it_does_not_name(ada: httpx.AsyncClient) -> None:
    await ada.patch("/api/streams/open", json={"title": "Evening show"})
    changed = (await ada.patch("/api/streams/open", json={"description": "At eight.\nEvery Friday."})).json()
    assert (changed["title"], changed["description"]) == ("Evening show", "At eight.\nEvery Friday.")
    assert changed["visibility"] == "public"


@pytest.mark.parametrize(
    "body",
    [
        {"title": "two\nlines"},
        {"title": "x" * 201},
        {"description": "x" * 2001},
        {"description": "bell\x07"},
        {"visibility": "secret"},
        {"key": "mine"},
        [],
    ],
)
async def test_changes_that_are_not_valid(ada: httpx.AsyncClient, body: Any) -> None:
    assert_problem(await ada.patch("/api/streams/open", json=body), 422, "request_invalid")


async def test_streams_change_hands_by_administrators_only(
    ada: httpx.AsyncClient, people: People, admin: httpx.AsyncClient
) -> None:
    bob = await people.add("bob", "streamer")
    assert_problem(await ada.patch("/api/streams/open", json={"owner": "bob"}), 403, "not_allowed")
    assert_problem(await admin.patch("/api/streams/open", json={"owner": "nobody"}), 404, "user_unknown")
    assert (await admin.patch("/api/streams/open", json={"owner": "bob"})).json()["owner"] == "bob"
    assert (await bob.delete("/api/streams/open")).status_code == 204
    assert (await admin.patch("/api/streams/hidden", json={"owner": None})).json()["owner"] is None
    assert_problem(await ada.delete("/api/streams/hidden"), 403, "not_allowed")


@pytest.mark.parametrize("owner", ["bob", None])
async def test_who_loses_a_stream_loses_what_opens_it(
    ada: httpx.AsyncClient, people: People, admin: httpx.AsyncClient, engine: FakeEngine, owner: str | None
) -> None:
    bob = await people.add("bob", "streamer")
    key = await key_of(ada, "secret")
    token = (await ada.post("/api/streams/secret/playback-token")).json()["token"]
    engine.streams["secret"] = on_air("secret")
    assert (await admin.patch("/api/streams/secret", json={"owner": "ada", "title": "Still hers"})).status_code == 200
    assert (await ask(admin, key))["allow"]
    assert opens(engine, "secret", token)
    assert (await admin.patch("/api/streams/secret", json={"owner": owner})).json()["owner"] == owner
    assert (await ask(admin, key))["code"] == "key_rotated"
    assert not opens(engine, "secret", token)
    assert (engine.cut, engine.cut_reasons) == (["secret"], ["key_rotated"])
    new_owner = bob if owner == "bob" else admin
    assert (await ask(admin, await key_of(new_owner, "secret")))["allow"]


async def test_the_first_owner_gets_the_stream_with_its_key(
    ada: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine
) -> None:
    key = (await admin.post("/api/streams", json={"name": "stage"})).json()["key"]
    engine.streams["stage"] = on_air("stage")
    assert (await admin.patch("/api/streams/stage", json={"owner": "ada"})).json()["owner"] == "ada"
    assert (await ask(admin, key))["allow"]
    assert engine.cut == []


async def test_a_streamer_has_so_many_streams(ada: httpx.AsyncClient, control: Control) -> None:
    owner = await control.accounts.users.get("ada")
    for number in range(MAX_STREAMS_OF_STREAMER - 3):
        await control.streams.create(f"n{number}", owner_id=owner.id)
    assert_problem(await ada.post("/api/streams", json={"name": "more"}), 409, "too_many_streams")


async def test_the_engine_learns_who_may_play_from_the_start_on(control: Control, engine: FakeEngine) -> None:
    await wait_until(lambda: engine.policy is not None, PATIENCE_S, "the policy of the start")
    assert engine.policy == {"streams": {}}


async def test_the_engine_learns_of_each_change_before_the_answer(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    first = engine.policy["streams"]
    assert list(first) == ["secret"]
    await ada.patch("/api/streams/open", json={"visibility": "private"})
    assert sorted(engine.policy["streams"]) == ["open", "secret"]
    await ada.patch("/api/streams/secret", json={"visibility": "unlisted"})
    assert sorted(engine.policy["streams"]) == ["open"]
    await ada.patch("/api/streams/secret", json={"visibility": "private"})
    assert engine.policy["streams"]["secret"] != first["secret"], "tokens from before it was private are void"
    await ada.delete("/api/streams/open")
    assert sorted(engine.policy["streams"]) == ["secret"]


async def test_a_deleted_streams_last_media_is_nobodys(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    token = (await ada.post("/api/streams/secret/playback-token")).json()["token"]
    engine.streams["secret"] = on_air("secret", status="OFF_AIR", session=None)
    engine.streams["open"] = on_air("open")
    assert opens(engine, "secret", token)
    await ada.delete("/api/streams/secret")
    assert "open" not in engine.policy["streams"]
    assert engine.policy["streams"]["secret"]["visibility"] == "private"
    assert not opens(engine, "secret", token)
    await ada.post("/api/streams", json={"name": "secret"})
    assert engine.policy["streams"] == {}, "there is a public stream of this name again"


async def test_a_control_plane_that_starts_knows_what_the_engine_still_has(
    settings: Settings, data: DataDirectory, engine: FakeEngine
) -> None:
    for name in ("main", "deleted"):
        engine.streams[name] = on_air(name, status="OFF_AIR", session=None)
    async with open_control(settings, data, quick_passwords()):
        await wait_until(lambda: engine.policy is not None, PATIENCE_S, "the policy of the start")
    assert list(engine.policy["streams"]) == ["deleted"]


async def test_an_engine_that_was_away_learns_it_when_it_is_back(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.refuse = True
    changed = await ada.patch("/api/streams/open", json={"visibility": "private"})
    assert changed.json()["visibility"] == "private", "a change does not need the engine"
    engine.refuse = False
    await wait_until(lambda: "open" in engine.policy["streams"], PATIENCE_S, "the policy that was owed")


async def test_a_policy_that_the_database_kept_back_comes_when_it_is_there_again(
    ada: httpx.AsyncClient, engine: FakeEngine, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def away() -> Any:
        tries.append(1)
        raise DatabaseAwayError("Planted.")

    with monkeypatch.context() as then:
        then.setattr(control.streams, "all", away)
        changed = await ada.patch("/api/streams/open", json={"visibility": "private"})
        assert changed.status_code == 200
        await wait_until(lambda: len(tries) > 1, PATIENCE_S, "another try that fails")
    await wait_until(lambda: "open" in engine.policy["streams"], PATIENCE_S, "the policy that was owed")
    assert not control.broken.is_set()


async def test_a_new_engine_learns_it_at_once(ada: httpx.AsyncClient, engine: FakeEngine, data: DataDirectory) -> None:
    engine.hang_up()
    await asyncio.to_thread(data.engine_socket.unlink)
    new = FakeEngine()
    async with served(new, data.engine_socket):
        await wait_until(lambda: new.policy is not None, PATIENCE_S, "the policy of the new engine")
        assert new.policy == engine.policy
    await asyncio.to_thread(data.engine_socket.touch)  # the first engine's end removes it


async def test_a_playback_token_opens_its_stream_until_it_is_revoked(
    ada: httpx.AsyncClient, engine: FakeEngine
) -> None:
    await ada.patch("/api/streams/open", json={"visibility": "private"})
    made = (await ada.post("/api/streams/secret/playback-token")).json()
    token = made["token"]
    assert opens(engine, "secret", token)
    assert not opens(engine, "open", token)
    assert made["watch_url"] == f"/watch/secret?token={token}"
    assert made["hls_url"] == f"/hls/secret/index.m3u8?token={token}"
    assert made["whep_url"] == f"/whep/secret?token={token}"
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert (await ada.post("/api/streams/secret/revoke-playback-tokens")).status_code == 204
    assert not opens(engine, "secret", token)


async def test_a_long_token_is_for_who_may_edit(ada: httpx.AsyncClient, people: People) -> None:
    vic, week = await people.add("vic", "viewer"), {"ttl_s": 7 * 86400}
    assert (await vic.post("/api/streams/secret/playback-token", json={"ttl_s": 3600})).status_code == 200
    assert_problem(await vic.post("/api/streams/secret/playback-token", json={"ttl_s": 3601}), 403, "not_allowed")
    assert (await ada.post("/api/streams/secret/playback-token", json=week)).status_code == 200
    for ttl_s in (59, 7 * 86400 + 1):
        refused = await ada.post("/api/streams/secret/playback-token", json={"ttl_s": ttl_s})
        assert_problem(refused, 422, "request_invalid")


async def test_cutting_a_publisher(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert_problem(await ada.delete("/api/streams/open/publisher"), 404, "nothing_on_air")
    engine.streams["open"] = on_air("open")
    assert (await ada.delete("/api/streams/open/publisher")).status_code == 204
    assert (engine.cut, engine.cut_reasons) == (["open"], ["removed"])
    engine.refuse = True
    assert_problem(await ada.delete("/api/streams/open/publisher"), 503, "engine_away")


async def test_a_publisher_that_could_not_be_cut_is_cut_when_the_engine_is_back(
    ada: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    long_ago = "2020-01-01T00:00:00.000Z"
    engine.streams["open"] = on_air("open", started_at=long_ago)
    engine.streams["hidden"] = on_air("hidden", started_at="2999-01-01T00:00:00.000Z")
    engine.refuse = True
    assert (await ada.post("/api/streams/open/rotate-key")).status_code == 200
    assert (await ada.post("/api/streams/hidden/rotate-key")).status_code == 200
    assert engine.cut == []
    engine.refuse = False
    await wait_until(lambda: engine.cut, PATIENCE_S, "the cut that was owed")
    await control.resynchronise()
    assert (engine.cut, engine.cut_reasons) == (["open"], ["key_rotated"]), "who came later has the new key"


NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RULE = PublishingRule(key_created_at=NOW, owner_may_publish=True)


@pytest.mark.parametrize(
    ("fields", "rule", "reason"),
    [
        ({}, RULE, None),
        ({"started_at": "2026-11-25T12:00:00.000Z"}, RULE, None),
        ({"started_at": "2026-11-25T11:59:59.999Z"}, RULE, "key_rotated"),
        ({}, None, "removed"),
        ({}, replace(RULE, owner_may_publish=False), "removed"),
        ({"session": None}, None, None),
    ],
)
def test_which_publications_may_stay(fields: dict[str, Any], rule: PublishingRule | None, reason: str | None) -> None:
    assert why_cut(StreamStatus.model_validate(on_air("stage", **fields)), rule) == reason


async def test_a_control_plane_that_starts_cuts_who_may_not_stay(
    settings: Settings, data: DataDirectory, engine: FakeEngine
) -> None:
    """What its predecessor owed died with it."""
    async with open_control(settings, data, quick_passwords()) as control:
        user = await control.accounts.users.create("ada", "streamer", "no password")
        for name, owner_id in (("kept", None), ("rotated", None), ("silenced", user.id)):
            await control.streams.create(name, owner_id=owner_id)
        engine.refuse = True
        await control.change_user("ada", disabled=True)
    started = (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()
    for name in ("kept", "rotated", "silenced", "deleted"):
        engine.streams[name] = on_air(name, started_at=started)
    engine.streams["rotated"]["started_at"] = "2020-01-01T00:00:00.000Z"
    engine.refuse = False
    async with open_control(settings, data, quick_passwords()):
        await wait_until(lambda: len(engine.cut) == 3, PATIENCE_S, "three cuts")
    assert dict(zip(engine.cut, engine.cut_reasons, strict=True)) == {
        "rotated": "key_rotated",
        "silenced": "removed",
        "deleted": "removed",
    }


async def test_a_cut_that_fails_while_others_are_made_up_for_is_owed(
    ada: httpx.AsyncClient, engine: FakeEngine, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.streams["open"] = on_air("open", started_at="2020-01-01T00:00:00.000Z")
    rules = control.streams.publishing_rules

    async def meanwhile() -> dict[str, PublishingRule]:
        found = await rules()
        monkeypatch.undo()
        engine.refuse = True
        await control.take_off_air("hidden")
        engine.refuse = False
        engine.streams["gone"] = on_air("gone")
        return found

    monkeypatch.setattr(control.streams, "publishing_rules", meanwhile)
    await control.cutter.enforce()
    await wait_until(lambda: "gone" in engine.cut, PATIENCE_S, "the cut that failed meanwhile")


async def test_sessions_without_addresses_but_for_administrators(
    ada: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine
) -> None:
    peer = {"id": "w1", "kind": "whep", "state": "connected", "age_s": 1.5, "packets": 7, "bytes": 900}
    engine.sessions = [
        peer | {"stream": "open", "remote": "192.0.2.1"},
        peer | {"stream": "main", "remote": "192.0.2.2"},
    ]
    assert (await ada.get("/api/streams/open/sessions")).json() == {"sessions": [peer | {"remote": None}]}
    assert (await admin.get("/api/streams/open/sessions")).json() == {"sessions": [peer | {"remote": "192.0.2.1"}]}


async def key_of(client: httpx.AsyncClient, name: str = "open") -> str:
    key: str = (await client.post(f"/api/streams/{name}/rotate-key")).json()["key"]
    return key


async def test_who_has_the_key_of_yesterday_is_told_so(
    ada: httpx.AsyncClient, api: httpx.AsyncClient, control: Control
) -> None:
    old = await key_of(ada)
    await key_of(ada)
    async with control.database.session() as session:
        await session.execute(update(RetiredKey).values(retired_at=datetime.now(UTC) - timedelta(minutes=2, seconds=5)))
    sentence = "This stream key was rotated 2 minutes ago; copy the new one from the studio."
    refused = {"allow": False, "code": "key_rotated", "message": sentence}
    assert await ask(api, old) == refused
    assert await ask(api, old, "open", "s2") == refused
    assert (await ask(api, old, "hidden", "s3"))["code"] == "key_wrong", "it opened another stream"
    stream = (await ada.get("/api/streams/open")).json()
    assert [(refusal["code"], refusal["message"]) for refusal in stream["refusals"]] == [("key_rotated", sentence)] * 2
    last = stream["last_publisher"]
    assert (last["code"], last["sentence"]) == ("key_rotated", f"Refused: t{sentence[1:]}")


async def test_who_has_an_old_key_is_no_guesser(ada: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    old = await key_of(ada)
    await key_of(ada)
    codes = {(await ask(api, old, session=f"s{number}"))["code"] for number in range(30)}
    assert codes == {"key_rotated"}


async def test_the_key_of_a_deleted_stream(ada: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    old = await key_of(ada)
    await ada.delete("/api/streams/open")
    refused = await ask(api, old)
    assert (refused["code"], refused["message"]) == (
        "stream_deleted",
        "The stream of this key was deleted less than a minute ago.",
    )
    await ada.post("/api/streams", json={"name": "open"})
    stream = (await ada.get("/api/streams/open")).json()
    assert (stream["last_publisher"], stream["refusals"]) == (None, []), "the past of another stream of this name"


async def test_a_wrong_key_is_the_same_whether_the_stream_exists_or_not(
    ada: httpx.AsyncClient, api: httpx.AsyncClient
) -> None:
    assert await ask(api, "guess", "secret") == await ask(api, "guess", "no-such-stream")


async def last(client: httpx.AsyncClient, name: str = "open") -> tuple[str, str] | None:
    publisher = (await client.get(f"/api/streams/{name}")).json()["last_publisher"]
    return None if publisher is None else (publisher["code"], publisher["sentence"])


async def test_why_the_last_publisher_ended(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    def end(reason: str, second: int) -> None:
        at = (datetime.now(UTC) + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
        engine.add_event({"at": at, "event": "publish_ended", "stream": "open", "session": "x", "reason": reason})

    assert await last(ada) is None
    end("connection_lost", 1)
    await wait_until(lambda: last(ada), PATIENCE_S, "the first ending")
    assert await last(ada) == ("connection_lost", "The connection broke.")
    end("taken_over", 2)

    async def taken_over() -> bool:
        return await last(ada) == ("taken_over", "Taken over by another device.")

    await wait_until(taken_over, PATIENCE_S, "the second ending")


async def test_an_ending_that_only_the_database_knows(ada: httpx.AsyncClient, control: Control) -> None:
    await control.broadcasts.apply([Change(None, ended("open", end_reason="stalled"), None)])
    assert await last(ada) == ("stalled", "No picture or sound arrived any more.")
    before = ended("hidden", last_media_at=datetime.now(UTC) - timedelta(days=1), end_reason="stalled")
    await control.broadcasts.apply([Change(None, before, None)])
    assert await last(ada, "hidden") is None, "of a stream of this name that was deleted"


async def test_a_busy_stream_says_who_was_refused(ada: httpx.AsyncClient, engine: FakeEngine) -> None:
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {"at": at, "event": "publish_refused", "stream": "open", "protocol": "whip", "code": "publisher_busy"}
    engine.add_event(event | {"session": "w1"})
    await wait_until(lambda: last(ada), PATIENCE_S, "the refusal")
    stream = (await ada.get("/api/streams/open")).json()
    assert [(refusal["protocol"], refusal["code"]) for refusal in stream["refusals"]] == [("whip", "publisher_busy")]
    assert stream["last_publisher"]["code"] == "publisher_busy"


async def test_a_refusal_of_ours_that_the_engine_repeats_counts_once(
    ada: httpx.AsyncClient, api: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    await ask(api, "guess", "open", session="w1")
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {"at": at, "event": "publish_refused", "stream": "open", "protocol": "whip", "code": "key_wrong"}
    engine.add_event(event | {"session": "w1"})
    engine.add_event(event | {"session": "w2"})

    async def two() -> bool:
        refusals = (await ada.get("/api/streams/open")).json()["refusals"]
        return len(refusals) == 2

    await wait_until(two, PATIENCE_S, "the refusal that was not ours")
