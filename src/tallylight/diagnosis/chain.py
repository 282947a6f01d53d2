"""The founding chain, start of a stream to playing picture, as seven steps over the verdicts on its links. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tallylight.diagnosis.facts import StreamFacts
from tallylight.diagnosis.links import Lamp, LinkName, Report, State

StepName = Literal["start", "producers", "request", "route", "process", "front_end", "plays"]


class Step(BaseModel):
    """One step; `state` as of a lamp."""

    model_config = ConfigDict(frozen=True)

    step: int
    name: StepName
    state: State
    sentence: str | None


class Judged:
    """A stream's facts and the verdict on them."""

    def __init__(self, facts: StreamFacts, report: Report) -> None:
        self.facts = facts
        self.report = report

    def lamp(self, link: LinkName) -> Lamp:
        return self.report.lamp(link)


def founding_chain(source: Judged, output: Judged | None) -> tuple[Step, ...]:
    """The steps from a source to the viewers of what its processor makes; without one, to the source's own viewers.

    Behind the first step that fails, all wait.
    """
    shown = output or source
    verdicts: list[tuple[StepName, tuple[State, str | None]]] = [
        ("start", _start(source)),
        ("producers", _of(source.lamp("ingest"))),
        ("request", _request(source)),
        ("route", _of(source.lamp("expose"))),
        ("process", _process(source, output)),
        ("front_end", _front_end(shown)),
        ("plays", _of(shown.lamp("deliver"))),
    ]
    steps: list[Step] = []
    failed: StepName | None = None
    for number, (name, verdict) in enumerate(verdicts, start=1):
        state, sentence = verdict if failed is None else ("waiting", f"Waits for the step {failed!r}.")
        steps.append(Step(step=number, name=name, state=state, sentence=sentence))
        if state == "fail":
            failed = name
    return tuple(steps)


def _start(source: Judged) -> tuple[State, str | None]:
    engine = source.lamp("engine")
    if engine.state == "fail":
        return _of(engine)
    match source.facts.broadcast_status:
        case "ON_AIR":
            return "ok", f"The broadcast of {source.facts.name!r} is on air."
        case "RECONNECTING":
            return "waiting", f"The broadcast of {source.facts.name!r} waits for its publisher."
        case _:
            return "waiting", f"Nobody has started a broadcast on {source.facts.name!r}."


def _request(source: Judged) -> tuple[State, str | None]:
    expose, process = source.facts.expose, source.lamp("process")
    if expose.refused_age_s is not None:
        return "ok", "A processor asked for the video (and was refused)."
    if any(not processor.gone for processor in source.facts.processors):
        return "ok", "A processor asks for the video."
    if expose.readers > 0:
        return "ok", "A program asks for the video."
    return _of(process)


def _process(source: Judged, output: Judged | None) -> tuple[State, str | None]:
    process = source.lamp("process")
    if process.state != "ok" or output is None:
        return _of(process)
    package = output.lamp("package")
    if package.state == "ok":
        return "ok", f"{process.sentence} {package.sentence}"
    return _of(package)


def _front_end(shown: Judged) -> tuple[State, str | None]:
    ingest, status = shown.lamp("ingest"), shown.facts.status
    if status is None or ingest.state not in ("ok", "warn"):
        return _of(ingest)
    ways = {"WebRTC": status.playback.webrtc, "HLS": status.playback.hls}
    playable = [name for name, way in ways.items() if way.playable]
    if playable:
        return "ok", f"{shown.facts.name!r} can be watched by {' and by '.join(playable)}."
    if all(way.code == "starting" for way in ways.values()):
        return "unknown", f"{shown.facts.name!r} is just starting."
    return "fail", next((way.reason for way in ways.values() if way.reason), None)


def _of(lamp: Lamp) -> tuple[State, str | None]:
    return lamp.state, lamp.sentence
