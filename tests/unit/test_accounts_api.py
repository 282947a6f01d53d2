"""Signing in, users and tokens through the API: cookies, cross-site rules, and what ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import jwt
import pytest
import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.accounts.limiter import ADDRESS_TRIES
from tallylight.api import control as control_module
from tallylight.api.app import public_app
from tallylight.api.auth import COOKIE
from tallylight.api.control import Control
from tallylight.db import DatabaseAwayError, Stream, User, WebSession
from tallylight.first_secret import first_password
from tallylight.paths import DataDirectory
from tallylight.streams.store import take_from_owner
from unit.fake_engine import FakeEngine
from unit.test_api import ask, assert_problem, on_air

PASSWORD = "correct horse battery"
OURS = {"X-Tallylight-Request": "1"}
Browser = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def browser(control: Control, no_blocking_calls: None) -> AsyncIterator[Browser]:
    """Makes browsers: clients that keep cookies and send our header, at addresses of their own."""
    transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
    clients: list[httpx.AsyncClient] = []

    def make(address: str = "192.0.2.1") -> httpx.AsyncClient:
        headers = OURS | {"X-Forwarded-For": address}
        clients.append(httpx.AsyncClient(transport=transport, base_url="https://test", headers=headers))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def sign_in(client: httpx.AsyncClient, name: str = "ada", password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/session", json={"name": name, "password": password})


@pytest.fixture
async def ada(admin: httpx.AsyncClient, browser: Browser) -> httpx.AsyncClient:
    """The streamer `ada`, signed in."""
    await admin.post("/api/users", json={"name": "ada", "role": "streamer", "password": PASSWORD})
    client = browser()
    assert (await sign_in(client)).status_code == 200
    return client


async def who(client: httpx.AsyncClient) -> object:
    return (await client.get("/api/session")).json()["user"]


async def test_signing_in_and_out(ada: httpx.AsyncClient) -> None:
    assert await who(ada) == {"name": "ada", "role": "streamer"}
    assert (await ada.delete("/api/session")).status_code == 204
    assert await who(ada) is None
    assert (await ada.delete("/api/session")).status_code == 204


async def test_a_cookie_of_a_session_that_was_ended_is_worth_nothing(ada: httpx.AsyncClient, browser: Browser) -> None:
    kept = dict(ada.cookies)
    await ada.delete("/api/session")
    thief = browser()
    thief.cookies.update(kept)
    assert await who(thief) is None


async def test_the_cookie_is_the_browsers_alone(browser: Browser, data: DataDirectory) -> None:
    password = await asyncio.to_thread(first_password(data.first_admin).read, "admin")
    answer = await sign_in(browser(), "Admin ", password or "")
    assert answer.json() == {"user": {"name": "admin", "role": "admin"}}
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert COOKIE.startswith("__Host-")
    assert (cookie["path"], cookie["domain"], cookie["samesite"].lower()) == ("/", "", "lax")
    assert cookie["secure"]
    assert cookie["httponly"]
    assert int(cookie["max-age"]) == 90 * 24 * 3600


async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(admin: httpx.AsyncClient, ada: None) -> None:
    wrong, unknown = await sign_in(admin, "ada", "a wrong one"), await sign_in(admin, "nobody", "a wrong one")
    assert_problem(wrong, 401, "password_wrong")
    assert wrong.json() == unknown.json()


async def test_too_many_wrong_passwords_from_one_address(ada: None, browser: Browser) -> None:
    guesser = browser("203.0.113.9")
    codes = [(await sign_in(guesser, password="a wrong one")).json()["code"] for _ in range(ADDRESS_TRIES + 1)]
    assert codes == ["password_wrong"] * ADDRESS_TRIES + ["rate_limited"]
    refused = await sign_in(guesser)
    assert_problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await sign_in(browser("203.0.113.10"))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://["},
        {"Origin": "https://test.evil.example", "Sec-Fetch-Site": "same-site"},
        {"X-Tallylight-Request": None},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/streams"), ("DELETE", "/api/session"), ("PATCH", "/api/streams/main"), ("POST", "/api/tokens")],
)
async def test_a_foreign_page_changes_nothing_with_the_cookie(
    ada: httpx.AsyncClient, headers: dict[str, str | None], method: str, path: str
) -> None:
    request = ada.build_request(method, path, json={"name": "planted", "scopes": ["read"]})
    for name, value in headers.items():
        if value is None:
            del request.headers[name]
        else:
            request.headers[name] = value
    assert_problem(await ada.send(request), 403, "csrf_refused")
    assert await who(ada) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://test"},
        {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_our_own_pages_change_things(ada: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await ada.post("/api/streams", json={"name": "mine"}, headers=headers)).status_code == 201


async def test_nobody_is_signed_in_by_a_foreign_page(ada: None, browser: Browser) -> None:
    client = browser()
    body = {"name": "ada", "password": PASSWORD}
    refused = await client.post("/api/session", json=body, headers={"Origin": "https://evil.example"})
    assert_problem(refused, 403, "csrf_refused")
    assert "set-cookie" not in refused.headers
    form = await client.post("/api/session", data=body)
    assert_problem(form, 422, "request_invalid")
    text = await client.post(
        "/api/session", content=httpx.Response(200, json=body).content, headers={"Content-Type": "text/plain"}
    )
    assert_problem(text, 422, "request_invalid")


async def test_reading_needs_no_header_and_a_token_needs_none(ada: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    del ada.headers["X-Tallylight-Request"]
    assert await who(ada) is not None
    ada.headers["X-Tallylight-Request"] = "1"
    new = (await ada.post("/api/tokens", json={"name": "t", "scopes": ["streams"]})).json()["token"]
    headers = {"Authorization": f"Bearer {new}", "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert (await api.post("/api/streams", json={"name": "by-token"}, headers=headers)).status_code == 201


async def test_a_token_is_shown_once_and_listed_without_its_secret(ada: httpx.AsyncClient) -> None:
    body = {"name": "statistics", "scopes": ["streams", "read"], "expires_in_days": 90}
    made = await ada.post("/api/tokens", json=body)
    secret = made.json()["token"]
    listed = await ada.get("/api/tokens")
    assert secret not in listed.text
    (token,) = listed.json()["tokens"]
    assert (token["user"], token["scopes"], token["last_used_at"]) == ("ada", ["read", "streams"], None)
    used = {"Authorization": f"Bearer {secret}"}
    assert (await ada.get("/api/tokens", headers=used)).json()["tokens"][0]["last_used_at"] is not None
    assert (await ada.delete(f"/api/tokens/{token['id']}")).status_code == 204
    assert_problem(await ada.get("/api/tokens", headers=used), 401, "token_wrong")
    assert_problem(await ada.delete(f"/api/tokens/{token['id']}"), 404, "token_unknown")


async def test_reading_while_signed_in_writes_nothing_that_is_needed(
    ada: httpx.AsyncClient, api: httpx.AsyncClient, control: Control, data: DataDirectory
) -> None:
    token = (await ada.post("/api/tokens", json={"name": "t", "scopes": ["read"]})).json()["token"]
    async with control.database.session() as session:
        long_ago = datetime.now(UTC) - timedelta(days=2)
        await session.execute(update(User).values(last_seen_at=long_ago))
        await session.execute(update(WebSession).values(renewed_at=long_ago))
    with contextlib.closing(await asyncio.to_thread(locked, data.database)), structlog.testing.capture_logs() as logged:
        assert await who(ada) == {"name": "ada", "role": "streamer"}
        listed = await api.get("/api/tokens", headers={"Authorization": f"Bearer {token}"})
        assert [known["name"] for known in listed.json()["tokens"]] == ["t"]
    assert [entry["event"] for entry in logged] == ["last_use_not_noted"]
    assert (await control.accounts.users.get("ada")).last_seen_at == long_ago


def locked(database: Path) -> sqlite3.Connection:
    """Another process, such as a backup, that keeps everybody from writing until it is closed."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def test_a_token_cannot_have_more_than_its_user(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    assert_problem(await ada.post("/api/tokens", json={"name": "t", "scopes": ["admin"]}), 403, "not_allowed")
    for_ada = {"name": "t", "scopes": ["admin"]}
    assert_problem(await admin.post("/api/tokens", params={"user": "ada"}, json=for_ada), 403, "not_allowed")
    assert_problem(await ada.get("/api/tokens", params={"user": "admin"}), 403, "not_allowed")
    assert_problem(await admin.get("/api/tokens", params={"user": "nobody"}), 404, "user_unknown")
    assert_problem(await admin.post("/api/tokens", json={"name": "t", "scopes": ["read"]}), 403, "not_allowed")


