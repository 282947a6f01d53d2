"""Tables."""

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    text,
)
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


class User(Base):
    """A person who may sign in. `role` is one of `admin`, `streamer`, `viewer`."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    # argon2id, with its parameters and salt.
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WebSession(Base):
    """One browser that is signed in; its cookie is kept only as a SHA-256. Without this row the cookie is nothing."""

    __tablename__ = "web_sessions"
    __table_args__ = (Index("web_sessions_of_user", "user_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    renewed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiToken(Base):
    """What lets a program act for a user, within `scopes` (words with blanks between); kept only as a SHA-256."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("api_tokens_of_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Stream(Base):
    """A named programme. Its key is kept only as a hash.

    `visibility` is `public`, `unlisted` or `private`. `playback_key` signs the tokens that let people watch a private
    stream; the engine has it too. Without an owner only administrators change the stream.
    """

    __tablename__ = "streams"
    __table_args__ = (Index("streams_of_owner", "owner_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    # SHA-256 of the key: enough for random keys of 128 bits, which nobody can guess offline.
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    key_created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", name="streams_owner", ondelete="SET NULL"))
    visibility: Mapped[str] = mapped_column(String(16), default="public")
    description: Mapped[str] = mapped_column(String(2000), default="")
    playback_key: Mapped[bytes] = mapped_column(LargeBinary(32), default=lambda: secrets.token_bytes(32))


class RetiredKey(Base):
    """A stream key that was valid once, so that its holder can be told what became of it.

    `reason` is `rotated` or `deleted`; the stream it names may be gone.
    """

    __tablename__ = "retired_keys"
    __table_args__ = (Index("retired_keys_of_stream", "stream", "retired_at"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    stream: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(16))
    retired_at: Mapped[datetime] = mapped_column(UtcDateTime)


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


class Webhook(Base):
    """An address that is told of events: `events`, words with blanks between, of one stream or (null) of all.

    Without an owner it belongs to whoever holds the administrator's token. The secret that signs what is sent is kept
    encrypted, since it is needed again.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index("webhooks_of_owner", "owner_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[str] = mapped_column(String(200))
    stream: Mapped[str | None] = mapped_column(String(64))
    enabled: Mapped[bool] = mapped_column(Boolean)
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class WebhookDelivery(Base):
    """One event for one webhook: to be sent while `pending`, then `delivered` or `failed`.

    `id` is the message's `webhook-id`, the same at every attempt, and `body` is what is signed and sent. `number`
    grows: of one webhook and stream, the lowest that is pending goes first.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("webhook_deliveries_of_webhook", "webhook_id", "number"),
        Index(
            "webhook_deliveries_pending",
            "webhook_id",
            "stream",
            "number",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(40))
    stream: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
