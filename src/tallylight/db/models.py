"""Tables."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Float, Index, Integer, LargeBinary, String, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back when read."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Stream(Base):
    """A named programme. Its key is kept only as a hash."""

    __tablename__ = "streams"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    # SHA-256 of the key: enough for random keys of 128 bits, which nobody can guess offline.
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    key_created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Installation(Base):
    """One row: that the first start is behind us, so a deleted stream `main` does not come back."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    provisioned_at: Mapped[datetime] = mapped_column(UtcDateTime)


class BroadcastRow(Base):
    """One time on air of a stream; `tallylight.broadcasts.lifecycle.Broadcast` says what the columns mean.

    It names its stream, which may be gone by now. `number` grows with each start.
    """

    __tablename__ = "broadcasts"
    __table_args__ = (
        # Whatever the code does: a stream has at most one broadcast that has not ended.
        Index(
            "broadcasts_open",
            "stream",
            unique=True,
            sqlite_where=text("status != 'ENDED'"),
            postgresql_where=text("status != 'ENDED'"),
        ),
        Index("broadcasts_of_stream", "stream", "number"),
    )

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    stream: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16))
    stream_type: Mapped[str] = mapped_column(String(32))
    session: Mapped[str] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(BigInteger)
    boot_id: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_media_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    end_reason: Mapped[str | None] = mapped_column(String(64))
    peak_viewers: Mapped[int] = mapped_column(Integer)
    average_viewers: Mapped[float] = mapped_column(Float)
    measured_s: Mapped[float] = mapped_column(Float)
