"""Broadcasts in the database."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, fields

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.broadcasts.lifecycle import Broadcast, Change, Status
from tallylight.db import BroadcastRow, Database, Stream
from tallylight.errors import TallylightError


class BroadcastUnknownError(TallylightError):
    def __init__(self, broadcast_id: str) -> None:
        super().__init__("broadcast_unknown", f"There is no broadcast {broadcast_id!r}.")


class BroadcastStore:
    """Finds broadcasts, and changes each only from the state that the change was made for."""

    def __init__(
        self, database: Database, announce: Callable[[AsyncSession, Change], Awaitable[None]] | None = None
    ) -> None:
        """
        Args:
            announce: Writes down whom to tell of a change, in the transaction that makes it.
        """
        self._database = database
        self._announce = announce

    async def open(self) -> list[Broadcast]:
        """Every broadcast that has not ended; at most one of each stream."""
        async with self._database.session() as session:
            rows = await session.scalars(select(BroadcastRow).where(BroadcastRow.status != Status.ENDED))
            return [_read(row) for row in rows]

    async def open_ids(self) -> dict[str, str]:
        """Ids of those, by stream."""
        return {broadcast.stream: broadcast.id for broadcast in await self.open()}

    async def started(self) -> int:
        """How many have started since the database was made."""
        async with self._database.session() as session:
            return await session.scalar(select(func.max(BroadcastRow.number))) or 0

    async def get(self, broadcast_id: str) -> Broadcast:
        """Raises BroadcastUnknownError."""
        async with self._database.session() as session:
            row = await session.scalar(select(BroadcastRow).where(BroadcastRow.id == broadcast_id))
        if row is None:
            raise BroadcastUnknownError(broadcast_id)
        return _read(row)

    async def newest(
        self,
        limit: int,
        stream_ids: Collection[int] | None = None,
        *,
        stream: str | None = None,
        before: str | None = None,
    ) -> list[Broadcast]:
        """The newest first, older than `before` if given. Raises BroadcastUnknownError.

        Args:
            stream_ids: Only of these streams, without those of a deleted one that had the same name.
            stream: Only of this name, whichever streams had it.
        """
        query = select(BroadcastRow).order_by(BroadcastRow.number.desc()).limit(limit)
        if stream_ids is not None:
            query = query.join(Stream, Stream.name == BroadcastRow.stream).where(
                Stream.id.in_(stream_ids), BroadcastRow.started_at >= Stream.created_at
            )
        if stream is not None:
            query = query.where(BroadcastRow.stream == stream)
        async with self._database.session() as session:
            if before is not None:
                number = await session.scalar(select(BroadcastRow.number).where(BroadcastRow.id == before))
                if number is None:
                    raise BroadcastUnknownError(before)
                query = query.where(BroadcastRow.number < number)
            return [_read(row) for row in await session.scalars(query)]

    async def last_off_air(self, streams: Collection[str]) -> dict[str, Broadcast]:
        """The newest broadcast of each of these streams, if it is not on air."""
        newest = select(func.max(BroadcastRow.number)).where(BroadcastRow.stream.in_(streams))
        query = select(BroadcastRow).where(
            BroadcastRow.number.in_(newest.group_by(BroadcastRow.stream)), BroadcastRow.status != Status.ON_AIR
        )
        async with self._database.session() as session:
            return {row.stream: _read(row) for row in await session.scalars(query)}

    async def apply(self, changes: Sequence[Change]) -> list[Change]:
        """Makes the changes whose row is still as it was; returns these."""
        made: list[Change] = []
        async with self._database.session() as session:
            for change in changes:
                if (before := change.before) is None:
                    continue
                updated = await session.scalar(
                    update(BroadcastRow)
                    .where(
                        BroadcastRow.id == before.id,
                        BroadcastRow.status == before.status,
                        BroadcastRow.session == before.session,
                        BroadcastRow.epoch == before.epoch,
                        BroadcastRow.expires_at == before.expires_at,
                    )
                    .values(asdict(change.after))
                    .returning(BroadcastRow.number)
                )
                if updated is not None:
                    await self._tell(session, change)
                    made.append(change)
        made += [change for change in changes if change.before is None and await self._insert(change)]
        return made

    async def _insert(self, change: Change) -> bool:
        """False when the stream has an open broadcast already: another control plane was quicker."""
        try:
            async with self._database.session() as session:
                session.add(BroadcastRow(**asdict(change.after)))
                await self._tell(session, change)
        except IntegrityError:
            return False
        return True

    async def _tell(self, session: AsyncSession, change: Change) -> None:
        if self._announce is not None and change.happening is not None:
            await self._announce(session, change)


def _read(row: BroadcastRow) -> Broadcast:
    values = {field.name: getattr(row, field.name) for field in fields(Broadcast)}
    return Broadcast(**values | {"status": Status(row.status)})
