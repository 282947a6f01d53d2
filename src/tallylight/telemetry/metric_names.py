"""Every metric of `/metrics`: the registry that the answer, docs/metrics.md and the tests are made of.

`python -m tallylight.telemetry.metric_names > docs/metrics.md` writes the document.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric, named as it is read; units are part of names, and base units: seconds, bytes."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineStatistic:
    """One number of the engine's `/v1/statistics`, and the metric that it becomes when multiplied by `factor`."""

    statistic: str
    metric: Metric
    factor: float = 1.0


def _engine(statistic: str, name: str, help_text: str, factor: float = 1.0) -> EngineStatistic:
    kind: Kind = "counter" if name.endswith("_total") else "gauge"
    return EngineStatistic(statistic, Metric(f"tallylight_engine_{name}", kind, help_text), factor)


ENGINE = (
    _engine("http.connections", "http_connections", "Open connections of the public HTTP front"),
    _engine("http.connections_accepted", "http_connections_accepted_total", "Connections that the front accepted"),
    _engine("http.connections_refused", "http_connections_refused_total", "Connections closed at once: too many"),
    _engine("http.requests", "http_requests_total", "Requests to the front"),
    _engine("http.proxied", "http_proxied_total", "Requests that the front passed on to the control plane"),
    _engine("http.control_plane_away", "http_control_plane_away_total", "Requests that found no control plane"),
    _engine("http.event_streams", "http_event_streams", "Viewers' open event streams"),
    _engine("hls.requests", "hls_requests_total", "Requests for playlists and media"),
    _engine("hls.bytes", "hls_sent_bytes_total", "Playlists and media sent, without headers"),
    _engine("hls.held", "hls_held_requests", "Requests that wait for the next part or playlist"),
    _engine("tap.open", "taps", "Readers of taps"),
    _engine("tap.bytes", "tap_sent_bytes_total", "Media sent to readers of taps"),
    _engine("tap.dropped", "tap_dropped_units_total", "Access units that slow readers of taps lost"),
    _engine("admission.questions", "admission_questions_total", "Publishers that the control plane was asked about"),
    _engine("admission.denied", "admission_denied_total", "Publishers that were refused"),
    _engine("admission.unanswered", "admission_unanswered_total", "Publishers told to try again: no answer in time"),
    _engine("playback.refused", "playback_refused_total", "Requests to watch without a valid playback token"),
    _engine(
        "playback.revoked", "playback_revoked_total", "Sessions of viewers ended because they may not watch any more"
    ),
    _engine("rtmp.connections", "rtmp_connections", "Open RTMP connections"),
    _engine("rtmp.connections_accepted", "rtmp_connections_accepted_total", "RTMP connections accepted"),
    _engine("rtmp.connections_refused", "rtmp_connections_refused_total", "RTMP connections closed at once: too many"),
    _engine("rtmp.protocol_errors", "rtmp_protocol_errors_total", "RTMP connections ended for breaking the protocol"),
    _engine("rtmp.bytes_in", "rtmp_received_bytes_total", "Bytes received by RTMP"),
    _engine("transcode.active", "transcoders", "Streams whose AAC is being made into Opus"),
    _engine("transcode.errors", "transcode_errors_total", "Audio frames and tracks that could not be transcoded"),
    _engine("webrtc.sessions", "webrtc_sessions", "WebRTC sessions, publishers' and viewers'"),
    _engine("webrtc.viewers", "webrtc_viewers", "WebRTC sessions of viewers"),
    _engine("webrtc.connected", "webrtc_connected_sessions", "WebRTC sessions through with ICE and DTLS"),
    _engine("webrtc.datagrams_in", "webrtc_received_datagrams_total", "Datagrams received"),
    _engine("webrtc.datagrams_unroutable", "webrtc_unroutable_datagrams_total", "Datagrams of no session"),
    _engine("webrtc.datagrams_malformed", "webrtc_malformed_datagrams_total", "Datagrams that make no sense"),
    _engine("webrtc.stun_refused", "webrtc_stun_refused_total", "STUN requests without valid credentials"),
    _engine("webrtc.session_errors", "webrtc_session_errors_total", "Sessions ended by an error"),
    _engine("webrtc.control_datagrams_out", "webrtc_sent_control_datagrams_total", "STUN, DTLS and RTCP sent"),
    _engine("webrtc.packets_out", "webrtc_sent_packets_total", "RTP packets sent to viewers"),
    _engine("webrtc.bytes_out", "webrtc_sent_bytes_total", "Bytes of RTP sent to viewers"),
    _engine("webrtc.send_calls", "webrtc_send_calls_total", "System calls that sent datagrams"),
    _engine("webrtc.send_messages", "webrtc_send_messages_total", "Messages in those calls; one may hold many packets"),
    _engine("webrtc.send_dropped", "webrtc_send_dropped_packets_total", "Packets lost to a full socket buffer"),
    _engine("webrtc.gso_enabled", "webrtc_segmentation_offload", "1 when the kernel segments what is sent"),
    _engine(
        "webrtc.keyframe_requests_in", "webrtc_keyframe_requests_received_total", "Keyframes that viewers asked for"
    ),
    _engine(
        "webrtc.keyframe_requests_out",
        "webrtc_keyframe_requests_sent_total",
        "Keyframes that publishers were asked for",
    ),
    _engine("webrtc.nacks_in", "webrtc_nacks_received_total", "Packets that viewers reported as lost"),
    _engine("webrtc.packets_retransmitted", "webrtc_retransmitted_packets_total", "Packets sent again"),
    _engine("process.cpu_ms", "process_cpu_seconds_total", "Processor time that the engine used", 0.001),
    _engine("process.rss_bytes", "process_resident_memory_bytes", "Memory that the engine holds"),
    _engine("process.threads", "process_threads", "Threads of the engine"),
    _engine("process.fds", "process_open_fds", "File descriptors that the engine holds open"),
    _engine("process.uptime_s", "process_uptime_seconds", "Time since the engine's start"),
    _engine("streams.known", "streams", "Streams that the engine has seen since its start"),
)

