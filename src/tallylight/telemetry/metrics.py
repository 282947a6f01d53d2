"""From facts to Prometheus' text. Pure but for the encoding, which prometheus_client does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from tallylight import __version__
from tallylight.diagnosis.facts import ExposeFacts
from tallylight.diagnosis.processors import ProcessorView
from tallylight.engine.models import StreamStatus
from tallylight.telemetry.histogram import Histogram
from tallylight.telemetry.metric_names import ENGINE, METRICS, Metric
from tallylight.telemetry.processes import OurProcess
from tallylight.telemetry.requests import RequestLog
from tallylight.telemetry.sampler import EngineLook, Host
from tallylight.webhooks.sender import SenderStatistics

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True)
class DatabaseFacts:
    """What the database said.

    Attributes:
        ping_s: How long it took for the smallest question.
        open_broadcasts: Status of each that has not ended.
        broadcasts_started: Since the database was made.
    """

    ping_s: float | None
    open_broadcasts: Sequence[str]
    broadcasts_started: int


@dataclass(frozen=True)
class Facts:
    """What one answer tells. Unknown is None.

    Attributes:
        now_s: Unix time.
        expose: By stream; None for requests that named none.
        posters: When each was taken, Unix time.
        publish_refused: How often, by code.
        listeners: Of server-sent events, by kind.
    """

    now_s: float
    host: Host
    engine: EngineLook | None
    database: DatabaseFacts | None
    expose: Mapping[str | None, ExposeFacts]
    posters: Mapping[str, float]
    processors: Sequence[ProcessorView]
    publish_refused: Mapping[str, int]
    webhooks: SenderStatistics
    requests: RequestLog
    listeners: Mapping[str, int]
    loop_delays_s: Histogram


def text(collected: list[Family]) -> bytes:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(collected))
    return generate_latest(registry)


def families(facts: Facts) -> list[Family]:
    """All metrics that have a value."""
    out = _Families()
    out.put("tallylight_build_info", 1, __version__)
    _put_host(out, facts.host)
    for process_name, processes in _by_name(facts.host.processes).items():
        _put_process(out, process_name, processes, facts.now_s)
    _put_engine(out, facts.engine)
    if facts.database is not None:
        _put_database(out, facts.database)
    for stream, taken_s in facts.posters.items():
        out.put("tallylight_stream_poster_age_seconds", facts.now_s - taken_s, stream)
    for processor in facts.processors:
        _put_processor(out, processor)
    for code, count in facts.publish_refused.items():
        out.put("tallylight_publish_refused_total", count, code)
    _put_webhooks(out, facts.webhooks)
    _put_control_plane(out, facts)
    return list(out.all.values())


class _Families:
    """Metrics under way; a name that is not declared is an error."""

    def __init__(self) -> None:
        self.all: dict[str, Family] = {}

    def put(self, name: str, value: float, *labels: str) -> None:
        family = self._family(METRICS[name])
        assert not isinstance(family, HistogramMetricFamily), name  # noqa: S101
        family.add_metric(labels, value)

    def put_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        family = self._family(METRICS[name])
        assert isinstance(family, HistogramMetricFamily), name  # noqa: S101
        family.add_metric(labels, histogram.buckets(), histogram.total)

    def _family(self, metric: Metric) -> Family:
        family = self.all.get(metric.name)
        if family is None:
            kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
            family = self.all[metric.name] = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
        return family


class _Once(Collector):
    def __init__(self, collected: list[Family]) -> None:
        self._collected = collected

    def collect(self) -> Iterator[Family]:
        return iter(self._collected)


def _by_name(processes: Iterable[OurProcess]) -> dict[str, list[OurProcess]]:
    """Processes by name; spares have a name of their own."""
    named: dict[str, list[OurProcess]] = {}
    for process in processes:
        named.setdefault(f"{process.name} spare" if process.state == "standby" else process.name, []).append(process)
    return named


def _put_host(out: _Families, host: Host) -> None:
    out.put("tallylight_host_cpus", host.cpu_count)
    out.put("tallylight_host_memory_bytes", host.memory_total_bytes)
    out.put("tallylight_host_memory_available_bytes", host.memory_available_bytes)
    if host.disk is not None:
        out.put("tallylight_disk_bytes", host.disk.total_bytes)
        out.put("tallylight_disk_free_bytes", host.disk.free_bytes)


def _put_process(out: _Families, name: str, processes: list[OurProcess], now_s: float) -> None:
    running = [process for process in processes if process.pid is not None]
    out.put("tallylight_process_up", int(bool(running)), name)
    started = [process.started_at_s for process in running if process.started_at_s is not None]
    if started:
        out.put("tallylight_process_cpu_seconds_total", sum(process.cpu_s for process in running), name)
        out.put("tallylight_process_resident_memory_bytes", sum(process.rss_bytes for process in running), name)
        out.put("tallylight_process_uptime_seconds", max(0.0, now_s - min(started)), name)


def _put_engine(out: _Families, engine: EngineLook | None) -> None:
    out.put("tallylight_engine_up", int(engine is not None))
    if engine is None:
        return
    for statistic in ENGINE:
        if (value := engine.statistics.get(statistic.statistic)) is not None:
            out.put(statistic.metric.name, value * statistic.factor)
    for status in engine.streams.values():
        out.put("tallylight_stream_on_air", int(status.status == "ON_AIR"), status.name)
        for protocol, viewers in status.viewers.items():
            out.put("tallylight_stream_viewers", viewers, status.name, protocol)
        _put_ledger(out, status)


_LEDGER = {
    "bytes": "tallylight_stream_link_bytes_total",
    "access_units": "tallylight_stream_link_access_units_total",
    "keyframes": "tallylight_stream_link_keyframes_total",
    "errors": "tallylight_stream_link_errors_total",
    "dropped": "tallylight_stream_link_dropped_units_total",
}


def _put_ledger(out: _Families, status: StreamStatus) -> None:
    for link, sides in status.ledger.items():
        for side, counters in sides.items():
            for counter, name in _LEDGER.items():
                if isinstance(value := counters.get(counter), (int, float)):
                    out.put(name, value, status.name, link, side)


def _put_database(out: _Families, database: DatabaseFacts) -> None:
    if database.ping_s is not None:
        out.put("tallylight_database_ping_seconds", database.ping_s)
    for status in ("ON_AIR", "RECONNECTING"):
        out.put("tallylight_broadcasts_open", database.open_broadcasts.count(status), status)
    out.put("tallylight_broadcasts_started_total", database.broadcasts_started)


def _put_processor(out: _Families, processor: ProcessorView) -> None:
    of = (processor.id, processor.input)
    out.put("tallylight_processor_up", int(processor.state == "running" and not processor.gone), *of)
    for side, counters in (("in", processor.in_), ("out", processor.out)):
        out.put("tallylight_processor_frames_total", counters.frames, *of, side)
        out.put("tallylight_processor_errors_total", counters.errors, *of, side)
    out.put("tallylight_processor_dropped_frames_total", processor.queue.dropped, *of)
    out.put("tallylight_processor_queue_frames", processor.queue.length, *of)
    out.put("tallylight_processor_queue_age_seconds", processor.queue.age_ms / 1000, *of)


def _put_webhooks(out: _Families, webhooks: SenderStatistics) -> None:
    out.put("tallylight_webhook_deliveries_total", webhooks.delivered, "delivered")
    out.put("tallylight_webhook_deliveries_total", webhooks.given_up, "given_up")
    out.put("tallylight_webhook_deliveries_total", webhooks.addresses_refused, "address_refused")
    out.put("tallylight_webhook_attempts_failed_total", webhooks.attempts_failed)
    out.put("tallylight_webhook_deliveries_in_flight", webhooks.in_flight)


def _put_control_plane(out: _Families, facts: Facts) -> None:
    for stream, expose in facts.expose.items():
        out.put("tallylight_expose_readers", expose.readers, stream or "")
        out.put("tallylight_expose_sent_bytes_total", expose.bytes, stream or "")
        out.put("tallylight_expose_refused_total", expose.refused, stream or "")
    for answer, count in facts.requests.answers.items():
        labels = (answer.listener, answer.method, answer.route, str(answer.status))
        out.put("tallylight_http_requests_total", count, *labels)
    for (listener, route), started_s in facts.requests.started_s.items():
        out.put_histogram("tallylight_http_request_start_seconds", started_s, listener, route)
    for kind, count in facts.listeners.items():
        out.put("tallylight_event_listeners", count, kind)
    out.put_histogram("tallylight_event_loop_delay_seconds", facts.loop_delays_s)