async def test_refusals_say_what_would_be_enough(ada: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    assert "role admin" in (await ada.get("/api/users")).json()["detail"]
    token = (await ada.post("/api/tokens", json={"name": "t", "scopes": ["read"]})).json()["token"]
    narrow = await api.post("/api/streams", json={"name": "x"}, headers={"Authorization": f"Bearer {token}"})
    assert "scope streams" in narrow.json()["detail"]


async def test_a_password_that_nobody_chose_is_shown_once(admin: httpx.AsyncClient, browser: Browser) -> None:
    made = (await admin.post("/api/users", json={"name": "bob", "role": "viewer"})).json()
    assert (await sign_in(browser(), "bob", made["password"])).status_code == 200
    assert made["password"] not in (await admin.get("/api/users")).text
    chosen = await admin.post("/api/users", json={"name": "cy", "role": "viewer", "password": PASSWORD})
    assert chosen.json()["password"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Ada", "role": "viewer"},
        {"name": "a b", "role": "viewer"},
        {"name": "", "role": "viewer"},
        {"name": "a" * 33, "role": "viewer"},
        {"name": "bob", "role": "owner"},
        {"name": "bob", "role": "viewer", "password": "sh0rt"},
        {"name": "bob", "role": "viewer", "password": "x" * 257},
        {"name": "bob"},
    ],
)
async def test_users_that_are_not_valid(admin: httpx.AsyncClient, body: dict[str, str]) -> None:
    refused = await admin.post("/api/users", json=body)
    assert_problem(refused, 422, "request_invalid")
    assert body.get("password", "\0") not in refused.text