_LINK = ("stream", "link", "side")
_PROCESSOR = ("id", "stream")

_OURS = (
    Metric("tallylight_build_info", "gauge", "1, with the version as label", ("version",)),
    Metric("tallylight_engine_up", "gauge", "1 while the engine answers, else 0"),
    Metric("tallylight_process_up", "gauge", "1 while the process runs, else 0", ("process",)),
    Metric("tallylight_process_cpu_seconds_total", "counter", "Processor time used", ("process",)),
    Metric("tallylight_process_resident_memory_bytes", "gauge", "Memory held", ("process",)),
    Metric("tallylight_process_uptime_seconds", "gauge", "Time since the process began", ("process",)),
    Metric("tallylight_host_cpus", "gauge", "Processors of this machine"),
    Metric("tallylight_host_memory_bytes", "gauge", "Memory of this machine"),
    Metric("tallylight_host_memory_available_bytes", "gauge", "Memory that programs can still have"),
    Metric("tallylight_disk_bytes", "gauge", "Size of the data directory's file system"),
    Metric("tallylight_disk_free_bytes", "gauge", "Free space on the data directory's file system"),
    Metric("tallylight_stream_on_air", "gauge", "1 while media arrives, else 0", ("stream",)),
    Metric("tallylight_stream_viewers", "gauge", "Viewers now", ("stream", "protocol")),
    Metric("tallylight_stream_link_bytes_total", "counter", "Media by link and side", _LINK),
    Metric(
        "tallylight_stream_link_access_units_total",
        "counter",
        "Encoded pictures and audio frames by link and side",
        _LINK,
    ),
    Metric("tallylight_stream_link_keyframes_total", "counter", "Keyframes by link and side", _LINK),
    Metric("tallylight_stream_link_errors_total", "counter", "Errors by link and side", _LINK),
    Metric("tallylight_stream_link_dropped_units_total", "counter", "Access units dropped by link and side", _LINK),
    Metric("tallylight_stream_poster_age_seconds", "gauge", "Age of the newest poster", ("stream",)),
    Metric("tallylight_publish_refused_total", "counter", "Publishers that were refused, by code", ("code",)),
    Metric("tallylight_broadcasts_open", "gauge", "Broadcasts that have not ended, by status", ("status",)),
    Metric("tallylight_broadcasts_started_total", "counter", "Broadcasts since the database was made"),
    Metric("tallylight_expose_readers", "gauge", "Readers of videoExpose", ("stream",)),
    Metric("tallylight_expose_sent_bytes_total", "counter", "Media sent to readers of videoExpose", ("stream",)),
    Metric("tallylight_expose_refused_total", "counter", "Requests for videoExpose without a valid token", ("stream",)),
    Metric("tallylight_processor_up", "gauge", "1 while the processor reports that it runs, else 0", _PROCESSOR),
    Metric("tallylight_processor_frames_total", "counter", "Frames by side", (*_PROCESSOR, "side")),
    Metric("tallylight_processor_errors_total", "counter", "Errors by side", (*_PROCESSOR, "side")),
    Metric("tallylight_processor_dropped_frames_total", "counter", "Frames that waited too long", _PROCESSOR),
    Metric("tallylight_processor_queue_frames", "gauge", "Frames that wait", _PROCESSOR),
    Metric("tallylight_processor_queue_age_seconds", "gauge", "How long the oldest frame has waited", _PROCESSOR),
    Metric("tallylight_webhook_deliveries_total", "counter", "Deliveries that ended, by result", ("result",)),
    Metric("tallylight_webhook_attempts_failed_total", "counter", "Attempts to deliver that failed"),
    Metric("tallylight_webhook_deliveries_in_flight", "gauge", "Deliveries that are being sent"),
    Metric(
        "tallylight_http_requests_total",
        "counter",
        "Requests to the control plane",
        ("listener", "method", "route", "status"),
    ),
    Metric(
        "tallylight_http_request_start_seconds",
        "histogram",
        "Time until the control plane's answer began",
        ("listener", "route"),
    ),
    Metric("tallylight_event_listeners", "gauge", "Listeners of server-sent events, by kind", ("kind",)),
    Metric("tallylight_event_loop_delay_seconds", "histogram", "How late the control plane's timers are"),
    Metric("tallylight_database_ping_seconds", "gauge", "How long the database took for the smallest question"),
)

