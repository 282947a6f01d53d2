"""The internal listener against a fake engine, and the public state of the media."""

import asyncio
import os
import stat
from base64 import b64encode
from collections import deque
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from tallylight.api.control import Control
from tallylight.paths import DataDirectory
from tallylight.telemetry.sampler import Sample
from unit.fake_engine import FakeEngine
from unit.test_api import assert_problem, on_air

VIDEO = {"id": 1, "kind": "video", "codec": "VP8", "bitrate_bps": 500_000.0}
TOKEN_PATHS = ("/internal/stream-status/main", "/internal/videoExpose", "/internal/videoExpose?stream=main")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine shares its event loop with who asks: it may need longer than an engine does."""
    monkeypatch.setattr("tallylight.api.processes.ENGINE_TIMEOUT_S", 10.0)


def session(identity: str, kind: str, stream: str | None) -> dict[str, Any]:
    facts = {"state": "connected", "age_s": 1.0, "remote": "192.0.2.7:4000", "packets": 3, "bytes": 900}
    return {"id": identity, "kind": kind, "stream": stream, **facts}


async def test_health_needs_no_token_and_lists_our_processes(patient: None, internal: httpx.AsyncClient) -> None:
    answer = await internal.get("/internal/health", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/health+json"
    processes = {process["name"]: process for process in answer.json()["processes"]}
    assert set(processes) == {"supervisor", "control", "engine", "posters"}
    assert processes["supervisor"]["pid"] == os.getppid()
    assert processes["control"]["pid"] == processes["engine"]["pid"] == os.getpid()
    # Without a supervisor nobody makes posters.
    away = processes.pop("posters")
    assert (away["pid"], away["state"], away["uptime_s"]) == (None, "not_answering", None)
    assert {process["state"] for process in processes.values()} == {"running"}
    assert all(process["uptime_s"] > 0 for process in processes.values())


async def test_health_says_that_the_engine_is_away(
    patient: None, internal: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.refuse = True
    answer = await internal.get("/internal/health")
    assert answer.status_code == 503
    assert answer.json()["checks"]["engine"][0]["status"] == "fail"
    (away,) = [process for process in answer.json()["processes"] if process["name"] == "engine"]
    assert (away["pid"], away["state"]) == (None, "not_answering")


async def test_health_does_not_wait_for_an_engine_that_hangs(
    internal: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("tallylight.engine.client.EngineClient.health", hang)
    answer = await asyncio.wait_for(internal.get("/internal/health"), 3)
    assert answer.status_code == 200
    assert answer.json()["checks"]["engine"][0]["status"] == "warn"


@pytest.mark.parametrize("path", TOKEN_PATHS)
async def test_everything_else_needs_the_token(internal: httpx.AsyncClient, control: Control, path: str) -> None:
    missing = await internal.get(path, headers={"Authorization": ""})
    assert_problem(missing, 401, "token_missing")
    assert missing.headers["www-authenticate"].startswith("Basic ")
    for wrong in ("guess", control.admin_token, control.internal_token + "x"):
        assert_problem(await internal.get(path, headers={"Authorization": f"Bearer {wrong}"}), 401, "token_wrong")
    for malformed in ("Basic ===", "Basic " + b64encode(b"\xff:\xff").decode(), "Digest x"):
        assert_problem(await internal.get(path, headers={"Authorization": malformed}), 401, "token_missing")
    password = await internal.get(path, auth=httpx.BasicAuth("anybody", control.internal_token))
    assert password.status_code != 401


async def test_the_internal_token_is_private(control: Control, data: DataDirectory) -> None:
    assert data.internal_token.read_text().strip() == control.internal_token
    assert control.internal_token != control.admin_token
    assert stat.S_IMODE(data.internal_token.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "..", "a/b", "%2F", "Main", "x" * 256])
async def test_a_name_that_cannot_be_is_not_on_air(internal: httpx.AsyncClient, engine: FakeEngine, name: str) -> None:
    engine.streams["main"] = on_air("main", tracks=[VIDEO])
    answer = await internal.get("/internal/videoExpose", params={"stream": name})
    assert (answer.status_code, answer.json()["code"]) == (404, "nothing_on_air")


@pytest.mark.parametrize("path", ["/internal/health", *TOKEN_PATHS])
async def test_the_public_listener_knows_nothing_of_it(api: httpx.AsyncClient, control: Control, path: str) -> None:
    headers = {"Authorization": f"Bearer {control.internal_token}"}
    assert_problem(await api.get(path, headers=headers), 404, "not_found")


async def test_the_internal_listener_has_nothing_public(internal: httpx.AsyncClient) -> None:
    assert_problem(await internal.get("/api/streams"), 404, "not_found")


async def test_stream_status_tells_who_is_connected(internal: httpx.AsyncClient, engine: FakeEngine) -> None:
    silent = {"id": 2, "kind": "audio", "codec": "OPUS", "age_ms": 9000.0}
    tracks = [VIDEO | {"age_ms": 20.0}, silent]
    engine.streams["main"] = on_air("main", tracks=tracks, ledger={"ingest": {"in": {"bytes": 1}}}, media_age_ms=20.0)
    engine.sessions = [session("a", "whip", "main"), session("b", "whep", "main"), session("c", "whep", "other")]
    status = (await internal.get("/internal/stream-status/main")).json()
    assert status["ledger"]["ingest"] == {"in": {"bytes": 1}}
    ages = [(producer["codec"], producer["last_packet_age_ms"]) for producer in status["producers"]]
    assert ages == [("VP8", 20.0), ("OPUS", 9000.0)]
    assert [peer["id"] for peer in status["consumers"]] == ["b"]
    assert [peer["id"] for peer in status["sessions"]] == ["a", "b"]


async def test_stream_status_of_what_is_not_on_air(internal: httpx.AsyncClient) -> None:
    status = (await internal.get("/internal/stream-status/main")).json()
    assert (status["status"], status["producers"], status["sessions"]) == ("OFF_AIR", [], [])
    assert_problem(await internal.get("/internal/stream-status/nobody"), 404, "stream_unknown")


async def test_video_expose_passes_the_newest_or_the_named_stream_on(
    internal: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    for name, minute in (("old", 1), ("newest", 3), ("middle", 2)):
        await control.streams.create(name, "")
        engine.streams[name] = on_air(name, tracks=[VIDEO], started_at=f"2126-11-25T00:0{minute}:00.000Z")
        engine.taps[name] = [b"ftyp", name.encode()]
    newest = await internal.get("/internal/videoExpose")
    assert (newest.status_code, newest.headers["content-type"]) == (200, "video/mp4")
    assert newest.content == b"ftypnewest"
    assert (await internal.get("/internal/videoExpose?stream=middle")).content == b"ftypmiddle"
    described = await internal.get("/internal/videoExpose", headers={"Accept": "text/html, application/json;q=0.9"})
    assert described.json() == {
        "stream": "newest",
        "status": "ON_AIR",
        "producers": [
            {
                "stream": "newest",
                "kind": "video",
                "codec": "VP8",
                "bitrate_bps": 500_000.0,
                "last_packet_age_ms": None,
            }
        ],
        "reason": None,
    }


async def test_video_expose_of_nothing_says_what_it_looked_for(internal: httpx.AsyncClient, engine: FakeEngine) -> None:
    anything = await internal.get("/internal/videoExpose")
    assert_problem(anything, 404, "nothing_on_air")
    assert "any stream" in anything.json()["detail"]
    engine.streams["main"] = on_air("main", status="OFF_AIR")
    named = await internal.get("/internal/videoExpose?stream=main")
    assert_problem(named, 404, "nothing_on_air")
    assert "'main'" in named.json()["detail"]
    described = await internal.get("/internal/videoExpose?stream=main", headers={"Accept": "application/json"})
    assert described.status_code == 200
    assert described.json()["producers"] == []
    assert "'main'" in described.json()["reason"]


async def test_video_expose_says_why_the_engine_refuses(internal: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.streams["main"] = on_air("main")
    assert_problem(await internal.get("/internal/videoExpose"), 404, "nothing_on_air")
    engine.taps["main"] = {"status": 503, "code": "too_many_taps", "detail": "64 taps are open already."}
    refused = await internal.get("/internal/videoExpose")
    assert_problem(refused, 503, "too_many_taps")
    assert refused.headers["retry-after"] == "1"
    engine.refuse = True
    assert_problem(await internal.get("/internal/videoExpose"), 503, "engine_away")


async def test_the_public_media_status_names_nobody(
    api: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    engine.workers = [{"pid": 7, "alive": True, "kind": "webrtc", "load": 0.03}]
    engine.streams["main"] = on_air("main", tracks=[VIDEO], media_age_ms=20.0)
    await control.streams.create("gone", "")
    engine.streams["gone"] = on_air("gone", session=None, tracks=[VIDEO])
    engine.sessions = [session("secret-1", "whip", "main"), session("secret-2", "whep", "main")]
    answer = await api.get("/api/media-status")
    status = answer.json()
    assert status["workers"] == engine.workers
    assert [producer["stream"] for producer in status["producers"]] == ["main"]
    assert [consumer["kind"] for consumer in status["consumers"]] == ["whep"]
    assert "192.0.2.7" not in answer.text
    assert "secret" not in answer.text
    assert (await api.get("/api/mediasoup-status")).json() == status


async def test_a_workers_load_is_that_of_the_last_seconds(
    api: httpx.AsyncClient, engine: FakeEngine, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the newest sample; the engine itself knows only its mean since its start."""
    engine.workers = [{"pid": 7, "alive": True, "kind": "webrtc", "load": 0.03}]
    planted = deque([Sample(at_s=0, engine_load=0.456)])
    monkeypatch.setattr(control.sampler, "history", planted)
    monkeypatch.setattr(control.sampler, "take", AsyncMock())  # no newer one
    (worker,) = (await api.get("/api/media-status")).json()["workers"]
    assert worker == {"pid": 7, "alive": True, "kind": "webrtc", "load": 0.46}
