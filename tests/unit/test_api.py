"""The public API against a fake engine that behaves: shapes, codes, who may change what."""

import asyncio
import stat
from typing import Any

import httpx
import pytest

from tallylight.api.control import Control
from tallylight.api.limits import MAX_BODY_BYTES
from tallylight.engine.models import StreamStatus, off_air
from tallylight.first_secret import first_key
from tallylight.paths import DataDirectory
from unit.fake_engine import FakeEngine

ON_BOTH_DATABASES = True
PROBLEM = "application/problem+json"


def on_air(name: str, **fields: Any) -> dict[str, Any]:
    status = off_air(name).model_dump() | {
        "status": "ON_AIR",
        "stream_type": "RTMP_STREAM",
        "session": "s1",
        "uptime_s": 1.5,
        **fields,
    }
    return StreamStatus.model_validate(status).model_dump()


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"].endswith(".")


async def test_create_shows_the_key_once(admin: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/streams", json={"name": "stage", "title": "The stage"})
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/streams/stage"
    key = answer.json()["key"]
    assert len(key) == 32
    for path in ("/api/streams/stage", "/api/streams"):
        assert key not in (await api.get(path)).text


async def test_a_stream_off_air_has_every_field(api: httpx.AsyncClient) -> None:
    stream = (await api.get("/api/streams/main")).json()
    assert stream["status"] == "OFF_AIR"
    assert stream["viewers"] == {"webrtc": 0, "hls": 0}
    assert stream["tracks"] == []
    assert stream["playback"]["webrtc"]["playable"] is False
    for field in ("stream_type", "session", "started_at", "last_end", "media_age_ms"):
        assert stream[field] is None


async def test_a_stream_on_air_carries_what_the_engine_measures(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.streams["main"] = on_air("main")
    stream = (await api.get("/api/streams/main")).json()
    assert (stream["status"], stream["stream_type"], stream["title"]) == ("ON_AIR", "RTMP_STREAM", "")
    listed = (await api.get("/api/streams")).json()["streams"]
    assert listed == [stream]


async def test_deleting_takes_it_off_the_air(admin: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.streams["main"] = on_air("main")
    assert (await admin.delete("/api/streams/main")).status_code == 204
    assert engine.cut == ["main"]
    assert_problem(await admin.delete("/api/streams/main"), 404, "stream_unknown")


async def test_rotating_changes_the_key_and_cuts_the_publisher(
    admin: httpx.AsyncClient, engine: FakeEngine, data: DataDirectory
) -> None:
    engine.streams["main"] = on_air("main")
    old = await asyncio.to_thread(first_key(data.first_run).read, "main")
    new = (await admin.post("/api/streams/main/rotate-key")).json()["key"]
    assert new != old
    assert engine.cut == ["main"]
    assert (await ask(admin, old or ""))["code"] == "key_rotated"
    assert await ask(admin, new) == {"allow": True, "stream": "main"}


async def ask(client: httpx.AsyncClient, key: str, **headers: str) -> Any:
    question = {
        "action": "publish",
        "protocol": "rtmp",
        "stream": None,
        "key": key,
        "session": "s",
        "remote_ip": "127.0.0.1",
    }
    return (await client.post("/engine/admission", json=question, headers=headers)).json()


async def test_a_question_that_came_through_the_front_is_not_answered(api: httpx.AsyncClient) -> None:
    assert (await ask(api, "k", **{"X-Forwarded-For": "192.0.2.1"}))["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/streams"), ("DELETE", "/api/streams/main"), ("POST", "/api/streams/main/rotate-key")],
)
async def test_changes_need_the_admin_token(api: httpx.AsyncClient, method: str, path: str) -> None:
    body = {"name": "new"} if path == "/api/streams" else None
    missing = await api.request(method, path, json=body)
    assert_problem(missing, 401, "sign_in_needed")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    wrong = await api.request(method, path, json=body, headers={"Authorization": "Bearer guess"})
    assert_problem(wrong, 401, "token_wrong")
    assert [stream["name"] for stream in (await api.get("/api/streams")).json()["streams"]] == ["main"]


async def test_the_admin_token_is_private(control: Control, data: DataDirectory) -> None:
    assert data.admin_token.read_text().strip() == control.admin_token
    assert stat.S_IMODE(data.admin_token.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "body",
    [
        {"name": "A"},
        {"name": ""},
        {"name": "-a"},
        {"name": "a" * 65},
        {"name": "a/b"},
        {"name": "a\n"},
        {"name": 5},
        {},
        {"name": "a", "title": "two\nlines"},
        {"name": "a", "title": "x" * 201},
        {"name": "a", "key": "mine"},
        [],
    ],
)
async def test_what_is_not_valid_is_refused_and_changes_nothing(admin: httpx.AsyncClient, body: Any) -> None:
    assert_problem(await admin.post("/api/streams", json=body), 422, "request_invalid")
    assert len((await admin.get("/api/streams")).json()["streams"]) == 1


async def test_other_refusals(admin: httpx.AsyncClient) -> None:
    assert_problem(await admin.post("/api/streams", json={"name": "main"}), 409, "stream_exists")
    assert_problem(await admin.get("/api/streams/nobody"), 404, "stream_unknown")
    assert_problem(await admin.get("/api/nothing"), 404, "not_found")
    assert_problem(await admin.get("/nothing"), 404, "not_found")
    not_allowed = await admin.put("/api/streams")
    assert_problem(not_allowed, 405, "method_not_allowed")
    assert not_allowed.headers["allow"]
    json_type = {"Content-Type": "application/json"}
    assert_problem(await admin.post("/api/streams", content=b"{", headers=json_type), 400, "json_malformed")


async def test_a_body_too_large_is_refused_declared_or_not(admin: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(MAX_BODY_BYTES // 1024 + 2):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    declared = await admin.post("/api/streams", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert_problem(declared, 413, "too_large")
    assert_problem(await admin.post("/api/streams", content=chunks(), headers=headers), 413, "too_large")


async def test_health_names_the_part_that_fails(api: httpx.AsyncClient, engine: FakeEngine) -> None:
    healthy = await api.get("/api/health")
    assert healthy.status_code == 200
    assert healthy.headers["content-type"] == "application/health+json"
    assert healthy.json()["checks"] == {"database": [{"status": "pass"}], "engine": [{"status": "pass"}]}
    engine.refuse = True
    ill = await api.get("/api/health")
    assert ill.status_code == 503
    assert ill.json()["status"] == "fail"
    assert ill.json()["checks"]["engine"][0]["status"] == "fail"
    assert ill.json()["checks"]["database"] == [{"status": "pass"}]


async def test_without_the_engine_a_status_is_not_made_up(
    api: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.refuse = True
    away = await api.get("/api/streams/main")
    assert_problem(away, 503, "engine_away")
    assert away.headers["retry-after"] == "1"
    assert (await admin.delete("/api/streams/main")).status_code == 204, "a change does not need the engine"


async def test_pages_learn_about_the_server(api: httpx.AsyncClient) -> None:
    config = (await api.get("/api/config")).json()
    assert config["rtmp"] == {"port": 1935, "app": "live"}
    assert config["ice_servers"] == []


async def test_a_deleted_stream_is_cut_when_the_engine_is_back(
    control: Control, admin: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.streams["main"] = on_air("main")
    engine.refuse = True
    await admin.delete("/api/streams/main")
    assert engine.cut == []
    engine.refuse = False
    await control.resynchronise()
    assert engine.cut == ["main"]


async def test_many_at_once_make_one_stream(admin: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(admin.post("/api/streams", json={"name": "race"}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
