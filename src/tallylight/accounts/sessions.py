"""Browsers that are signed in. A session ends 14 days after its last use, and 90 days after it began."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.accounts.last_use import LastUse
from tallylight.accounts.secrets import MAX_SECRET_CHARACTERS, hash_secret, new_session_secret
from tallylight.db import Database, User, WebSession

# A streamer who is live every second weekend stays signed in.
IDLE_LIFE = timedelta(days=14)
# However busy: after this the password is asked for again (OWASP ASVS 5.0, 7.3.2). The cookie lives as long.
WHOLE_LIFE = timedelta(days=90)
# A commit an hour is enough to know within the hour when a session was used last.
RENEW_EVERY = timedelta(hours=1)
# More browsers than a person has; beyond it the oldest session ends.
MAX_SESSIONS = 50


class WebSessionStore:
    """Sessions by their cookie; every look-up asks the database, so an ended one is over at once."""

    def __init__(self, database: Database, last_use: LastUse) -> None:
        self._database = database
        self._last_use = last_use

    async def begin(self, user_id: int, password_hash: str, now: datetime) -> str | None:
        """A new session's secret, for the cookie. Clears away what has ended.

        None when the user has been disabled or has another password by now than the one that was verified.
        """
        secret = new_session_secret()
        row = WebSession(
            token_hash=hash_secret(secret), user_id=user_id, created_at=now, renewed_at=now, expires_at=now + IDLE_LIFE
        )
        kept = select(WebSession.id).where(WebSession.user_id == user_id).order_by(WebSession.id.desc())
        verified = (User.id == user_id, User.password_hash == password_hash, User.disabled.is_(False))
        seen = update(User).where(*verified).values(last_seen_at=now).returning(User.id)
        async with self._database.session() as session:
            # A write, so that it is not changed any more before the session is there to be ended.
            if await session.scalar(seen) is None:
                return None
            await session.execute(delete(WebSession).where(WebSession.expires_at <= now))
            session.add(row)
            await session.flush()
            newest = (await session.scalars(kept.limit(MAX_SESSIONS))).all()
            await session.execute(delete(WebSession).where(WebSession.user_id == user_id, WebSession.id.not_in(newest)))
        return secret

    async def find(self, secret: str, now: datetime) -> tuple[WebSession, User] | None:
        """The session of a cookie and its user; None when it has ended or the user is disabled.

        Renews it, at most once an hour.
        """
        if len(secret) > MAX_SECRET_CHARACTERS:
            return None
        async with self._database.session() as session:
            found = await _find(session, WebSession.token_hash == hash_secret(secret), now)
        if found is not None and now - found[0].renewed_at >= RENEW_EVERY:
            row = found[0]
            expires_at = min(now + IDLE_LIFE, row.created_at + WHOLE_LIFE)
            renewed = update(WebSession).where(WebSession.id == row.id).values(renewed_at=now, expires_at=expires_at)
            await self._last_use.note(renewed)
        return found

    async def end(self, session_id: int) -> None:
        async with self._database.session() as session:
            await session.execute(delete(WebSession).where(WebSession.id == session_id))


async def _find(session: AsyncSession, condition: ColumnElement[bool], now: datetime) -> tuple[WebSession, User] | None:
    query = (
        select(WebSession, User)
        .join(User, WebSession.user_id == User.id)
        .where(condition, WebSession.expires_at > now, User.disabled.is_(False))
    )
    found = (await session.execute(query)).one_or_none()
    return None if found is None else (found[0], found[1])