async def test_users_change_and_go(admin: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
    names = [user["name"] for user in (await admin.get("/api/users")).json()["users"]]
    assert names == ["ada", "admin"]
    assert_problem(await admin.post("/api/users", json={"name": "ada", "role": "viewer"}), 409, "user_exists")
    assert_problem(await admin.delete("/api/users/admin"), 409, "last_admin")
    assert_problem(await admin.patch("/api/users/admin", json={"role": "viewer"}), 409, "last_admin")
    assert_problem(await admin.patch("/api/users/nobody", json={}), 404, "user_unknown")
    assert (await admin.patch("/api/users/ada", json={"role": "admin"})).json()["role"] == "admin"
    assert (await ada.get("/api/users")).status_code == 200, "the session that runs has the new role"
    assert (await admin.delete("/api/users/ada")).status_code == 204
    assert await who(ada) is None


async def test_ones_own_password(ada: httpx.AsyncClient, browser: Browser, admin: httpx.AsyncClient) -> None:
    elsewhere = browser()
    await sign_in(elsewhere)
    new = "staple and " + PASSWORD
    wrong = await ada.post("/api/session/password", json={"old": "a wrong one", "new": new})
    assert_problem(wrong, 401, "password_wrong")
    assert (await ada.post("/api/session/password", json={"old": PASSWORD, "new": new})).status_code == 204
    assert (await who(ada), await who(elsewhere)) == ({"name": "ada", "role": "streamer"}, None)
    assert_problem(await sign_in(browser()), 401, "password_wrong")
    assert (await sign_in(browser(), password=new)).status_code == 200
    assert_problem(await admin.post("/api/session/password", json={"old": "x", "new": new}), 403, "not_allowed")


async def test_a_new_password_by_an_administrator_ends_sessions(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, data: DataDirectory
) -> None:
    assert (await admin.patch("/api/users/ada", json={"password": "another password"})).status_code == 200
    assert await who(ada) is None
    assert await asyncio.to_thread(data.first_admin.exists)
    await admin.patch("/api/users/admin", json={"password": "another password"})
    assert not await asyncio.to_thread(data.first_admin.exists)


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "viewer"}])
async def test_who_may_not_publish_any_more_is_cut_and_refused(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, engine: FakeEngine, change: dict[str, object]
) -> None:
    key = (await ada.post("/api/streams", json={"name": "stage", "visibility": "private"})).json()["key"]
    before = engine.policy
    engine.streams["stage"] = on_air("stage")
    assert (await admin.patch("/api/users/ada", json=change)).status_code == 200
    assert engine.cut == ["stage"]
    assert (await ask(admin, key))["code"] == "owner_may_not_publish"
    may_watch_still = change == {"role": "viewer"}
    assert (engine.policy == before) is may_watch_still, "whoever watched by a token of theirs is sent away"
    back = {"disabled": False, "role": "streamer"}
    assert (await admin.patch("/api/users/ada", json=back)).status_code == 200
    assert await ask(admin, key) == {"allow": True, "stream": "stage"}


