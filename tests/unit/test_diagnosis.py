"""Verdicts on facts: which link is broken, what waits for it, and what is no fault at all."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallylight.diagnosis.chain import Judged, founding_chain
from tallylight.diagnosis.expose import MAX_STREAMS, REFUSAL_IS_NEWS_S, ExposeLog
from tallylight.diagnosis.facts import Counters, ExposeFacts, HostFacts, LedgerWindow, Side, StreamFacts
from tallylight.diagnosis.links import Report, diagnose
from tallylight.diagnosis.processors import ProcessorError, ProcessorView
from tallylight.engine.models import StreamStatus, off_air

PLAYABLE = {"playable": True}
MOVING: dict[Side, Counters] = {
    (link, side): Counters(bytes=500_000, access_units=100, keyframes=1)
    for link in ("ingest", "package", "deliver")
    for side in ("in", "out")
}
VIDEO = {"id": 1, "kind": "video", "codec": "H264", "width": 640, "height": 360, "keyframe_interval_s": 2.0}


def status(**fields: Any) -> StreamStatus:
    """On air by default, watched by two viewers."""
    values = {
        **off_air("main").model_dump(),
        "status": "ON_AIR",
        "session": "s1",
        "uptime_s": 60.0,
        "media_age_ms": 20.0,
        "tracks": [VIDEO],
        "viewers": {"webrtc": 2},
        "playback": {"webrtc": PLAYABLE, "hls": PLAYABLE},
    }
    return StreamStatus.model_validate(values | fields)


def window(**changes: Any) -> LedgerWindow:
    return replace(LedgerWindow(2.0, MOVING, exposed_bytes=500_000, keyframe_age_s=1.0), **changes)


def without(link: str, side: str, count: Counters | None = None) -> LedgerWindow:
    """A window in which one side stood still."""
    return window(moved={key: (count or Counters()) if key == (link, side) else MOVING[key] for key in MOVING})


def processor(**fields: Any) -> ProcessorView:
    side = {"frames": 100, "bytes": 1000, "errors": 0, "age_ms": 10.0}
    values = {
        "id": "p1", "name": "draw", "input": "main", "output": "main-processed", "pid": 7, "state": "running",
        "error": None, "started_at": datetime.now(UTC), "in": side, "out": side,
        "queue": {"length": 0, "age_ms": 5.0, "dropped": 3}, "fps_in": 30.0, "fps_out": 29.9,
        "seen_at": datetime.now(UTC), "gone": False, "frames_in_moved": 60, "frames_out_moved": 60,
        "dropped_moved": 0,
    }  # fmt: skip
    return ProcessorView.model_validate(values | fields)


HEALTHY = StreamFacts(
    name="main",
    status=status(),
    window=window(),
    expose=ExposeFacts(readers=1, bytes=1_000_000),
    processors=(processor(),),
    database_answers=True,
    host=HostFacts(10**11, 10**10),
    broadcast_status="ON_AIR",
)
FAILED = ProcessorError(code="frame_function_failed", sentence="ZeroDivisionError: division by zero.")

# What is wrong, the cause's id, the state of its lamp, words of its sentence.
FAULTS: dict[str, tuple[StreamFacts, str, str]] = {
    "engine away": (replace(HEALTHY, status=None, window=None), "engine.away", "does not answer"),
    "publisher silent": (replace(HEALTHY, status=status(media_age_ms=4200.0)), "ingest.no_media", "4.2 s"),
    "never sent": (replace(HEALTHY, status=status(media_age_ms=None, uptime_s=8.0)), "ingest.no_media", "8.0 s"),
    "ingest stuck": (replace(HEALTHY, window=without("ingest", "out")), "ingest.not_moving", "2.0 Mb/s"),
    "packager stuck": (replace(HEALTHY, window=without("package", "out")), "package.not_moving", "2.0 Mb/s"),
    "token wrong": (
        replace(HEALTHY, expose=ExposeFacts(refused=14, refused_code="token_wrong", refused_age_s=2.0)),
        "expose.token_rejected",
        "14 times",
    ),
    "tap stuck": (replace(HEALTHY, window=window(exposed_bytes=0)), "expose.not_moving", "1 reader"),
    "processor failed": (
        replace(HEALTHY, processors=(processor(state="failed", error=FAILED),)),
        "process.failed",
        "division by zero",
    ),
    "processor gone": (replace(HEALTHY, processors=(processor(gone=True),)), "process.gone", "process 7"),
    "processor stuck": (replace(HEALTHY, processors=(processor(frames_out_moved=0),)), "process.not_moving", "60"),
    "nothing sent": (replace(HEALTHY, window=without("deliver", "out")), "deliver.nothing_sent", "2 viewers"),
    "its processor failed": (
        replace(HEALTHY, status=off_air("main"), makers=(processor(input="raw", state="failed", error=FAILED),)),
        "capture.processor_away",
        "from 'raw' failed: ZeroDivisionError",
    ),
    "database away": (replace(HEALTHY, database_answers=False), "control.database_away", "database"),
}
WARNINGS: dict[str, tuple[StreamFacts, str, str]] = {
    "rare keyframes": (
        replace(HEALTHY, status=status(tracks=[VIDEO | {"keyframe_interval_s": 8.3}])),
        "ingest.no_keyframe",
        "8.3 s",
    ),
    "no more keyframes": (replace(HEALTHY, window=window(keyframe_age_s=12.0)), "ingest.no_keyframe", "12.0 s"),
    "processor slow": (
        replace(HEALTHY, processors=(processor(queue={"length": 9, "age_ms": 900.0, "dropped": 31}),)),
        "process.not_keeping_up",
        "0.9 s",
    ),
    "processor drops": (replace(HEALTHY, processors=(processor(dropped_moved=20),)), "process.not_keeping_up", "20 of"),
    "another's token wrong": (
        replace(HEALTHY, expose=ExposeFacts(1, 1_000_000, refused=14, refused_code="token_wrong", refused_age_s=2.0)),
        "expose.token_rejected",
        "another processor's token",
    ),
    "disk full": (replace(HEALTHY, host=HostFacts(10**6, 10**10)), "host.disk_low", "1 MB"),
}


def states(report: Report) -> dict[str, str]:
    return {lamp.link: lamp.state for lamp in report.links}


def test_a_healthy_chain_is_ok_from_end_to_end() -> None:
    report = diagnose(HEALTHY)
    assert set(states(report).values()) == {"ok"}
    assert report.cause is None
    order = ["host", "control", "engine", "capture", "ingest", "package", "expose", "process", "deliver"]
    assert [lamp.link for lamp in report.links] == order


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_has_one_cause_with_a_measured_sentence_and_a_fix(fault: str) -> None:
    facts, code, words = FAULTS[fault]
    report = diagnose(facts)
    assert report.cause is not None
    assert (report.cause.code, report.cause.link) == (code, code.partition(".")[0])
    assert words in report.cause.sentence
    assert report.cause.fix.endswith(".")
    assert [link for link, state in states(report).items() if state == "fail"] == [report.cause.link]


@pytest.mark.parametrize("fault", WARNINGS)
def test_what_is_only_poor_warns(fault: str) -> None:
    facts, code, words = WARNINGS[fault]
    report = diagnose(facts)
    assert report.cause is not None
    assert report.cause.code == code
    assert words in report.cause.sentence
    assert states(report)[report.cause.link] == "warn"
    assert "fail" not in states(report).values()


def test_what_lies_behind_a_broken_link_waits_for_it() -> None:
    stalled = diagnose(FAULTS["publisher silent"][0])
    waiting = {lamp.link: lamp.sentence for lamp in stalled.links if lamp.state == "waiting"}
    assert waiting == dict.fromkeys(("package", "expose", "process", "deliver"), "Waits for the link 'ingest'.")
    # Whoever watches the source needs no processor.
    refused = states(diagnose(FAULTS["token wrong"][0]))
    assert (refused["expose"], refused["process"], refused["deliver"]) == ("fail", "waiting", "ok")


@pytest.mark.parametrize("still", [window(exposed_bytes=0), None])
def test_a_refused_token_is_the_cause_while_nothing_moves(still: LedgerWindow | None) -> None:
    facts = replace(WARNINGS["another's token wrong"][0], window=still)
    assert states(diagnose(facts))["expose"] == "fail"


def test_expected_states_are_no_faults() -> None:
    alone = replace(HEALTHY, status=status(viewers={"webrtc": 0}), expose=ExposeFacts(), processors=())
    assert diagnose(alone).cause is None
    assert {link for link, state in states(diagnose(alone)).items() if state == "waiting"} == {
        "expose",
        "process",
        "deliver",
    }
    off = replace(HEALTHY, status=off_air("main"), processors=(processor(state="waiting"),), broadcast_status=None)
    assert diagnose(off).cause is None
    assert set(states(diagnose(off)).values()) == {"ok", "waiting"}


def test_a_processor_that_is_gone_is_a_fault_also_off_air() -> None:
    off = replace(HEALTHY, status=off_air("main"), processors=(processor(gone=True),))
    cause = diagnose(off).cause
    assert cause is not None
    assert cause.code == "process.gone"


def test_vp8_is_named_by_the_engine_and_not_a_broken_packager() -> None:
    hls = {"playable": False, "code": "codec_not_hls", "reason": "It is VP8.", "fix": "Choose H.264."}
    facts = replace(
        HEALTHY,
        status=status(playback={"webrtc": PLAYABLE, "hls": hls}),
        window=without("package", "out"),
    )
    cause = diagnose(facts).cause
    assert cause is not None
    assert (cause.code, cause.sentence, cause.fix) == ("package.codec_not_hls", "It is VP8.", "Choose H.264.")


def test_nothing_is_ok_that_was_measured_once() -> None:
    report = diagnose(replace(HEALTHY, window=None, processors=(processor(frames_in_moved=None),)))
    unknown = {link for link, state in states(report).items() if state == "unknown"}
    assert unknown == {"ingest", "package", "expose", "process", "deliver"}
    assert report.cause is None


@given(st.sampled_from(sorted(FAULTS)), st.sets(st.sampled_from(("window", "host", "database_answers"))))
def test_taking_a_fact_away_never_makes_a_broken_link_pass(fault: str, missing: set[str]) -> None:
    facts, code, _ = FAULTS[fault]
    lamp = diagnose(replace(facts, **dict.fromkeys(missing))).lamp(code.partition(".")[0])  # type: ignore[arg-type]
    assert lamp.state != "ok"


@given(st.sampled_from(sorted(FAULTS)), st.sampled_from(sorted(FAULTS)))
def test_of_two_faults_the_earlier_one_is_the_cause(first: str, second: str) -> None:
    one, other = FAULTS[first][0], FAULTS[second][0]
    changed = {name: getattr(other, name) for name in vars(HEALTHY) if getattr(other, name) != getattr(HEALTHY, name)}
    order = list(states(diagnose(HEALTHY)))
    cause = diagnose(replace(one, **changed)).cause
    assert cause is not None
    links = [FAULTS[name][1].partition(".")[0] for name in (first, second)]
    if not {name for name in vars(HEALTHY) if getattr(one, name) != getattr(HEALTHY, name)} & set(changed):
        assert cause.link == min(links, key=order.index)


def chain(source: StreamFacts, output: StreamFacts | None = None) -> list[tuple[str, str]]:
    made = None if output is None else Judged(output, diagnose(output))
    return [(step.name, step.state) for step in founding_chain(Judged(source, diagnose(source)), made)]


def test_the_founding_chain_names_the_step_that_failed() -> None:
    output = replace(HEALTHY, name="main-processed", expose=ExposeFacts(), processors=())
    names = ["start", "producers", "request", "route", "process", "front_end", "plays"]
    assert chain(HEALTHY, output) == [(name, "ok") for name in names]
    refused = FAULTS["token wrong"][0]
    assert [state for _, state in chain(replace(refused, processors=()))] == ["ok"] * 3 + ["fail"] + ["waiting"] * 3
    silent = FAULTS["publisher silent"][0]
    assert [state for _, state in chain(silent, output)] == ["ok", "fail"] + ["waiting"] * 5
    unwatched = replace(output, status=status(viewers={"webrtc": 0}))
    assert chain(HEALTHY, unwatched)[-1] == ("plays", "waiting")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_refusal_is_news_until_somebody_is_let_in_or_it_is_old() -> None:
    clock = Clock()
    log = ExposeLog(clock)
    assert log.refuse("main", "token_wrong")
    assert not log.refuse("main", "token_wrong")
    clock.now_s += 3
    assert log.facts("main") == ExposeFacts(refused=2, refused_code="token_wrong", refused_age_s=3.0)
    assert log.facts("other").refused_age_s is None
    log.accept("main")
    assert log.facts("main").refused_age_s is None
    log.refuse("main", "token_missing")
    clock.now_s += REFUSAL_IS_NEWS_S + 1
    assert log.facts("main").refused_age_s is None
    assert log.facts("main").refused == 3


def test_names_of_strangers_do_not_fill_the_memory() -> None:
    log = ExposeLog(Clock())
    with log.reader("main") as sent:
        sent(10)
        for number in range(3 * MAX_STREAMS):
            log.refuse(f"guess-{number}", "token_wrong")
        log.refuse("no such ../name", "token_wrong")
        assert log.facts("main") == ExposeFacts(readers=1, bytes=10)
        assert log.facts(None).refused == 1
        assert len(log._entries) <= MAX_STREAMS
    assert log.facts("main").readers == 0
