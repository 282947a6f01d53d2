"""What becomes of broadcasts: open rows, what the engine says, and the time in; changes out. No I/O, no clock.

`ON_AIR` is a lease that only arriving media renews, so no missed goodbye can leave a broadcast on air. Without media
it is `RECONNECTING` until the reconnect window ends, then `ENDED`, which is final. A publication is named by session
and epoch; within the window a new one continues the broadcast, and what is said of an older one is no news.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

# The promise is that nothing is on air 10 s after its last media, whatever crashed; the rest is for a slow reader.
LEASE = timedelta(seconds=8)
# As the engine's own ON_AIR_WINDOW: older media is no media.
FRESH = timedelta(seconds=5)


class Status(StrEnum):
    ON_AIR = "ON_AIR"
    RECONNECTING = "RECONNECTING"
    ENDED = "ENDED"


class Happening(StrEnum):
    """What a change is called in the log."""

    STARTED = "broadcast_started"
    RECONNECTING = "broadcast_reconnecting"
    CONTINUED = "broadcast_continued"
    ENDED = "broadcast_ended"


@dataclass(frozen=True)
class Broadcast:
    """One row.

    `expires_at` is the end of the lease while on air, and of the reconnect window after that. `end_reason` is why the
    last publication ended: a code of the engine's `last_end`, `engine_lost` (it started again), or `engine_away`. The
    average number of viewers is taken over `measured_s` seconds with media.
    """

    id: str
    stream: str
    title: str
    status: Status
    stream_type: str
    session: str
    epoch: int
    boot_id: str
    started_at: datetime
    last_media_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    end_reason: str | None = None
    peak_viewers: int = 0
    average_viewers: float = 0.0
    measured_s: float = 0.0


@dataclass(frozen=True)
class Publication:
    """What the engine says of one stream; without a session nobody is connected, without a title it was deleted."""

    title: str | None
    boot_id: str
    epoch: int
    session: str | None
    stream_type: str | None
    media_age: timedelta | None
    viewers: int
    last_end: str | None

    @property
    def has_media(self) -> bool:
        connected = self.title is not None and self.session is not None
        return connected and self.media_age is not None and self.media_age < FRESH


@dataclass(frozen=True)
class Change:
    """From one state of a row (none: it is new) to the next; a renewed lease alone is no happening."""

    before: Broadcast | None
    after: Broadcast
    happening: Happening | None


def plan(
    rows: Sequence[Broadcast],
    publications: Mapping[str, Publication] | None,
    now: datetime,
    window: timedelta,
    new_id: Callable[[], str],
) -> list[Change]:
    """What has to change now, in this order.

    Args:
        rows: Every broadcast that has not ended, at most one of each stream.
        publications: By stream; None when the engine does not answer. That ends nothing: publishers may be on air.
        now: When the engine was asked, or a little earlier.
        window: How long a broadcast waits for its publisher.
        new_id: Makes an id for a new broadcast.
    """
    changes: list[Change] = []
    for row in rows:
        publication = None if publications is None else publications.get(row.stream)
        past = publication is not None and _is_of_the_past(publication, row)
        if publications is None:
            changes += _without_news(row, now, window)
        elif past and row.status is Status.ON_AIR and _lease_holds(row, now):
            continue
        elif publication is not None and publication.has_media and not past:
            changes += _with_media(row, publication, now, window, new_id)
        else:
            changes += _without_media(row, publication, now, window)
    open_streams = {row.stream for row in rows}
    for stream, publication in (publications or {}).items():
        if stream not in open_streams and publication.has_media:
            changes.append(_started(stream, publication, now, new_id()))
    return changes


def status_at(row: Broadcast, now: datetime) -> Status:
    """The status as it may be shown: on air only under a lease that holds."""
    return Status.RECONNECTING if row.status is Status.ON_AIR and not _lease_holds(row, now) else row.status


def _lease_holds(row: Broadcast, now: datetime) -> bool:
    # A lease that is longer than any was given before the clock was set back.
    return now < row.expires_at <= now + LEASE


def _is_of_the_past(publication: Publication, row: Broadcast) -> bool:
    # Epochs of one engine only grow; those of another engine come from the wall clock, which may have been set back.
    return publication.boot_id == row.boot_id and publication.epoch < row.epoch


def _without_news(row: Broadcast, now: datetime, window: timedelta) -> Iterator[Change]:
    if row.status is Status.ON_AIR and not _lease_holds(row, now):
        yield _reconnecting(row, "engine_away", _window_end(row, now, window))


def _with_media(
    row: Broadcast, publication: Publication, now: datetime, window: timedelta, new_id: Callable[[], str]
) -> Iterator[Change]:
    same = (publication.session, publication.epoch) == (row.session, row.epoch)
    if same or now < _window_end(row, now, window):
        on_air = same and row.status is Status.ON_AIR
        yield Change(row, _renewed(row, publication, now), None if on_air else Happening.CONTINUED)
    else:
        yield _ended(row, row.end_reason or "connection_lost")
        yield _started(row.stream, publication, now, new_id())


def _without_media(
    row: Broadcast, publication: Publication | None, now: datetime, window: timedelta
) -> Iterator[Change]:
    if publication is not None and publication.title is None:
        # Its key is gone with it: nobody can come back.
        yield _ended(row, "removed")
        return
    end = _window_end(row, now, window)
    reason = row.end_reason if row.status is Status.RECONNECTING else None
    reason = reason or _reason(publication)
    if now >= end:
        yield _ended(row, reason)
    elif row.status is Status.ON_AIR:
        yield _reconnecting(row, reason, end)


def _window_end(row: Broadcast, now: datetime, window: timedelta) -> datetime:
    """The window opens when the publisher is seen to be gone; or when the lease ended, if nobody was looking then."""
    return row.expires_at if row.status is Status.RECONNECTING else min(now, row.expires_at) + window


def _reason(publication: Publication | None) -> str:
    if publication is None:
        return "engine_lost"
    return "stalled" if publication.session is not None else publication.last_end or "connection_lost"


def _started(stream: str, publication: Publication, now: datetime, new_id: str) -> Change:
    first_media_at = now - (publication.media_age or timedelta())
    row = Broadcast(
        id=new_id,
        stream=stream,
        title=publication.title or "",
        status=Status.ON_AIR,
        stream_type="",
        session="",
        epoch=publication.epoch,
        boot_id=publication.boot_id,
        started_at=first_media_at,
        last_media_at=first_media_at,
        expires_at=first_media_at,
    )
    return Change(None, _renewed(row, publication, now), Happening.STARTED)


def _renewed(row: Broadcast, publication: Publication, now: datetime) -> Broadcast:
    last_media_at = now - (publication.media_age or timedelta())
    since = last_media_at - row.last_media_at if row.status is Status.ON_AIR else timedelta()
    seconds = min(max(since, timedelta()), LEASE).total_seconds()
    measured_s = row.measured_s + seconds
    weight = seconds / measured_s if measured_s > 0 else 1.0
    return replace(
        row,
        status=Status.ON_AIR,
        stream_type=publication.stream_type or row.stream_type,
        session=publication.session or row.session,
        epoch=publication.epoch,
        boot_id=publication.boot_id,
        last_media_at=last_media_at,
        expires_at=last_media_at + LEASE,
        end_reason=None,
        peak_viewers=max(row.peak_viewers, publication.viewers),
        average_viewers=row.average_viewers + (publication.viewers - row.average_viewers) * weight,
        measured_s=measured_s,
    )


def _reconnecting(row: Broadcast, reason: str, until: datetime) -> Change:
    after = replace(row, status=Status.RECONNECTING, end_reason=reason, expires_at=until)
    return Change(row, after, Happening.RECONNECTING)


def _ended(row: Broadcast, reason: str) -> Change:
    """It ended with its last media, not with our patience."""
    after = replace(row, status=Status.ENDED, end_reason=reason, ended_at=row.last_media_at)
    return Change(row, after, Happening.ENDED)
