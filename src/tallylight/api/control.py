"""The parts of a running control plane, made once and handed to every route."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.accounts.accounts import Accounts, identity_of
from tallylight.accounts.identity import ANONYMOUS, Identity, Role
from tallylight.accounts.passwords import Passwords
from tallylight.api.auth import load_token
from tallylight.api.health import health_of
from tallylight.api.sse import Seats
from tallylight.broadcasts.reconciler import Reconciler
from tallylight.broadcasts.store import BroadcastStore
from tallylight.config import Settings
from tallylight.db import Database, DatabaseError, Stream, User
from tallylight.diagnosis.reports import Diagnosis
from tallylight.engine.client import CutReason, EngineClient
from tallylight.engine.events import EventFollower
from tallylight.engine.models import EngineEvent
from tallylight.events import EventLog
from tallylight.outbound import OutboundClient
from tallylight.paths import DataDirectory
from tallylight.posters.store import PosterStore
from tallylight.sealing import Sealer, load_sealing_key
from tallylight.streams.admission import Admission
from tallylight.streams.cuts import PublisherCutter
from tallylight.streams.policy import PolicyKeeper
from tallylight.streams.publishers import PublisherLog
from tallylight.streams.store import StreamStore, new_playback_key, take_from_owner
from tallylight.telemetry.requests import RequestLog
from tallylight.telemetry.sampler import Sampler
from tallylight.telemetry.streams_now import StreamsNow
from tallylight.webhooks.health_watch import HealthWatch
from tallylight.webhooks.outbox import Outbox
from tallylight.webhooks.sender import Sender
from tallylight.webhooks.store import WebhookStore

log = structlog.get_logger()

# Readers of events: dashboards and studios, not viewers.
MAX_EVENT_READERS = 100
# Each is a connection that stays; a page that comes later asks for the list now and then.
MAX_LIVE_LISTENERS = 300
# Operators, and their screens on the wall.
MAX_DASHBOARDS = 50


@dataclass(frozen=True)
class Control:
    """Everything that routes need."""

    settings: Settings
    admin_token: str
    internal_token: str
    database: Database
    engine: EngineClient
    streams: StreamStore
    admission: Admission
    broadcasts: BroadcastStore
    events: EventLog
    diagnosis: Diagnosis
    accounts: Accounts
    webhooks: WebhookStore
    outbox: Outbox
    outbound: OutboundClient
    sender: Sender
    posters: PosterStore
    streams_now: StreamsNow
    sampler: Sampler
    publishers: PublisherLog
    policy: PolicyKeeper
    cutter: PublisherCutter
    event_seats: Seats = field(default_factory=lambda: Seats(MAX_EVENT_READERS))
    live_seats: Seats = field(default_factory=lambda: Seats(MAX_LIVE_LISTENERS))
    dashboard_seats: Seats = field(default_factory=lambda: Seats(MAX_DASHBOARDS))
    requests: RequestLog = field(default_factory=RequestLog)
    # Set when a part that runs in the background has failed: without it this process is of no use any more.
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    async def take_off_air(self, name: str, reason: CutReason = "removed") -> None:
        """Cuts a stream's publisher. An engine that is away is told when it is back."""
        await self.cutter.cut(name, reason)

    async def change_user(
        self, name: str, role: Role | None = None, password: str | None = None, disabled: bool | None = None
    ) -> User:
        """Changes a user; what that takes away ends at once, also what runs.

        Raises:
            UserUnknownError: There is none.
            LastAdminError: Nobody would be left to undo it.
        """
        password_hash = None if password is None else await self.accounts.passwords.hash(password)
        users = self.accounts.users
        async with self.database.session() as session:
            user = await users.locked(session, name)
            before = identity_of(user)
            await users.change(session, user, role=role, disabled=disabled, password_hash=password_hash)
            after = identity_of(user)
            await _void_lost_playback_tokens(session, before, after)
            owned = await session.scalars(select(Stream).where(Stream.owner_id == user.id))
            # By what holds now: whoever asks again, since the first answer got lost, has it all done again.
            silenced = [stream.name for stream in owned if not after.may_edit(stream)]
        log.info("user_changed", user=name, role=role, disabled=disabled, password=password is not None)
        if password is not None:
            await self.accounts.forget_first_password(name)
        for stream in silenced:
            await self.take_off_air(stream)
        await self.policy.push()
        return user

    async def delete_user(self, name: str) -> None:
        """Deletes a user. Their streams stay without an owner, with keys that nobody has.

        Raises:
            UserUnknownError: There is none.
            LastAdminError: Nobody would be left to undo it.
        """
        users = self.accounts.users
        async with self.database.session() as session:
            user = await users.locked(session, name)
            await _void_lost_playback_tokens(session, identity_of(user), ANONYMOUS)
            owned = (await session.scalars(select(Stream).where(Stream.owner_id == user.id))).all()
            for stream in owned:
                await take_from_owner(session, stream)
            await users.delete(session, user)
        log.info("user_deleted", user=name)
        await self.accounts.forget_first_password(name)
        for stream in owned:
            await self.streams.forget_first_key(stream.name)
            self.events.emit("stream_key_rotated", stream=stream.name)
            await self.take_off_air(stream.name, "key_rotated")
        await self.policy.push()

    async def resynchronise(self) -> None:
        """Tells an engine that is (again) there what it must know: who may play, and who may not publish.

        Raises:
            DatabaseError: `database_away`, so it is not known.
            EngineAwayError: It is not there any more.
        """
        try:
            await self.policy.push_now()
            await self.cutter.enforce()
        except SQLAlchemyError as error:
            raise DatabaseError("database_away", "The database does not answer.") from error


