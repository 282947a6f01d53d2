"""Users in the database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.accounts.identity import Role
from tallylight.accounts.last_use import LastUse
from tallylight.db import ApiToken, Database, User, WebSession
from tallylight.errors import TallylightError

log = structlog.get_logger()

# Part of addresses and log lines.
USER_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,31}$"
# `last_seen_at` is for people; writing it on every request would be a commit on every request.
SEEN_EVERY = timedelta(minutes=1)


class UserUnknownError(TallylightError):
    def __init__(self, name: str) -> None:
        super().__init__("user_unknown", f"There is no user named {name!r}.")


class UserExistsError(TallylightError):
    def __init__(self, name: str) -> None:
        super().__init__("user_exists", f"There is already a user named {name!r}.", "Choose another name.")


class LastAdminError(TallylightError):
    def __init__(self) -> None:
        super().__init__(
            "last_admin",
            "This is the last administrator that can sign in.",
            "Make another user administrator first.",
        )


class UserStore:
    """Creates, finds, changes and deletes users. There is always an administrator who can sign in."""

    def __init__(self, database: Database, last_use: LastUse) -> None:
        self._database = database
        self._last_use = last_use

    async def all(self) -> Sequence[User]:
        async with self._database.session() as session:
            return (await session.scalars(select(User).order_by(User.name))).all()

    async def find(self, name: str) -> User | None:
        async with self._database.session() as session:
            return await session.scalar(select(User).where(User.name == name))

    async def get(self, name: str) -> User:
        """Raises UserUnknownError."""
        user = await self.find(name)
        if user is None:
            raise UserUnknownError(name)
        return user

    async def names(self) -> dict[int, str]:
        """Names by id."""
        async with self._database.session() as session:
            return {row.id: row.name for row in await session.execute(select(User.id, User.name))}

    async def any(self) -> bool:
        """Whether there is a user at all."""
        async with self._database.session() as session:
            return await session.scalar(select(User.id).limit(1)) is not None

    async def create(self, name: str, role: Role, password_hash: str) -> User:
        """Raises UserExistsError."""
        user = User(name=name, role=role, password_hash=password_hash, disabled=False, created_at=datetime.now(UTC))
        try:
            async with self._database.session() as session:
                session.add(user)
        except IntegrityError as error:
            raise UserExistsError(name) from error
        log.info("user_created", user=name, role=role)
        return user

    async def locked(self, session: AsyncSession, name: str) -> User:
        """The user, whom nobody else changes until this transaction ends. Raises UserUnknownError."""
        await lock(session)
        # Every administrator is locked as well (PostgreSQL): two changes at once must not remove the last two.
        await session.execute(select(User.id).where(User.role == "admin").order_by(User.id).with_for_update())
        user = await session.scalar(select(User).where(User.name == name).with_for_update())
        if user is None:
            raise UserUnknownError(name)
        return user

    async def change(
        self,
        session: AsyncSession,
        user: User,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        password_hash: str | None = None,
    ) -> None:
        """Changes what is given of a `locked` user. A new password or being disabled ends their sessions and tokens.

        Raises:
            LastAdminError: Nobody would be left to undo it.
        """
        user.role = role or user.role
        user.disabled = user.disabled if disabled is None else disabled
        user.password_hash = password_hash or user.password_hash
        await session.flush()
        await _need_an_admin(session)
        if password_hash is not None or user.disabled:
            for table in (WebSession, ApiToken):
                await session.execute(delete(table).where(table.user_id == user.id))

    async def set_own_password(self, user_id: int, old: str, new: str, session_id: int | None) -> bool:
        """A new password by its owner: ends the user's other sessions; tokens of programs stay.

        False when the hash that was verified is not `old` any more: somebody else has set a password meanwhile.
        """
        async with self._database.session() as session:
            if not await _replace_hash(session, user_id, old, new):
                return False
            await session.execute(
                delete(WebSession).where(WebSession.user_id == user_id, WebSession.id.is_distinct_from(session_id))
            )
            return True

    async def replace_hash(self, user_id: int, old: str, new: str) -> None:
        """Keeps a hash of the same password with newer parameters, unless the password was changed meanwhile."""
        async with self._database.session() as session:
            await _replace_hash(session, user_id, old, new)

    async def delete(self, session: AsyncSession, user: User) -> None:
        """Deletes a `locked` user with sessions and tokens.

        Raises:
            LastAdminError: Nobody would be left to undo it.
        """
        await session.delete(user)
        await session.flush()
        await _need_an_admin(session)

    async def seen(self, user: User, now: datetime) -> None:
        """Notes that the user was here, once a minute."""
        if user.last_seen_at is None or now - user.last_seen_at >= SEEN_EVERY:
            await self._last_use.note(update(User).where(User.id == user.id).values(last_seen_at=now))


async def lock(session: AsyncSession, user_id: int | None = None) -> None:
    """Lets nobody else change this user until the transaction ends; on SQLite, which locks no rows, nobody anything."""
    # A write is what locks SQLite; it need not change anything.
    await session.execute(update(User).where(User.id == user_id).values(disabled=User.disabled))


async def _replace_hash(session: AsyncSession, user_id: int, old: str, new: str) -> bool:
    changed = update(User).where(User.id == user_id, User.password_hash == old).values(password_hash=new)
    return await session.scalar(changed.returning(User.id)) is not None


async def _need_an_admin(session: AsyncSession) -> None:
    admins = select(func.count()).select_from(User).where(User.role == "admin", User.disabled.is_(False))
    if not await session.scalar(admins):
        raise LastAdminError