async def test_who_may_not_watch_any_more_is_sent_away(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, browser: Browser, engine: FakeEngine
) -> None:
    await admin.post("/api/users", json={"name": "vic", "role": "viewer", "password": PASSWORD})
    await ada.post("/api/streams", json={"name": "stage", "visibility": "private"})
    vic = browser()
    await sign_in(vic, "vic")
    token = (await vic.post("/api/streams/stage/playback-token")).json()["token"]
    assert opens(engine, "stage", token)
    await admin.patch("/api/users/vic", json={"role": "streamer"})
    assert not opens(engine, "stage", token)
    assert_problem(await vic.post("/api/streams/stage/playback-token"), 404, "stream_unknown")


async def test_a_change_that_fails_half_way_has_changed_nothing(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await ada.post("/api/streams", json={"name": "stage", "visibility": "private"})).json()["key"]
    token = (await ada.post("/api/streams/stage/playback-token")).json()["token"]
    engine.streams["stage"] = on_air("stage")
    with monkeypatch.context() as then:
        then.setattr(control_module, "new_playback_key", database_fails)
        assert_problem(await admin.patch("/api/users/ada", json={"disabled": True}), 503, "database_away")
    assert await who(ada) is not None
    assert (await ask(admin, key))["allow"]
    assert (await admin.patch("/api/users/ada", json={"disabled": True})).status_code == 200
    assert engine.cut == ["stage"]
    assert not opens(engine, "stage", token)


async def test_who_asks_again_has_it_done_again(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, engine: FakeEngine
) -> None:
    await ada.post("/api/streams", json={"name": "stage"})
    for _ in range(2):
        engine.streams["stage"] = on_air("stage")
        assert (await admin.patch("/api/users/ada", json={"disabled": True})).status_code == 200
    assert engine.cut == ["stage", "stage"]


def database_fails(*_arguments: object) -> None:
    raise DatabaseAwayError("Planted.")


def opens(engine: FakeEngine, stream: str, token: str) -> bool:
    """What the engine does with a playback token, under the policy that it has."""
    policy = engine.policy["streams"].get(stream)
    if policy is None:
        return True
    key = jwt.utils.base64url_decode(policy["playback_key"])
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], audience="tallylight-playback")
    except jwt.InvalidTokenError:
        return False
    return bool(claims["sub"] == stream)


async def test_a_deleted_users_streams_stay_with_keys_that_nobody_has(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, engine: FakeEngine
) -> None:
    key = (await ada.post("/api/streams", json={"name": "stage", "visibility": "private"})).json()["key"]
    token = (await ada.post("/api/streams/stage/playback-token")).json()["token"]
    engine.streams["stage"] = on_air("stage")
    assert (await admin.delete("/api/users/ada")).status_code == 204
    assert (engine.cut, engine.cut_reasons) == (["stage"], ["key_rotated"])
    assert (await ask(admin, key))["code"] == "key_rotated"
    assert not opens(engine, "stage", token)
    assert (await admin.get("/api/streams/stage")).json()["owner"] is None


async def test_a_deletion_that_fails_half_way_is_made_again(
    admin: httpx.AsyncClient, ada: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [(await ada.post("/api/streams", json={"name": name})).json()["key"] for name in ("one", "two")]
    real = take_from_owner

    async def fails_at_the_second(session: AsyncSession, stream: Stream) -> None:
        if stream.name == "two":
            database_fails()
        await real(session, stream)

    with monkeypatch.context() as then:
        then.setattr(control_module, "take_from_owner", fails_at_the_second)
        assert_problem(await admin.delete("/api/users/ada"), 503, "database_away")
    assert await who(ada) is not None
    assert [(await ask(admin, key))["allow"] for key in keys] == [True, True]
    assert (await admin.delete("/api/users/ada")).status_code == 204
    assert [(await ask(admin, key))["code"] for key in keys] == ["key_rotated", "key_rotated"]
