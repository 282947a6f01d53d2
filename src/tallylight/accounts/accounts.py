"""Signing in, and from a cookie or token to who asks."""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from tallylight.accounts.identity import (
    ADMIN_TOKEN,
    ANONYMOUS,
    REFUSED,
    ROLE_SCOPES,
    ROLES,
    Identity,
    Role,
    Scope,
    Via,
)
from tallylight.accounts.last_use import LastUse
from tallylight.accounts.limiter import SignInLimit
from tallylight.accounts.passwords import MIN_CHARACTERS, Passwords, new_password
from tallylight.accounts.sessions import WebSessionStore
from tallylight.accounts.tokens import TokenStore, scopes_of
from tallylight.accounts.users import UserStore
from tallylight.db import Database, User
from tallylight.errors import TallylightError
from tallylight.events import EventLog
from tallylight.first_secret import FIRST_USER, first_password

log = structlog.get_logger()


class PasswordWrongError(TallylightError):
    """The same words whether the name or the password was wrong, or the account is disabled."""

    def __init__(self) -> None:
        super().__init__("password_wrong", "The name or the password is wrong.")


class TooManyTriesError(TallylightError):
    def __init__(self) -> None:
        super().__init__("rate_limited", "Too many wrong passwords.", "Wait a minute and try again.")


@dataclass(frozen=True)
class SignedIn:
    """A user, and the secret of the new session for the cookie."""

    user: User
    secret: str

    def __repr__(self) -> str:
        return f"SignedIn(user={self.user.name!r})"


class Accounts:
    """Users, sessions and tokens together.

    Args:
        admin_token: Whoever has it is an administrator: the owner of the data directory.
        first_admin: File that holds the generated first password until it is changed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        admin_token: str,
        first_admin: Path,
        events: EventLog,
        *,
        passwords: Passwords | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        last_use = LastUse(database)
        self.users = UserStore(database, last_use)
        self.sessions = WebSessionStore(database, last_use)
        self.tokens = TokenStore(database, last_use)
        self.passwords = passwords or Passwords()
        self._admin_token = admin_token.encode()
        self._first_password = first_password(first_admin)
        self._events = events
        self._limit = SignInLimit()
        self._clock = clock

    async def provision(self, password: str | None) -> None:
        """Makes `admin` when there is no user yet, with this password or a generated one, kept for the banner."""
        if await self.users.any():
            return
        chosen = password or new_password()
        if password is None:
            # Before the commit: a crash in between leaves a file that the next start writes again.
            await asyncio.to_thread(self._first_password.write, FIRST_USER, chosen)
        elif len(password) < MIN_CHARACTERS:
            log.warning("admin_password_short", advice=f"use {MIN_CHARACTERS} characters or more")
        await self.users.create(FIRST_USER, "admin", await self.passwords.hash(chosen))

    async def sign_in(self, name: str, password: str, remote_ip: str) -> SignedIn:
        """Checks a password and begins a session.

        Raises:
            PasswordWrongError: Or there is no such user; both take as long.
            TooManyTriesError: The password was not looked at.
            BusyError: Too many others are signing in.
        """
        if not self._limit.take(remote_ip, name, self._clock()):
            self._events.emit("sign_in_refused", code="rate_limited", user=None)
            raise TooManyTriesError
        user = await self.users.find(name)
        right = await self.passwords.matches(password, None if user is None else user.password_hash)
        secret = None
        if user is not None and right:
            secret = await self.sessions.begin(user.id, user.password_hash, datetime.now(UTC))
        if user is None or secret is None:
            # An unknown name is not repeated: people type passwords into the wrong field.
            self._events.emit("sign_in_refused", code="password_wrong", user=None if user is None else user.name)
            raise PasswordWrongError
        self._limit.succeeded(remote_ip, name, self._clock())
        if self.passwords.outdated(user.password_hash):
            await self.users.replace_hash(user.id, user.password_hash, await self.passwords.hash(password))
        self._events.emit("signed_in", user=user.name)
        return SignedIn(user, secret)

    async def change_own_password(self, who: Identity, old: str, new: str, remote_ip: str) -> None:
        """A new password for who is signed in; ends the other sessions.

        Raises:
            PasswordWrongError: The old one is another.
            TooManyTriesError: It was not looked at.
        """
        assert who.name is not None  # noqa: S101 - the route asks for a signed-in user
        if not self._limit.take(remote_ip, who.name, self._clock()):
            raise TooManyTriesError
        user = await self.users.get(who.name)
        if not await self.passwords.matches(old, user.password_hash):
            raise PasswordWrongError
        self._limit.succeeded(remote_ip, who.name, self._clock())
        session_id = who.credential if isinstance(who.credential, int) else None
        if not await self.users.set_own_password(
            user.id, user.password_hash, await self.passwords.hash(new), session_id
        ):
            raise PasswordWrongError
        await self.forget_first_password(user.name)
        log.info("user_changed", user=user.name, password=True)

    async def forget_first_password(self, name: str) -> None:
        """The generated first password is no more; nothing when it was another user's."""
        await asyncio.to_thread(self._first_password.forget, name)

    async def by_cookie(self, secret: str, remote_ip: str) -> Identity:
        """Who sent this cookie."""
        now = datetime.now(UTC)
        found = await self.sessions.find(secret, now)
        if found is None:
            return ANONYMOUS
        session, user = found
        self._limit.seen(remote_ip, user.name)
        await self.users.seen(user, now)
        return _identity(user, "cookie", session.id)

    async def by_token(self, secret: str) -> Identity:
        """Who sent this bearer token."""
        if hmac.compare_digest(secret.encode(), self._admin_token):
            return ADMIN_TOKEN
        now = datetime.now(UTC)
        found = await self.tokens.find(secret, now)
        if found is None:
            return REFUSED
        token, user = found
        await self.users.seen(user, now)
        return _identity(user, "token", token.id, scopes_of(token))

    def close(self) -> None:
        self.passwords.close()


def role_of(user: User) -> Role:
    """The user's role as a word that is checked."""
    return next(role for role in ROLES if role == user.role)


def identity_of(user: User) -> Identity:
    """What the user may do after signing in; a disabled one is nobody."""
    return ANONYMOUS if user.disabled else _identity(user, "cookie", 0)


def _identity(user: User, via: Via, credential: int | str, narrowed: frozenset[Scope] | None = None) -> Identity:
    role = role_of(user)
    scopes = ROLE_SCOPES[role] if narrowed is None else ROLE_SCOPES[role] & narrowed
    return Identity(user_id=user.id, name=user.name, role=role, scopes=scopes, via=via, credential=credential)
