"""The verdict on one stream: a lamp for each link of the chain, and one cause. Pure: facts in, report out.

A link whose counters move passes. The first one that takes and gives nothing is broken, and what lies behind it waits:
a chain has one first link where flow stops. What is not known is `unknown`, never `ok`; what is expected (nobody
publishes, nobody watches, no processor) is `waiting`, not a fault.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tallylight.diagnosis.facts import StreamFacts
from tallylight.diagnosis.processors import ProcessorView
from tallylight.engine.models import Playability, StreamStatus, Track

LinkName = Literal["host", "control", "engine", "capture", "ingest", "package", "expose", "process", "deliver"]
State = Literal["ok", "warn", "fail", "unknown", "waiting"]

# As the engine's NO_MEDIA_AFTER: longer than a hiccup of a mobile uplink.
NO_MEDIA_AFTER_MS = 1500.0
# From connecting to the first media: encoders start slowly.
FIRST_MEDIA_WITHIN_S = 5.0
# A viewer waits for a keyframe, a segment is cut at one: beyond twice the segment of 2 s both suffer.
KEYFRAME_INTERVAL_LIMIT_S = 4.0
# The first segment needs the first group of pictures.
FIRST_CHUNK_WITHIN_S = 10.0
# Pictures that wait longer than this for a processor arrive visibly late, and the queue is about to drop.
QUEUE_AGE_LIMIT_MS = 500.0
# One picture in twenty left out is seen as a stutter.
DROPPED_SHARE_LIMIT = 0.05
# Below this a database or a log soon cannot be written.
DISK_LIMIT_BYTES = 512 * 1024**2
MEMORY_LIMIT_BYTES = 128 * 1024**2

NOT_SEEN_TWICE = "Measured once so far; what moves is known in two seconds."


class _Verdict(BaseModel):
    model_config = ConfigDict(frozen=True)


class Lamp(_Verdict):
    """One link's state; `sentence` says what was measured, or what it waits for."""

    link: LinkName
    state: State
    sentence: str | None


class Cause(_Verdict):
    """What to do something about first."""

    code: str
    link: LinkName
    sentence: str
    fix: str


class Report(_Verdict):
    """The verdict on one stream now."""

    links: tuple[Lamp, ...]
    cause: Cause | None

    def lamp(self, link: LinkName) -> Lamp:
        return next(lamp for lamp in self.links if lamp.link == link)


@dataclass(frozen=True)
class _Finding:
    state: State
    sentence: str | None = None
    code: str | None = None
    fix: str = ""


def diagnose(facts: StreamFacts) -> Report:
    """Judges every link in causal order; a link behind a broken one waits for it."""
    lamps: dict[LinkName, Lamp] = {}
    broken: dict[LinkName, LinkName] = {}
    causes: list[tuple[State, Cause]] = []
    for link, (needs, judge) in _LINKS.items():
        first_broken = next((broken[need] for need in needs if need in broken), None)
        if first_broken is not None:
            broken[link] = first_broken
            lamps[link] = Lamp(link=link, state="waiting", sentence=f"Waits for the link {first_broken!r}.")
            continue
        finding = judge(facts)
        lamps[link] = Lamp(link=link, state=finding.state, sentence=finding.sentence)
        if finding.state == "fail":
            broken[link] = link
        if finding.code is not None and finding.sentence is not None:
            cause = Cause(code=finding.code, link=link, sentence=finding.sentence, fix=finding.fix)
            causes.append((finding.state, cause))
    failed = next((cause for state, cause in causes if state == "fail"), None)
    return Report(links=tuple(lamps.values()), cause=failed or next((cause for _, cause in causes), None))


def _host(facts: StreamFacts) -> _Finding:
    host = facts.host
    if host is None:
        return _Finding("unknown", "Disk and memory are not measured.")
    if host.disk_free_bytes < DISK_LIMIT_BYTES:
        left = f"Only {_megabytes(host.disk_free_bytes)} are free on the disk of the data directory."
        return _Finding("warn", left, "host.disk_low", "Make room, or move the data directory.")
    if host.memory_available_bytes < MEMORY_LIMIT_BYTES:
        left = f"Only {_megabytes(host.memory_available_bytes)} of memory are available."
        return _Finding("warn", left, "host.memory_low", "End other programs, or give the machine more memory.")
    free, available = _megabytes(host.disk_free_bytes), _megabytes(host.memory_available_bytes)
    return _Finding("ok", f"{free} of disk and {available} of memory are free.")