METRICS = {metric.name: metric for metric in (*_OURS, *(statistic.metric for statistic in ENGINE))}

_DOCUMENT = """\
# Metrics

`GET /metrics` on the internal listener (`127.0.0.1:8081`), in Prometheus' text format, with the token from
`internal-token` in the data directory as bearer. While the engine does not answer, what it measures is missing and
`tallylight_engine_up` is 0. Counters of the engine and of processes begin at zero with each of their starts.

```yaml
scrape_configs:
  - job_name: tallylight
    authorization:
      credentials_file: /var/lib/tallylight/internal-token
    static_configs:
      - targets: ["127.0.0.1:8081"]
```

This list is made from `src/tallylight/telemetry/metric_names.py`, by `python -m tallylight.telemetry.metric_names`.
"""


def document() -> str:
    """The text of docs/metrics.md."""
    ours = _table("Server, streams and control plane", _OURS)
    engine = _table("Engine", [statistic.metric for statistic in ENGINE])
    return "\n".join([_DOCUMENT, *ours, "", *engine]) + "\n"


def _table(title: str, metrics: Iterable[Metric]) -> list[str]:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in metrics
    ]
    return [f"## {title}", "| name | kind | labels | |", "|---|---|---|---|", *rows]


if __name__ == "__main__":
    print(document(), end="")
