"""What the client sends to the engine and makes of its answers."""

import pytest

from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import PlaybackPolicy, StreamPolicy
from tallylight.paths import DataDirectory
from unit.fake_engine import FakeEngine

PLAYBACK_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
POLICY = PlaybackPolicy(streams={"main": StreamPolicy(visibility="private", playback_key=PLAYBACK_KEY)})


async def test_a_policy_reaches_the_engine_whole(data: DataDirectory, engine: FakeEngine) -> None:
    async with EngineClient(data.engine_socket) as client:
        await client.set_policy(POLICY)
        assert engine.policy == {"streams": {"main": {"visibility": "private", "playback_key": PLAYBACK_KEY}}}
        await client.set_policy(PlaybackPolicy(streams={}))
        assert engine.policy == {"streams": {}}


async def test_a_policy_that_is_in_force_and_not_on_disk_is_no_error(data: DataDirectory, engine: FakeEngine) -> None:
    engine.policy_not_kept = True
    async with EngineClient(data.engine_socket) as client:
        await client.set_policy(POLICY)
    assert engine.policy == {"streams": {"main": {"visibility": "private", "playback_key": PLAYBACK_KEY}}}


async def test_a_policy_that_did_not_arrive_is_an_error(data: DataDirectory, engine: FakeEngine) -> None:
    engine.refuse = True
    async with EngineClient(data.engine_socket) as client:
        with pytest.raises(EngineAwayError):
            await client.set_policy(POLICY)


def test_a_policy_does_not_print_its_keys() -> None:
    assert PLAYBACK_KEY not in repr(POLICY)
