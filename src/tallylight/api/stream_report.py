"""Everything about one stream in one answer: which link of its chain is broken, and what every link measures."""

from datetime import UTC, datetime
from typing import Self

from tallylight.api.control import Control
from tallylight.api.models import Producer
from tallylight.broadcasts.lifecycle import Broadcast
from tallylight.broadcasts.store import BroadcastUnknownError
from tallylight.broadcasts.view import BroadcastView
from tallylight.diagnosis.chain import Step
from tallylight.diagnosis.links import Cause, Lamp
from tallylight.diagnosis.processors import ProcessorView
from tallylight.engine.client import EngineAwayError
from tallylight.engine.models import Session, StreamStatus
from tallylight.events.log import SESSION_SHOWN


class StreamReportView(StreamStatus):
    """What the engine measures, every peer and processor of the stream, and what is broken."""

    producers: list[Producer]
    consumers: list[Session]
    sessions: list[Session]
    broadcast: BroadcastView | None
    processors: list[ProcessorView]
    links: list[Lamp]
    cause: Cause | None
    chain: list[Step]

    def without_addresses(self) -> Self:
        """For those who are not on this host."""
        return self.model_copy(
            update={
                "consumers": [_shown(session) for session in self.consumers],
                "sessions": [_shown(session) for session in self.sessions],
            }
        )


def _shown(session: Session) -> Session:
    return session.model_copy(update={"remote": None, "id": session.id[:SESSION_SHOWN]})


async def stream_report(control: Control, name_or_id: str) -> StreamReportView:
    """Looks a stream up by its name, or by the id of one of its broadcasts, and reports on it.

    Raises:
        StreamUnknownError: Neither is known.
    """
    name, wanted = await _find(control, name_or_id)
    report = await control.diagnosis.report(name)
    status = report.status
    # A broadcast that has ended is still the one that was asked for.
    broadcast = wanted or report.broadcast
    sessions = await _sessions(control, name)
    return StreamReportView(
        **status.model_dump(exclude={"ledger"}),
        ledger=status.ledger | {"expose": {"out": {"bytes": report.expose.bytes, "errors": report.expose.refused}}},
        producers=Producer.all_of(status),
        consumers=[session for session in sessions if session.kind == "whep"],
        sessions=sessions,
        broadcast=None if broadcast is None else BroadcastView.of(broadcast, datetime.now(UTC)),
        processors=list(report.processors),
        links=list(report.report.links),
        cause=report.report.cause,
        chain=list(report.chain),
    )


async def _find(control: Control, name_or_id: str) -> tuple[str, Broadcast | None]:
    try:
        broadcast = await control.broadcasts.get(name_or_id)
    except BroadcastUnknownError:
        return (await control.streams.get(name_or_id)).name, None
    return broadcast.stream, broadcast


async def _sessions(control: Control, name: str) -> list[Session]:
    try:
        return [session for session in await control.engine.sessions() if session.stream == name]
    except EngineAwayError:
        # The report says so.
        return []