async def _void_lost_playback_tokens(session: AsyncSession, before: Identity, after: Identity) -> None:
    """Sends away who may not watch any more, as soon as the engine has the policy.

    Playback tokens do not say whose they are, so all of a stream's are void; those who may watch get new ones.
    """
    for stream in await session.scalars(select(Stream).where(Stream.visibility == "private")):
        if before.may_watch(stream) and not after.may_watch(stream):
            new_playback_key(stream)


def database_of(settings: Settings, data: DataDirectory) -> Database:
    """The database that the settings name."""
    url = settings.database_url
    return Database(data.database if url is None else url.get_secret_value())


@asynccontextmanager
async def open_control(
    settings: Settings, data: DataDirectory, passwords: Passwords | None = None
) -> AsyncIterator[Control]:
    """Opens the database, brings it up to date; follows the engine and keeps broadcasts true until the block ends."""
    database = database_of(settings, data)
    try:
        await database.migrate()
        streams = StreamStore(database, data.first_run)
        await streams.provision(settings.bootstrap_streams)
        async with (
            EngineClient(data.engine_socket) as engine,
            OutboundClient(settings.webhook_allow_private) as outbound,
        ):
            events = EventLog()
            sealer = Sealer(load_sealing_key(data.secret_key))
            outbox = Outbox(database)
            broadcasts = BroadcastStore(database, outbox.put_change)
            sender = Sender(outbox, sealer, outbound, events)
            publishers = PublisherLog()
            policy = PolicyKeeper(engine, streams)
            admission = Admission(streams, events, publishers)
            admin_token = load_token(data.admin_token)
            accounts = Accounts(database, admin_token, data.first_admin, events, passwords=passwords)
            await accounts.provision(settings.first_admin_password)
            posters = PosterStore(data.posters)
            sampler = Sampler(engine, database, data.root)
            control = Control(
                settings,
                admin_token,
                load_token(data.internal_token),
                database,
                engine,
                streams,
                admission,
                broadcasts,
                events,
                Diagnosis(engine, broadcasts, data.root, events),
                accounts,
                webhooks=WebhookStore(database, sealer),
                outbox=outbox,
                outbound=outbound,
                sender=sender,
                posters=posters,
                streams_now=StreamsNow(engine, streams, broadcasts, posters),
                sampler=sampler,
                publishers=publishers,
                policy=policy,
                cutter=PublisherCutter(engine, streams),
            )
            reconciler = Reconciler(engine, streams, broadcasts, settings.reconnect_window_s, events)

            async def hear(event: EngineEvent) -> None:
                events.copy(event)
                publishers.hear(event)
                reconciler.hint(event.event)

            async def look() -> dict[str, Any]:
                return (await health_of(database, engine)).model_dump(exclude_none=True)

            follower = EventFollower(engine, hear, control.resynchronise)
            health_watch = HealthWatch(look, outbox, events)
            parts = (
                follower,
                reconciler,
                control.diagnosis,
                policy,
                control.cutter,
                sampler,
                sender,
                health_watch,
            )

            def ended(task: asyncio.Task[None]) -> None:
                if not task.cancelled():
                    log.error("background_part_ended", part=task.get_name(), exc_info=task.exception())
                    control.broken.set()

            tasks = [asyncio.create_task(part.run(), name=type(part).__name__) for part in parts]
            for task in tasks:
                task.add_done_callback(ended)
            try:
                yield control
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                accounts.close()
    finally:
        await database.close()


def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


ControlPlane = Annotated[Control, Depends(_control)]