def _control(facts: StreamFacts) -> _Finding:
    if facts.database_answers is None:
        return _Finding("unknown", "The database was not asked.")
    if not facts.database_answers:
        return _Finding(
            "fail",
            "The database does not answer; streams on air go on, but nobody new can publish.",
            "control.database_away",
            "Check the database's disk or server; the server's log has the error.",
        )
    return _Finding("ok", "The control plane answers, and so does its database.")


def _engine(facts: StreamFacts) -> _Finding:
    if facts.status is None:
        return _Finding(
            "fail",
            "The media engine does not answer, so nothing can be published or watched.",
            "engine.away",
            "It is started again within seconds; if it is not, the server's log says why.",
        )
    return _Finding("ok", "The media engine answers.")


def _capture(facts: StreamFacts) -> _Finding:
    maker = next((maker for maker in facts.makers if maker.gone or maker.state == "failed"), None)
    if maker is None or (facts.status is not None and facts.status.session is not None):
        return _while_publishing(_captured)(facts)
    failed = "failed." if maker.error is None else f"failed: {maker.error.sentence}"
    return _Finding(
        "fail",
        f"The processor {maker.name!r} that makes this stream from {maker.input!r} "
        f"{'stopped reporting.' if maker.gone else failed}",
        "capture.processor_away",
        f"Look at the report on {maker.input!r}, and at the processor's own output.",
    )


def _captured(_facts: StreamFacts, status: StreamStatus) -> _Finding:
    if _silent_ms(status) > NO_MEDIA_AFTER_MS:
        return _Finding("unknown", "The publisher is connected, but its camera cannot be seen from here.")
    return _Finding("ok", f"The publisher sends {_described(status)}.")


def _ingest(facts: StreamFacts, status: StreamStatus) -> _Finding:
    window = facts.window
    silent_ms = _silent_ms(status)
    if status.media_age_ms is None and silent_ms < FIRST_MEDIA_WITHIN_S * 1000:
        return _Finding("unknown", "The publisher has just connected.")
    if silent_ms > NO_MEDIA_AFTER_MS:
        return _Finding(
            "fail",
            f"The publisher is connected, but has sent nothing for {silent_ms / 1000:.1f} s.",
            "ingest.no_media",
            "Look at the camera or encoder and its network; it goes on by itself when media arrives.",
        )
    if window is None:
        return _Finding("unknown", NOT_SEEN_TWICE)
    arrived = window.at("ingest", "in")
    if arrived.bytes > 0 and window.at("ingest", "out").bytes == 0:
        return _Finding(
            "fail",
            f"{_rate(arrived.bytes, window.seconds)} arrive, but not one picture of it is passed on.",
            "ingest.not_moving",
            "Choose another codec in the encoder, or start it again; the server's log names what it sends.",
        )
    gap_s = _keyframe_gap_s(facts, status)
    if gap_s is not None and gap_s > KEYFRAME_INTERVAL_LIMIT_S:
        return _Finding(
            "warn",
            f"Keyframes are {gap_s:.1f} s apart: viewers wait that long for a picture, and HLS falls behind.",
            "ingest.no_keyframe",
            "Set the keyframe interval of the encoder to 2 s.",
        )
    return _Finding("ok", f"{_rate(arrived.bytes, window.seconds)} arrive.")


def _package(facts: StreamFacts, status: StreamStatus) -> _Finding:
    window = facts.window
    hls = status.playback.hls
    if hls.code == "codec_not_hls":
        return _not_playable(hls, "package.codec_not_hls")
    if window is None:
        return _Finding("unknown", NOT_SEEN_TWICE)
    taken, made = window.at("package", "in"), window.at("package", "out")
    if made.bytes > 0:
        return _Finding("ok", f"{_rate(made.bytes, window.seconds)} are packaged for HLS.")
    if taken.bytes == 0:
        return _Finding("unknown", "No media has reached the packager in the last seconds.")
    if (status.uptime_s or 0.0) < FIRST_CHUNK_WITHIN_S:
        return _Finding("unknown", "The first segment needs a whole group of pictures.")
    return _Finding(
        "fail",
        f"{_rate(taken.bytes, window.seconds)} reach the packager, but it has made nothing for {window.seconds:.0f} s.",
        "package.not_moving",
        "Set the keyframe interval of the encoder to 2 s; without a keyframe no segment can begin.",
    )


