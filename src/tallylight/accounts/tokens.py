"""API tokens: they let a program act for a user, within scopes."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.accounts.identity import SCOPES, Identity, Scope
from tallylight.accounts.last_use import LastUse
from tallylight.accounts.secrets import MAX_SECRET_CHARACTERS, hash_secret, new_token_secret
from tallylight.accounts.users import lock
from tallylight.db import ApiToken, Database, User, WebSession
from tallylight.errors import TallylightError

log = structlog.get_logger()

# More programs than anybody keeps track of.
MAX_TOKENS = 100
# `last_used_at` is for people; writing it on every request would be a commit on every request.
USED_EVERY = timedelta(minutes=1)


class TokenUnknownError(TallylightError):
    def __init__(self) -> None:
        super().__init__("token_unknown", "There is no such token.")


class TooManyTokensError(TallylightError):
    def __init__(self) -> None:
        super().__init__("too_many_tokens", f"A user has at most {MAX_TOKENS} tokens.", "Revoke one first.")


class SignInEndedError(TallylightError):
    def __init__(self) -> None:
        super().__init__("sign_in_needed", "This sign-in has just ended.", "Sign in again.")


@dataclass(frozen=True)
class NewToken:
    """A token with its secret in plain text: the only moment anybody can see it."""

    token: ApiToken
    secret: str

    def __repr__(self) -> str:
        return f"NewToken(id={self.token.id!r})"


class TokenStore:
    """Creates, finds and revokes tokens; every look-up asks the database, so a revoked one is void at once."""

    def __init__(self, database: Database, last_use: LastUse) -> None:
        self._database = database
        self._last_use = last_use

    async def create(
        self,
        user: User,
        name: str,
        scopes: Collection[Scope],
        now: datetime,
        life: timedelta | None,
        *,
        asker: Identity | None = None,
    ) -> NewToken:
        """Makes a token.

        Args:
            asker: Who asks for it, and must be signed in still when it is made.

        Raises:
            SignInEndedError: The asker is not, by now.
            TooManyTokensError: The user has as many as allowed.
        """
        secret = new_token_secret()
        token = ApiToken(
            id=uuid.uuid4().hex,
            token_hash=hash_secret(secret),
            user_id=user.id,
            name=name,
            scopes=" ".join(scope for scope in SCOPES if scope in scopes),
            created_at=now,
            expires_at=None if life is None else now + life,
        )
        async with self._database.session() as session:
            # A new password or being disabled ends sessions and tokens under the same lock: also this one, or before.
            await lock(session, user.id)
            if asker is not None and not await _is_signed_in(session, asker):
                raise SignInEndedError
            count = await session.scalar(select(func.count()).where(ApiToken.user_id == user.id))
            if (count or 0) >= MAX_TOKENS:
                raise TooManyTokensError
            session.add(token)
        log.info("token_created", token=token.id, user=user.name, scopes=token.scopes)
        return NewToken(token, secret)

    async def of(self, user_id: int) -> Sequence[ApiToken]:
        """A user's tokens, expired ones too, oldest first."""
        query = select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.created_at, ApiToken.id)
        async with self._database.session() as session:
            return (await session.scalars(query)).all()

    async def find(self, secret: str, now: datetime) -> tuple[ApiToken, User] | None:
        """The token and its user; None when it is unknown, has expired, or the user is disabled."""
        if len(secret) > MAX_SECRET_CHARACTERS:
            return None
        async with self._database.session() as session:
            found = await _find(session, ApiToken.token_hash == hash_secret(secret), now)
        if found is not None:
            token = found[0]
            if token.last_used_at is None or now - token.last_used_at >= USED_EVERY:
                await self._last_use.note(update(ApiToken).where(ApiToken.id == token.id).values(last_used_at=now))
        return found

    async def get(self, token_id: str) -> ApiToken:
        """Raises TokenUnknownError."""
        async with self._database.session() as session:
            token = await session.get(ApiToken, token_id)
        if token is None:
            raise TokenUnknownError
        return token

    async def revoke(self, token: ApiToken) -> None:
        async with self._database.session() as session:
            await session.execute(delete(ApiToken).where(ApiToken.id == token.id))
        log.info("token_revoked", token=token.id)


def scopes_of(token: ApiToken) -> frozenset[Scope]:
    """What the token was given."""
    words = token.scopes.split()
    return frozenset(scope for scope in SCOPES if scope in words)


async def _is_signed_in(session: AsyncSession, who: Identity) -> bool:
    """Whether the session or token that was asked with is still there."""
    match who.credential:
        case int() as session_id:
            return await session.scalar(select(WebSession.id).where(WebSession.id == session_id)) is not None
        case str() as token_id:
            return await session.scalar(select(ApiToken.id).where(ApiToken.id == token_id)) is not None
    return True


async def _find(session: AsyncSession, condition: ColumnElement[bool], now: datetime) -> tuple[ApiToken, User] | None:
    query = (
        select(ApiToken, User)
        .join(User, ApiToken.user_id == User.id)
        .where(condition, or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now), User.disabled.is_(False))
    )
    found = (await session.execute(query)).one_or_none()
    return None if found is None else (found[0], found[1])
