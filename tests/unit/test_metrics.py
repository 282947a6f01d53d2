"""`/metrics`: what Prometheus reads, that it is what the registry declares, and that counting costs nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from tallylight.api.app import public_app
from tallylight.api.control import Control
from tallylight.paths import DataDirectory
from tallylight.telemetry import sampler as sampling
from tallylight.telemetry.histogram import Histogram
from tallylight.telemetry.metric_names import ENGINE, METRICS, document
from tallylight.telemetry.requests import Answer, CountRequests, RequestLog
from unit.fake_engine import FakeEngine
from unit.test_api import assert_problem, on_air
from unit.test_dashboard import fresh_sample, processor
from unit.test_posters import put_poster

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("seconds", "bytes")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "INTERVAL_S", 0.05)


@pytest.fixture
async def public(control: Control) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=public_app(control), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def scrape(internal: httpx.AsyncClient) -> dict[str, Metric]:
    answer = await internal.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


def everything(engine: FakeEngine) -> None:
    counters = {"bytes": 1, "access_units": 2, "keyframes": 3, "errors": 4, "dropped": 5, "last_pts": None}
    engine.statistics = {statistic.statistic: 1000.0 for statistic in ENGINE} | {"not.known": 1.0}
    engine.streams["main"] = on_air(
        "main", viewers={"webrtc": 2, "hls": 1}, ledger={"ingest": {"in": counters, "out": {}}}
    )


async def test_everything_declared_is_there_and_nothing_else(
    internal: httpx.AsyncClient, engine: FakeEngine, control: Control, data: DataDirectory
) -> None:
    everything(engine)
    processor(control)
    put_poster(data, "main", b"JPEG", age_s=5)
    control.sampler.loop_delay.delays_s.add(0.02)
    control.admission.refused["key_wrong"] += 1
    await internal.get("/internal/health")
    await fresh_sample(control)
    families = await scrape(internal)
    # The parser names counters without the suffix that they are read by.
    read = {f"{name}_total" if family.type == "counter" else name: family for name, family in families.items()}
    assert read.keys() == METRICS.keys()
    for name, family in read.items():
        declared = METRICS[name]
        assert (family.type, family.documentation) == (declared.kind, declared.help)
        assert {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples} == {
            tuple(sorted(declared.labels))
        }
    assert value(families, "tallylight_engine_process_cpu_seconds_total") == 1
    assert value(families, "tallylight_engine_webrtc_sent_bytes_total") == 1000
    assert value(families, "tallylight_stream_viewers", stream="main", protocol="hls") == 1
    link = {"stream": "main", "link": "ingest", "side": "in"}
    assert value(families, "tallylight_stream_link_dropped_units_total", **link) == 5
    assert value(families, "tallylight_processor_frames_total", id="draw-1", stream="main", side="in") == 1
    assert 5 <= value(families, "tallylight_stream_poster_age_seconds", stream="main") < 60
    assert value(families, "tallylight_process_up", process="posters") == 0
    assert value(families, "tallylight_process_up", process="control") == 1
    assert value(families, "tallylight_event_loop_delay_seconds_count") >= 1


def test_names_follow_the_conventions() -> None:
    """https://prometheus.io/docs/practices/naming/: our prefix, base units, `_total` for counters and only for them."""
    for metric in METRICS.values():
        assert re.fullmatch(r"tallylight_[a-z0-9]+(_[a-z0-9]+)*", metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not re.search(r"_(ms|milliseconds|kb|mb|bits|percent|count|sum|bucket)(_|$)", metric.name), metric.name
        words = metric.name.removesuffix("_total").split("_")
        assert not set(words[:-1]) & set(UNITS), f"{metric.name}: the unit comes last"
        assert metric.help[0].isupper() or metric.help[0].isdigit(), metric.name
        assert not metric.help.endswith("."), metric.name
        assert len(set(metric.labels)) == len(metric.labels)
        if metric.kind == "histogram":
            assert words[-1] in UNITS


def test_the_document_is_made_from_the_registry() -> None:
    written = (ROOT / "docs/metrics.md").read_text()
    assert written == document(), "run: python -m tallylight.telemetry.metric_names > docs/metrics.md"


def test_every_statistic_of_the_engine_has_a_metric() -> None:
    """A statistic that the engine adds needs a line in `telemetry/metric_names.py`, one it drops has none there."""
    crates = ROOT / "engine/crates"
    counters = re.search(r"^counters! \{(.*?)^\}", (crates / "engine/src/counters.rs").read_text(), re.M | re.S)
    webrtc = re.search(r"^counters! \{(.*?)^\}", (crates / "webrtc/src/lib.rs").read_text(), re.M | re.S)
    assert counters
    assert webrtc
    statistics = set(re.findall(r'=> "([a-z0-9_.]+)"', counters[1]))
    statistics |= {f"webrtc.{name}" for name in re.findall(r"\w+", re.sub(r"//.*", "", webrtc[1]))}
    process = (crates / "engine/src/process.rs").read_text().split("#[cfg(test)]")[0]
    statistics |= set(re.findall(r'"(process\.[a-z_]+)"', process))
    statistics |= set(re.findall(r'insert\("([a-z_.]+)"', (crates / "engine/src/api.rs").read_text()))
    assert {statistic.statistic for statistic in ENGINE} == statistics
    assert len({statistic.metric.name for statistic in ENGINE}) == len(ENGINE)


async def test_without_an_engine(internal: httpx.AsyncClient, engine: FakeEngine, control: Control) -> None:
    everything(engine)
    engine.refuse = True
    await fresh_sample(control)
    families = await scrape(internal)
    assert value(families, "tallylight_engine_up") == 0
    assert value(families, "tallylight_process_up", process="engine") == 0
    assert not [name for name in families if name.startswith(("tallylight_engine_webrtc", "tallylight_stream"))]


async def test_it_is_internal(internal: httpx.AsyncClient, public: httpx.AsyncClient, control: Control) -> None:
    assert_problem(await internal.get("/metrics", headers={"Authorization": ""}), 401, "token_missing")
    wrong = {"Authorization": f"Bearer {control.admin_token}"}
    assert_problem(await internal.get("/metrics", headers=wrong), 401, "token_wrong")
    token = {"Authorization": f"Bearer {control.internal_token}"}
    assert_problem(await public.get("/metrics", headers=token), 404, "not_found")


async def test_requests_are_counted_by_route(
    public: httpx.AsyncClient, internal: httpx.AsyncClient, control: Control
) -> None:
    for path in ("/api/streams/main", "/api/streams/nobody", "/api/streams/nobody", "/guess/1", "/guess/2"):
        await public.get(path)
    await public.request("BREW", "/api/streams")
    await internal.get("/internal/health")
    answers = control.requests.answers
    assert answers[Answer("public", "GET", "/api/streams/{name}", 200)] == 1
    assert answers[Answer("public", "GET", "/api/streams/{name}", 404)] == 2
    assert answers[Answer("public", "GET", "other", 404)] == 2
    assert [answer.route for answer in answers if answer.method == "other"]
    assert answers[Answer("internal", "GET", "/internal/health", 200)] == 1
    assert control.requests.started_s[("public", "/api/streams/{name}")].buckets()[-1] == ("+Inf", 3)
    families = await scrape(internal)
    labels = {"listener": "public", "method": "GET", "route": "/api/streams/{name}", "status": "404"}
    assert value(families, "tallylight_http_requests_total", **labels) == 2


async def test_counting_costs_microseconds() -> None:
    """Less than a fiftieth of a millisecond for each request, a hundred times below the quickest answer that asks."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nothing(_message: Message) -> None:
        return

    async def receive() -> Any:
        raise AssertionError

    counted = CountRequests(app, RequestLog(), "public")
    scope = {"type": "http", "method": "GET"}
    rounds = 20_000

    async def cost_s(asgi: Any) -> float:
        began_s = time.process_time()
        for _ in range(rounds):
            await asgi(scope, receive, nothing)
        return (time.process_time() - began_s) / rounds

    assert await cost_s(counted) - await cost_s(app) < 20e-6


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for number in (0.5, 1.0, 1.5, 9.0):
        histogram.add(number)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.total == 12.0
    assert (histogram.take_largest(), histogram.take_largest()) == (9.0, 0.0)


async def test_a_blocked_loop_is_measured(control: Control) -> None:
    delays = control.sampler.loop_delay.delays_s
    before = delays.total

    async def measured() -> bool:
        await asyncio.sleep(0.01)
        return delays.total - before > 0.3

    time.sleep(0.7)  # noqa: ASYNC251 - this is the block
    for _ in range(500):
        if await measured():
            break
    assert delays.total - before > 0.3
