"""The examples of the border to the engine (docs/engine-api.md), read by the control plane's models.

The engine's own tests read the same files, so neither side can leave the agreement alone.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tallylight.engine.models import (
    AdmissionAnswer,
    AdmissionQuestion,
    EngineEvent,
    EngineHealth,
    PlaybackPolicy,
    StreamStatus,
    off_air,
)

HERE = Path(__file__).parent


def example(name: str) -> Any:
    return json.loads((HERE / name).read_text())


@pytest.mark.parametrize("path", sorted(HERE.glob("stream-status-*.json")), ids=lambda path: path.stem)
def test_stream_status_loses_nothing(path: Path) -> None:
    status = json.loads(path.read_text())
    read = StreamStatus.model_validate(status).model_dump(mode="json")
    tracks = [
        {name: track[name] for name in given} for given, track in zip(status["tracks"], read["tracks"], strict=True)
    ]
    assert read | {"tracks": tracks} == status


def test_a_stream_the_engine_never_saw_has_the_shape_of_one_off_air() -> None:
    status = off_air("main").model_dump(mode="json")
    engines = example("stream-status-off-air.json")
    assert set(status) == set(engines)
    assert status["playback"].keys() == engines["playback"].keys()
    assert status["playback"]["webrtc"]["code"] == engines["playback"]["webrtc"]["code"]


@pytest.mark.parametrize("question", example("admission-questions.json"))
def test_admission_questions(question: Any) -> None:
    assert AdmissionQuestion.model_validate(question).model_dump() == question


@pytest.mark.parametrize("answer", example("admission-answers.json"))
def test_admission_answers(answer: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AdmissionAnswer)
    assert adapter.validate_python(answer).model_dump() == answer


@pytest.mark.parametrize("line", (HERE / "events.ndjson").read_text().splitlines())
def test_events(line: str) -> None:
    event = EngineEvent.model_validate_json(line)
    assert event.model_dump(exclude_unset=True) == json.loads(line)


def test_health() -> None:
    health = example("health.json")
    assert EngineHealth.model_validate(health).boot_id == health["boot_id"]


def test_playback_policy() -> None:
    policy = example("playback-policy.json")
    assert PlaybackPolicy.model_validate(policy).model_dump(mode="json", exclude_none=True) == policy