def _expose(facts: StreamFacts) -> _Finding:
    expose = facts.expose
    if expose.refused_age_s is not None:
        what = "brought no token" if expose.refused_code == "token_missing" else "brought a wrong token"
        moves = expose.readers > 0 and facts.window is not None and facts.window.exposed_bytes > 0
        # Whoever reads has the right token: what is refused is another program, and nothing waits for that one.
        return _Finding(
            "warn" if moves else "fail",
            f"The internal route refused {'another' if moves else 'the'} processor's token: it {what} "
            f"({_times(expose.refused)}, last {expose.refused_age_s:.0f} s ago).",
            "expose.token_rejected",
            "Give the processor the token in internal-token of the data directory; it tries again by itself.",
        )
    return _while_publishing(_exposed)(facts)


def _exposed(facts: StreamFacts, _status: StreamStatus) -> _Finding:
    expose, window = facts.expose, facts.window
    if expose.readers == 0:
        return _Finding("waiting", "Nobody asks for this stream's video.")
    if window is None:
        return _Finding("unknown", NOT_SEEN_TWICE)
    if window.exposed_bytes == 0:
        return _Finding(
            "fail",
            f"{_readers(expose.readers)} asked for the video, but nothing was handed out for {window.seconds:.0f} s.",
            "expose.not_moving",
            "Start the processor again; if that does not help, the server's log says what the engine refuses.",
        )
    return _Finding("ok", f"{_readers(expose.readers)} got {_rate(window.exposed_bytes, window.seconds)}.")


def _process(facts: StreamFacts) -> _Finding:
    if not facts.processors:
        return _Finding("waiting", "No processor runs on this stream.")
    return _worst(_processor(processor, facts) for processor in facts.processors)


def _processor(processor: ProcessorView, facts: StreamFacts) -> _Finding:
    named = f"The processor {processor.name!r}"
    if processor.gone:
        return _Finding(
            "fail",
            f"{named} (process {processor.pid}) stopped reporting without saying goodbye.",
            "process.gone",
            "Start it again; its own output says why it ended.",
        )
    if processor.state == "failed" and processor.error is not None:
        return _Finding(
            "fail", f"{named} failed: {processor.error.sentence}", "process.failed", "Its own output has the details."
        )
    return _while_publishing(lambda _facts, _status: _processing(processor, named))(facts)


def _processing(processor: ProcessorView, named: str) -> _Finding:
    if processor.state != "running":
        why = "." if processor.error is None else f": {processor.error.sentence}"
        return _Finding("unknown", f"{named} is {processor.state}{why}")
    took, gave = processor.frames_in_moved, processor.frames_out_moved
    if took is None or gave is None:
        return _Finding("unknown", f"{named} has reported once so far.")
    if took > 0 and gave == 0:
        return _Finding(
            "fail",
            f"{named} took {took} pictures since its last report and gave back none.",
            "process.not_moving",
            "Look at the function that it runs: it may hang or fail on every picture.",
        )
    dropped = processor.dropped_moved or 0
    if processor.queue.age_ms > QUEUE_AGE_LIMIT_MS or dropped > DROPPED_SHARE_LIMIT * took:
        return _Finding(
            "warn",
            f"{named} does not keep up: pictures wait {processor.queue.age_ms / 1000:.1f} s for it, "
            f"and it left out {dropped} of the last {took}.",
            "process.not_keeping_up",
            "Make its function quicker, send it a smaller picture, or give it a core of its own.",
        )
    if took == 0:
        return _Finding("unknown", f"{named} runs, but got no picture between its last two reports.")
    return _Finding("ok", f"{named} gives {processor.fps_out:.1f} pictures a second.")


