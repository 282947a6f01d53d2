"""The lifecycle of broadcasts, without a database, an engine or a clock."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tallylight.broadcasts.lifecycle import (
    FRESH,
    LEASE,
    Broadcast,
    Happening,
    Publication,
    Status,
    plan,
    status_at,
)

START = datetime(2026, 11, 25, tzinfo=UTC)
WINDOW_S = 60


def publication(epoch: int = 1, age_s: float | None = 0, viewers: int = 0, boot_id: str = "boot") -> Publication:
    """One with media, or one that ended when there is no age."""
    connected = age_s is not None
    return Publication(
        title="A title",
        boot_id=boot_id,
        epoch=epoch,
        session=f"session-{epoch}" if connected else None,
        stream_type="RTMP_STREAM" if connected else None,
        media_age=None if age_s is None else timedelta(seconds=age_s),
        viewers=viewers,
        last_end=None if connected else "finished",
    )


@dataclass
class World:
    """Rows, and time that passes."""

    window_s: float = WINDOW_S
    now: datetime = START
    rows: dict[str, Broadcast] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def step(self, after_s: float, publications: Mapping[str, Publication] | None) -> list[Happening]:
        self.now += timedelta(seconds=after_s)
        open_rows = [row for row in self.rows.values() if row.status is not Status.ENDED]
        window = timedelta(seconds=self.window_s)
        changes = plan(open_rows, publications, self.now, window, lambda: str(next(self.ids)))
        for change in changes:
            if change.before is None:
                assert change.after.id not in self.rows
            else:
                assert change.before == self.rows[change.after.id]
            self.rows[change.after.id] = change.after
        return [change.happening for change in changes if change.happening is not None]

    def main(self, after_s: float, said: Publication) -> list[Happening]:
        return self.step(after_s, {"main": said})

    @property
    def last(self) -> Broadcast:
        return list(self.rows.values())[-1]


def test_media_starts_a_broadcast_and_renews_its_lease() -> None:
    world = World()
    assert world.main(0, publication(age_s=1)) == [Happening.STARTED]
    assert (world.last.status, world.last.title, world.last.stream_type) == (Status.ON_AIR, "A title", "RTMP_STREAM")
    assert world.last.started_at == START - timedelta(seconds=1)
    assert world.main(2, publication(age_s=0)) == []
    assert world.last.expires_at == world.now + LEASE


def test_a_publisher_without_media_starts_nothing() -> None:
    world = World()
    assert world.main(0, replace(publication(), media_age=None)) == []
    assert world.main(0, publication(age_s=FRESH.total_seconds())) == []
    assert world.rows == {}


def test_it_reconnects_and_then_ends_with_its_last_media() -> None:
    world = World()
    world.main(0, publication())
    assert world.main(2, publication(age_s=None)) == [Happening.RECONNECTING]
    assert world.main(WINDOW_S - 0.001, publication(age_s=None)) == []
    assert world.main(0.001, publication(age_s=None)) == [Happening.ENDED]
    assert (world.last.status, world.last.end_reason, world.last.ended_at) == (Status.ENDED, "finished", START)


def test_a_new_epoch_within_the_window_continues_the_same_broadcast() -> None:
    world = World()
    world.main(0, publication(1))
    world.main(2, publication(1, age_s=None))
    assert world.main(WINDOW_S - 1, publication(2)) == [Happening.CONTINUED]
    assert len(world.rows) == 1
    assert (world.last.status, world.last.epoch, world.last.end_reason) == (Status.ON_AIR, 2, None)


def test_a_new_epoch_after_the_window_is_another_broadcast() -> None:
    world = World()
    world.main(0, publication(1))
    world.main(2, publication(1, age_s=None))
    assert world.main(WINDOW_S, publication(2)) == [Happening.ENDED, Happening.STARTED]
    assert [row.status for row in world.rows.values()] == [Status.ENDED, Status.ON_AIR]


def test_a_take_over_between_two_looks_continues_the_broadcast() -> None:
    world = World()
    world.main(0, publication(1))
    assert world.main(2, publication(2)) == [Happening.CONTINUED]
    assert len(world.rows) == 1


def test_the_end_of_an_old_epoch_ends_nothing() -> None:
    world = World()
    world.main(0, publication(1))
    world.main(2, publication(2))
    assert world.main(2, publication(1, age_s=None)) == []
    assert world.main(2, publication(1)) == []
    assert world.last.status is Status.ON_AIR


def test_a_deleted_stream_is_not_waited_for() -> None:
    world = World()
    world.main(0, publication())
    assert world.main(1, replace(publication(), title=None)) == [Happening.ENDED]
    assert world.main(1, replace(publication(2), title=None)) == []
    assert world.last.end_reason == "removed"


def test_an_engine_that_forgot_the_stream_keeps_it_open_no_longer_than_the_window() -> None:
    world = World()
    world.main(0, publication(3))
    assert world.main(LEASE.total_seconds(), publication(0, age_s=None)) == [Happening.RECONNECTING]
    assert world.main(WINDOW_S, publication(0, age_s=None)) == [Happening.ENDED]


def test_a_window_of_zero_ends_at_once() -> None:
    world = World(window_s=0)
    world.main(0, publication())
    assert world.main(1, publication(age_s=None)) == [Happening.ENDED]


def test_media_that_stalls_is_not_on_air_until_it_comes_again() -> None:
    world = World()
    world.main(0, publication())
    assert world.main(6, publication(age_s=6)) == [Happening.RECONNECTING]
    assert world.last.end_reason == "stalled"
    assert world.main(1, publication()) == [Happening.CONTINUED]


def test_a_lease_found_long_after_it_ended_opens_no_new_window() -> None:
    world = World()
    world.main(0, publication())
    assert status_at(world.last, START + LEASE - timedelta(milliseconds=1)) is Status.ON_AIR
    assert status_at(world.last, START + LEASE) is Status.RECONNECTING
    assert world.step(3600, {}) == [Happening.ENDED]
    assert world.last.end_reason == "engine_lost"


def test_a_publisher_that_stayed_while_nobody_looked_is_the_same_broadcast() -> None:
    world = World()
    world.main(0, publication())
    world.step(3600, None)
    assert world.last.status is Status.RECONNECTING
    assert world.main(3600, publication()) == [Happening.CONTINUED]
    assert len(world.rows) == 1


def test_an_engine_that_is_away_ends_nothing() -> None:
    world = World()
    world.main(0, publication())
    assert world.step(7.9, None) == []
    assert world.step(0.1, None) == [Happening.RECONNECTING]
    assert world.step(10 * WINDOW_S, None) == []


def test_a_clock_set_back_leaves_nothing_on_air() -> None:
    world = World()
    world.main(0, publication())
    assert status_at(world.last, START - timedelta(hours=1)) is Status.RECONNECTING
    assert world.step(-3600, None) == [Happening.RECONNECTING]


def test_viewers_are_averaged_over_the_time_with_media() -> None:
    world = World()
    world.main(0, publication(viewers=9))
    world.main(2, publication(viewers=4))
    world.main(1, publication(viewers=1))
    world.main(1, publication(age_s=None))
    world.main(30, publication(viewers=3))
    assert world.last.peak_viewers == 9
    assert world.last.measured_s == 3
    assert abs(world.last.average_viewers - 3) < 1e-9


SAID = st.builds(
    publication,
    epoch=st.integers(1, 4),
    age_s=st.none() | st.sampled_from([0, 1, 4.9, 5, 6, 100]),
    viewers=st.integers(0, 5),
    boot_id=st.sampled_from(["one", "two"]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0.1, 2, 7.9, 8, 59, 60, 61, 5000, -1, -5000]),
        st.none() | st.dictionaries(st.sampled_from(["a", "b"]), SAID),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([0, 1, 60, 1800]))
def test_whatever_is_said_the_rules_hold(steps: list[tuple[float, dict[str, Publication] | None]], window: int) -> None:
    world = World(window)
    for after_s, publications in steps:
        before = dict(world.rows)
        world.step(after_s, publications)
        open_streams = [row.stream for row in world.rows.values() if row.status is not Status.ENDED]
        assert len(open_streams) == len(set(open_streams)), "two broadcasts of one stream"
        for row_id, row in before.items():
            if row.status is Status.ENDED:
                assert world.rows[row_id] == row, "an ended broadcast changed"
        for row in world.rows.values():
            if row.status is Status.ON_AIR:
                assert status_at(row, world.now) is Status.ON_AIR
                assert world.now - row.last_media_at < LEASE, "on air without media"
            assert (row.ended_at is not None) is (row.status is Status.ENDED)
            assert 0 <= row.average_viewers <= row.peak_viewers + 1e-9


@given(STEPS)
def test_of_one_engine_an_epoch_never_goes_back(steps: list[tuple[float, dict[str, Publication] | None]]) -> None:
    world = World()
    for after_s, publications in steps:
        before = dict(world.rows)
        world.step(after_s, publications)
        for row_id, row in before.items():
            now = world.rows[row_id]
            assert now.boot_id != row.boot_id or now.epoch >= row.epoch
