"""What pages follow: the list of streams as it changes, and the operators' figures as they move."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.peers import WhepViewer
from support.publishers import SMALL, card_publisher
from support.server import Server
from support.waiting import wait_until
from tallylight.telemetry.metric_names import ENGINE

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# The promise: pages show who went on air within this.
ANNOUNCED_WITHIN_S = 2.0
STREAM = "telemetry"
PATIENCE_S = 20


async def events(client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None) -> AsyncGenerator[Any]:
    """Data of server-sent events."""
    async with client.stream("GET", path, headers=headers, timeout=10) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def first(found: AsyncGenerator[Any], condition: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        async for data in found:
            if condition(data):
                return data
    raise AssertionError("the events ended")


def stream_of(data: Any) -> Any:
    return next(stream for stream in data["streams"] if stream["name"] == STREAM)


async def test_a_publication_is_announced(server: Server) -> None:
    """Who listens to `/api/live` knows of a publication, and of its end, within 2 s of the engine."""
    live = events(server.http, "/api/live")
    assert stream_of(await first(live, bool))["status"] == "OFF_AIR"

    async def announced(status: str) -> float:
        await first(live, lambda data: stream_of(data)["status"] == status)
        return time.monotonic()

    async with card_publisher(server.rtmp_url(STREAM)):
        waiting = asyncio.create_task(announced("ON_AIR"))
        await server.wait_on_air(STREAM)
        on_air_s = time.monotonic()
        assert await waiting - on_air_s < ANNOUNCED_WITHIN_S
    await server.wait_off_air(STREAM)
    off_air_s = time.monotonic()
    assert await announced("OFF_AIR") - off_air_s < ANNOUNCED_WITHIN_S
    await live.aclose()


async def test_a_listener_that_leaves_is_let_go(server: Server) -> None:
    """The control plane knows of a listener, and soon after it closed its connection to the front, of none."""

    async def listeners() -> float:
        headers = {"Authorization": f"Bearer {server.internal_token}"}
        answer = await server.http.get(f"http://127.0.0.1:{server.internal_port}/metrics", headers=headers)
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
        return next(
            sample.value
            for sample in samples
            if sample.name == "tallylight_event_listeners" and sample.labels["kind"] == "streams"
        )

    async def nobody() -> bool:
        return await listeners() == 0

    await wait_until(nobody, 5, "who listened before to be let go")
    live = events(server.http, "/api/live")
    await anext(live)
    assert await listeners() == 1
    await live.aclose()
    await wait_until(nobody, 5, "the listener to be let go")


async def test_prometheus_reads_the_engine(server: Server) -> None:
    """Every metric of the engine is there, from the real one, with the internal token and on no public path."""
    headers = {"Authorization": f"Bearer {server.internal_token}"}
    metrics = f"http://127.0.0.1:{server.internal_port}/metrics"

    async def engine_told() -> set[str] | None:
        answer = await server.http.get(metrics, headers=headers)
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        return names if "tallylight_engine_streams" in names else None

    declared = {statistic.metric.name.removesuffix("_total") for statistic in ENGINE}
    told = await wait_until(engine_told, 10, "a sample of the engine")
    assert told is not None
    assert declared - told == set()
    assert (await server.http.get(metrics)).status_code == httpx.codes.UNAUTHORIZED
    for path in ("/metrics", "//metrics", "/internal/../metrics"):
        assert (await server.http.get(f"{server.url}{path}", headers=headers)).status_code == httpx.codes.NOT_FOUND


async def test_the_figures_move(server: Server) -> None:
    """The dashboard measures what is on air: bits in and out, a viewer, processor time, every link of the chain."""
    token = (server.data_dir / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with card_publisher(server.rtmp_url(STREAM)):
        await server.wait_on_air(STREAM)
        async with WhepViewer(server.http, STREAM) as viewer:
            await viewer.wait_frames(1)

            def moves(data: Any) -> bool:
                samples, stream = data["samples"], stream_of(data)
                ingress_bps = stream["ingress_bps"] or 0
                return bool(
                    stream["viewers"]["webrtc"] == 1
                    and SMALL.bitrate_bps / 4 < ingress_bps < SMALL.bitrate_bps * 4
                    and (samples["egress_bps"][0] or 0) > SMALL.bitrate_bps / 4
                    and (samples["ingress_bps"][0] or 0) >= ingress_bps
                    and (samples["cpu_percent"][0] or 0) > 0
                    and all(lamp["state"] in ("ok", "waiting") for lamp in stream["links"])
                )

            data = await first(events(server.http, "/api/dashboard/live", headers), moves)
            assert {process["name"] for process in data["server"]["processes"]} >= {"engine", "control", "posters"}
            whole = (await server.http.get("/api/dashboard", headers=headers)).json()
            assert data["samples"]["at"][0] in whole["samples"]["at"]
    await server.wait_off_air(STREAM)