def _deliver(facts: StreamFacts, status: StreamStatus) -> _Finding:
    window = facts.window
    by_webrtc, by_hls = status.viewers.get("webrtc", 0), status.viewers.get("hls", 0)
    if by_webrtc + by_hls == 0:
        return _no_viewers(status)
    if by_webrtc == 0:
        return _Finding("ok", f"{_viewers(by_hls)} by HLS asked for media within the last seconds.")
    if window is None:
        return _Finding("unknown", NOT_SEEN_TWICE)
    taken, sent = window.at("deliver", "in"), window.at("deliver", "out")
    if sent.bytes > 0:
        by_hls_too = f", {by_hls} by HLS" if by_hls else ""
        total = _rate(sent.bytes, window.seconds)
        return _Finding("ok", f"{_viewers(by_webrtc)} by WebRTC{by_hls_too}; {total} are sent by WebRTC.")
    if taken.bytes == 0:
        return _Finding("unknown", "No media has reached the sender in the last seconds.")
    return _Finding(
        "fail",
        f"{_viewers(by_webrtc)} by WebRTC got nothing for {window.seconds:.0f} s, although media is there to send.",
        "deliver.nothing_sent",
        "Have viewers reload; if that does not help, the path for UDP from this server to them is broken.",
    )


def _no_viewers(status: StreamStatus) -> _Finding:
    webrtc = status.playback.webrtc
    if webrtc.playable or webrtc.code == "starting":
        return _Finding("waiting", "Nobody watches now.")
    return _not_playable(webrtc, f"deliver.{webrtc.code}")


def _not_playable(way: Playability, code: str) -> _Finding:
    reason = way.reason or "This stream cannot be played this way."
    return _Finding("warn", reason, code, way.fix or "Publish with H.264 video without B-frames.")


def _while_publishing(judge: Callable[[StreamFacts, StreamStatus], _Finding]) -> Callable[[StreamFacts], _Finding]:
    """A judge of links that have nothing to do while nobody publishes."""

    def judged(facts: StreamFacts) -> _Finding:
        status = facts.status
        if status is None or status.session is None:
            return _Finding("waiting", "Nobody publishes on this stream now.")
        return judge(facts, status)

    return judged


def _worst(findings: Iterable[_Finding]) -> _Finding:
    order: tuple[State, ...] = ("fail", "warn", "unknown", "waiting", "ok")
    return min(findings, key=lambda finding: order.index(finding.state))


def _silent_ms(status: StreamStatus) -> float:
    if status.media_age_ms is not None:
        return status.media_age_ms
    return (status.uptime_s or 0.0) * 1000


def _keyframe_gap_s(facts: StreamFacts, status: StreamStatus) -> float | None:
    video = next((track for track in status.tracks if track.kind == "video"), None)
    if video is None:
        return None
    age_s = facts.window.keyframe_age_s if facts.window is not None else None
    known = [video.keyframe_interval_s, None if age_s is None else min(age_s, status.uptime_s or 0.0)]
    return max((gap for gap in known if gap is not None), default=None)


def _described(status: StreamStatus) -> str:
    return ", ".join(_track(track) for track in status.tracks) or "media"


def _track(track: Track) -> str:
    size = f" {track.width}x{track.height}" if track.width and track.height else ""
    return f"{track.codec}{size}"


def _rate(count: int, seconds: float) -> str:
    bits = count * 8 / seconds
    return f"{bits / 1e6:.1f} Mb/s" if bits >= 1e6 else f"{bits / 1e3:.0f} kb/s"


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _viewers(count: int) -> str:
    return "1 viewer" if count == 1 else f"{count} viewers"


def _readers(count: int) -> str:
    return "1 reader" if count == 1 else f"{count} readers"


# In causal order: what each needs, and who judges it. Delivery by WebRTC needs no packager, and viewers of the source
# need no processor.
_LINKS: dict[LinkName, tuple[tuple[LinkName, ...], Callable[[StreamFacts], _Finding]]] = {
    "host": ((), _host),
    "control": ((), _control),
    "engine": ((), _engine),
    "capture": (("engine",), _capture),
    "ingest": (("engine", "capture"), _while_publishing(_ingest)),
    "package": (("ingest",), _while_publishing(_package)),
    "expose": (("ingest",), _expose),
    "process": (("expose",), _process),
    "deliver": (("ingest",), _while_publishing(_deliver)),
}
