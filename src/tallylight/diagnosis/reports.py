"""Gathers the facts of streams and has them judged: for `stream-status`, and for the dashboard."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tallylight.broadcasts.lifecycle import Broadcast, status_at
from tallylight.broadcasts.store import BroadcastStore
from tallylight.diagnosis.chain import Judged, Step, founding_chain
from tallylight.diagnosis.expose import ExposeLog
from tallylight.diagnosis.facts import ExposeFacts, StreamFacts
from tallylight.diagnosis.links import Report, diagnose
from tallylight.diagnosis.processors import ProcessorRegistry, ProcessorView
from tallylight.diagnosis.sampler import SAMPLE_EVERY_S, LedgerSampler
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import StreamStatus, off_air
from tallylight.events import EventLog


@dataclass(frozen=True)
class StreamReport:
    """Everything known about one stream now. `status` is that of a stream off air when the engine does not answer."""

    status: StreamStatus
    broadcast: Broadcast | None
    processors: tuple[ProcessorView, ...]
    expose: ExposeFacts
    report: Report
    chain: tuple[Step, ...]


@dataclass(frozen=True)
class _Surroundings:
    """What is the same for every stream of one look."""

    live: Mapping[str, StreamStatus] | None
    broadcasts: Mapping[str, Broadcast] | None
    processors: tuple[ProcessorView, ...]
    newest_on_air: str | None


class Diagnosis:
    """The facts that the control plane keeps between two looks, and the verdicts on them."""

    def __init__(self, engine: EngineClient, broadcasts: BroadcastStore, directory: Path, events: EventLog) -> None:
        self._engine = engine
        self._broadcasts = broadcasts
        self._events = events
        self.expose = ExposeLog()
        self.processors = ProcessorRegistry()
        self._sampler = LedgerSampler(engine, self.expose, directory)

    async def run(self) -> None:
        """Samples the ledgers and watches the processors' leases until cancelled."""
        while True:
            looked_s = self.processors.now_s()
            await self._sampler.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)
            for processor in self.processors.newly_gone(looked_s):
                self._events.emit("processor_gone", stream=processor.input, processor=processor.name)

    async def reports(self, wanted: Iterable[str] = ()) -> dict[str, Report]:
        """The verdict on the wanted streams, and on every one that the engine has seen; without an engine, on every
        open broadcast's.
        """
        around = await self._look()
        names = {*wanted, *(around.live if around.live is not None else around.broadcasts or {})}
        return {name: diagnose(self._facts(name, around)) for name in sorted(names)}

    async def report(self, name: str) -> StreamReport:
        """Everything about one stream."""
        around = await self._look()
        facts = self._facts(name, around)
        report = diagnose(facts)
        made_from = next((p.input for p in around.processors if p.output == name), name)
        source_facts = self._facts(made_from, around)
        source = Judged(source_facts, diagnose(source_facts))
        return StreamReport(
            status=facts.status or off_air(name),
            broadcast=(around.broadcasts or {}).get(name),
            processors=tuple(p for p in around.processors if name in (p.input, p.output)),
            expose=facts.expose,
            report=report,
            chain=founding_chain(source, self._output(source_facts, around)),
        )

    def _output(self, source: StreamFacts, around: _Surroundings) -> Judged | None:
        """What the source's processor makes; the first one's, when there are several."""
        outputs = (processor.output for processor in source.processors if not processor.gone)
        output = next((name for name in outputs if name is not None), None)
        if output is None:
            return None
        facts = self._facts(output, around)
        return Judged(facts, diagnose(facts))

    async def _look(self) -> _Surroundings:
        try:
            live = await self._engine.streams()
        except EngineAwayError:
            live = None
        try:
            broadcasts = {broadcast.stream: broadcast for broadcast in await self._broadcasts.open()}
        except SQLAlchemyError:
            broadcasts = None
        on_air = [status for status in (live or {}).values() if status.status == "ON_AIR"]
        newest = max(on_air, key=lambda status: (status.started_at or "", status.epoch or 0), default=None)
        name = None if newest is None else newest.name
        return _Surroundings(live, broadcasts, tuple(self.processors.all()), name)

    def _facts(self, name: str, around: _Surroundings) -> StreamFacts:
        status = None if around.live is None else around.live.get(name) or off_air(name)
        broadcast = (around.broadcasts or {}).get(name)
        return StreamFacts(
            name=name,
            status=status,
            window=None if status is None else self._sampler.window(status),
            expose=self._exposed(name, around.newest_on_air),
            processors=tuple(processor for processor in around.processors if processor.input == name),
            database_answers=around.broadcasts is not None,
            host=self._sampler.host,
            broadcast_status=None if broadcast is None else status_at(broadcast, datetime.now(UTC)),
            makers=tuple(processor for processor in around.processors if processor.output == name),
        )

    def _exposed(self, name: str, newest_on_air: str | None) -> ExposeFacts:
        """Of this stream. Who names no stream asks for the newest: then the refusal is the newest one's."""
        own = self.expose.facts(name)
        unnamed = self.expose.facts(None)
        if name != newest_on_air or unnamed.refused_age_s is None or own.refused_age_s is not None:
            return own
        return ExposeFacts(own.readers, own.bytes, unnamed.refused, unnamed.refused_code, unnamed.refused_age_s)
