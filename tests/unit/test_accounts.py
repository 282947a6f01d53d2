"""Passwords, signing in, web sessions and API tokens, below the API."""

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher

from tallylight.accounts.accounts import Accounts, PasswordWrongError, TooManyTriesError
from tallylight.accounts.identity import ANONYMOUS
from tallylight.accounts.limiter import ACCOUNT_TRIES, ADDRESS_TRIES
from tallylight.accounts.passwords import AT_ONCE, MAX_WAITING, BusyError, Passwords
from tallylight.accounts.sessions import IDLE_LIFE, MAX_SESSIONS, RENEW_EVERY, WHOLE_LIFE
from tallylight.accounts.tokens import MAX_TOKENS, SignInEndedError, TokenUnknownError, TooManyTokensError
from tallylight.accounts.users import LastAdminError, UserExistsError, UserUnknownError
from tallylight.db import Database
from tallylight.events import EventLog
from tallylight.first_secret import first_password
from tallylight.paths import DataDirectory
from unit.conftest import count_rows, everything_in, quick_passwords

ON_BOTH_DATABASES = True

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
RIGHT, WRONG = "the right password", "a wrong password"


@dataclass
class Kit:
    """Accounts with the streamer `ada` and the administrator `root`, and a clock that stands still."""

    accounts: Accounts
    database: Database
    events: EventLog
    now_s: list[float] = field(default_factory=lambda: [0.0])

    async def change(self, name: str, **changes: Any) -> None:
        async with self.database.session() as session:
            await self.accounts.users.change(session, await self.accounts.users.locked(session, name), **changes)

    async def delete(self, name: str) -> None:
        async with self.database.session() as session:
            await self.accounts.users.delete(session, await self.accounts.users.locked(session, name))

    async def code(self, name: str = "ada", password: str = WRONG, remote_ip: str = HERE) -> str:
        try:
            await self.accounts.sign_in(name, password, remote_ip)
        except (PasswordWrongError, TooManyTriesError) as error:
            return error.code
        return "in"


@pytest.fixture
async def kit(data: DataDirectory, database: Database) -> AsyncIterator[Kit]:
    events, now_s = EventLog(), [0.0]
    accounts = Accounts(
        database, "admin-token", data.first_admin, events, passwords=quick_passwords(), clock=lambda: now_s[0]
    )
    await accounts.users.create("ada", "streamer", await accounts.passwords.hash(RIGHT))
    await accounts.users.create("root", "admin", "x")
    yield Kit(accounts, database, events, now_s)
    accounts.close()


@pytest.fixture
def fresh(data: DataDirectory, database: Database) -> Kit:
    """Without any user."""
    events = EventLog()
    return Kit(Accounts(database, "t", data.first_admin, events, passwords=quick_passwords()), database, events)


async def test_the_first_start_makes_admin_with_a_password_in_a_private_file(fresh: Kit, data: DataDirectory) -> None:
    kit = fresh
    await kit.accounts.provision(None)
    password = first_password(data.first_admin).read("admin")
    assert password is not None
    assert len(password) >= 20
    assert stat.S_IMODE(data.first_admin.stat().st_mode) == 0o600
    assert await kit.code("admin", password) == "in"
    await kit.accounts.provision("another password")
    assert await kit.code("admin", "another password") == "password_wrong", "only the first start makes a user"
    assert first_password(data.first_admin).read("admin") == password


async def test_the_first_password_can_be_given_and_is_written_nowhere(fresh: Kit, data: DataDirectory) -> None:
    kit = fresh
    await kit.accounts.provision("chosen by the owner")
    assert await kit.code("admin", "chosen by the owner") == "in"
    assert not data.first_admin.exists()
    contents = await everything_in(kit.database, data)
    assert b"chosen by the owner" not in contents


async def test_the_file_of_the_first_password_goes_away_with_it(fresh: Kit, data: DataDirectory) -> None:
    kit = fresh
    await kit.accounts.provision(None)
    await kit.accounts.forget_first_password("ada")
    assert data.first_admin.exists()
    await kit.accounts.forget_first_password("admin")
    assert not data.first_admin.exists()


async def test_passwords_are_argon2id(data: DataDirectory) -> None:
    passwords = Passwords()
    password_hash = await passwords.hash(RIGHT)
    assert password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await passwords.matches(RIGHT, password_hash)
    assert not await passwords.matches(WRONG, password_hash)
    assert not passwords.outdated(password_hash)
    assert quick_passwords().outdated(password_hash)
    passwords.close()


async def test_an_unknown_user_costs_as_much_as_a_known_one(kit: Kit) -> None:
    verified: list[str] = []

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's name
            verified.append(str(hash).rpartition("$")[0].rpartition("$")[0])
            return super().verify(hash, password)

    kit.accounts.passwords = Passwords(Watched(time_cost=1, memory_cost=8, parallelism=1))
    assert [await kit.code("ada"), await kit.code("nobody")] == ["password_wrong"] * 2
    assert len(verified) == 2
    assert verified[0] == verified[1], "the same parameters"
    assert not await kit.accounts.passwords.matches("", None), "no password opens what is not there"


async def test_no_more_passwords_at_once_than_the_server_can_bear(kit: Kit) -> None:
    crowd = AT_ONCE + MAX_WAITING + 1
    results = await asyncio.gather(
        *(kit.accounts.passwords.matches(WRONG, None) for _ in range(crowd)), return_exceptions=True
    )
    assert [type(result) for result in results].count(BusyError) == 1
    assert not await kit.accounts.passwords.matches(WRONG, None), "and then it goes on"


async def test_an_old_hash_is_replaced_at_the_next_sign_in(kit: Kit) -> None:
    before = (await kit.accounts.users.get("ada")).password_hash
    kit.accounts.passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    assert await kit.code(password=RIGHT) == "in"
    after = (await kit.accounts.users.get("ada")).password_hash
    assert "t=2" in after
    assert after != before
    assert await kit.code(password=RIGHT) == "in"


async def test_tries_from_one_address_are_limited(kit: Kit) -> None:
    codes = [await kit.code(f"user{number}") for number in range(ADDRESS_TRIES + 1)]
    assert codes == ["password_wrong"] * ADDRESS_TRIES + ["rate_limited"]
    assert await kit.code(password=RIGHT) == "rate_limited", "the password is not looked at"
    assert await kit.code(password=RIGHT, remote_ip=ELSEWHERE) == "in", "who comes from elsewhere is not locked out"
    kit.now_s[0] = 60 / ADDRESS_TRIES
    assert await kit.code(password=RIGHT) == "in"


async def test_never_more_than_ten_tries_in_a_minute(kit: Kit) -> None:
    looked_at = 0
    for _ in range(1000):
        kit.now_s[0] += 0.06
        looked_at += await kit.code() == "password_wrong"
    assert looked_at <= 10


async def test_right_passwords_are_no_tries(kit: Kit) -> None:
    assert [await kit.code(password=RIGHT) for _ in range(3 * ADDRESS_TRIES)] == ["in"] * 3 * ADDRESS_TRIES


async def test_many_addresses_are_slowed_down_and_do_not_lock_the_owner_out(kit: Kit) -> None:
    assert await kit.code(password=RIGHT, remote_ip=HERE) == "in"
    codes = [await kit.code(remote_ip=f"203.0.113.{number}") for number in range(ACCOUNT_TRIES + 10)]
    assert codes == ["password_wrong"] * ACCOUNT_TRIES + ["rate_limited"] * 10
    assert await kit.code("nobody", remote_ip="203.0.113.250") == "password_wrong", "other accounts are not affected"
    assert await kit.code(password=RIGHT, remote_ip=HERE) == "in", "from where the owner was before"


async def test_who_is_signed_in_makes_the_address_known(kit: Kit) -> None:
    signed_in = await kit.accounts.sign_in("ada", RIGHT, ELSEWHERE)
    await kit.accounts.by_cookie(signed_in.secret, HERE)
    for number in range(ACCOUNT_TRIES + 1):
        await kit.code(remote_ip=f"203.0.113.{number}")
    assert await kit.code(password=RIGHT, remote_ip=HERE) == "in"


async def test_an_unknown_account_is_limited_like_a_known_one(kit: Kit) -> None:
    def codes(name: str) -> list[asyncio.Future[str]]:
        return [asyncio.ensure_future(kit.code(name, remote_ip=f"203.0.113.{n}")) for n in range(ACCOUNT_TRIES + 1)]

    known = sorted(await asyncio.gather(*codes("ada")))
    assert known == sorted(await asyncio.gather(*codes("nobody")))
    assert known.count("rate_limited") == 1


async def test_events_name_the_user_and_never_what_was_typed(kit: Kit) -> None:
    reader = kit.events.reader()
    await kit.code("ada", RIGHT)
    await kit.code("ada")
    await kit.code("my secret password")
    events = [(event.event, event.fields.get("user")) for event in reader.take()]
    assert events == [("signed_in", "ada"), ("sign_in_refused", "ada"), ("sign_in_refused", None)]


async def test_a_cookie_is_kept_as_a_hash_and_makes_the_identity(kit: Kit, data: DataDirectory) -> None:
    signed_in = await kit.accounts.sign_in("ada", RIGHT, HERE)
    who = await kit.accounts.by_cookie(signed_in.secret, HERE)
    assert (who.name, who.role, who.via) == ("ada", "streamer", "cookie")
    assert who.scopes == {"read", "streams", "webhooks"}
    contents = await everything_in(kit.database, data)
    assert signed_in.secret.encode() not in contents
    assert signed_in.secret not in repr(signed_in)
    for other in ("", signed_in.secret + "x", "x" * 4096):
        assert await kit.accounts.by_cookie(other, HERE) == ANONYMOUS


async def test_a_session_lives_on_while_it_is_used_and_ends_in_any_case(kit: Kit) -> None:
    user = await kit.accounts.users.get("ada")
    sessions, begun = kit.accounts.sessions, datetime.now(UTC)
    secret = await sessions.begin(user.id, user.password_hash, begun) or ""
    late = begun + IDLE_LIFE - timedelta(seconds=1)
    assert await sessions.find(secret, begun + RENEW_EVERY - timedelta(seconds=1)) is not None
    assert await sessions.find(secret, begun + IDLE_LIFE) is None, "a use within the hour writes nothing"
    assert await sessions.find(secret, late) is not None
    assert await sessions.find(secret, late + IDLE_LIFE - timedelta(seconds=1)) is not None
    moment = late
    while moment < begun + WHOLE_LIFE:
        assert await sessions.find(secret, moment) is not None
        moment += timedelta(days=10)
    assert await sessions.find(secret, begun + WHOLE_LIFE) is None


async def test_sessions_of_a_user_are_bounded_and_ended_ones_are_cleared(kit: Kit, data: DataDirectory) -> None:
    user = await kit.accounts.users.get("ada")
    now = datetime.now(UTC)
    secrets = [
        await kit.accounts.sessions.begin(user.id, user.password_hash, now) or "" for _ in range(MAX_SESSIONS + 2)
    ]
    alive = [await kit.accounts.sessions.find(secret, now) is not None for secret in secrets]
    assert alive == [False] * 2 + [True] * MAX_SESSIONS
    await kit.accounts.sessions.begin(user.id, user.password_hash, now + WHOLE_LIFE)
    assert await count_rows(kit.database, "web_sessions") == 1


async def test_a_password_of_ones_own_ends_the_other_sessions(kit: Kit) -> None:
    here, there = [(await kit.accounts.sign_in("ada", RIGHT, HERE)).secret for _ in range(2)]
    who = await kit.accounts.by_cookie(here, HERE)
    with pytest.raises(PasswordWrongError):
        await kit.accounts.change_own_password(who, WRONG, "another password", HERE)
    await kit.accounts.change_own_password(who, RIGHT, "another password", HERE)
    assert await kit.accounts.by_cookie(here, HERE) == who
    assert (await kit.accounts.by_cookie(there, HERE)).role is None
    assert [await kit.code(password=RIGHT), await kit.code(password="another password")] == ["password_wrong", "in"]


@pytest.mark.parametrize("meanwhile", [{"password_hash": "x"}, {"disabled": True}])
async def test_a_change_while_the_password_is_checked_wins(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, meanwhile: dict[str, Any]
) -> None:
    who = await kit.accounts.by_cookie((await kit.accounts.sign_in("ada", RIGHT, HERE)).secret, HERE)
    matches = kit.accounts.passwords.matches

    async def slowly(password: str, password_hash: str | None) -> bool:
        right = await matches(password, password_hash)
        await kit.change("ada", **meanwhile)
        return right

    monkeypatch.setattr(kit.accounts.passwords, "matches", slowly)
    assert await kit.code(password=RIGHT) == "password_wrong"
    assert await count_rows(kit.database, "web_sessions") == 0
    if "password_hash" in meanwhile:
        await kit.change("ada", password_hash=await kit.accounts.passwords.hash(RIGHT))
        with pytest.raises(PasswordWrongError):
            await kit.accounts.change_own_password(who, RIGHT, "another password", HERE)
        assert (await kit.accounts.users.get("ada")).password_hash == "x"


async def test_who_was_signed_out_meanwhile_makes_no_token(kit: Kit) -> None:
    user = await kit.accounts.users.get("ada")
    cookie = (await kit.accounts.sign_in("ada", RIGHT, HERE)).secret
    token = (await kit.accounts.tokens.create(user, "t", ["read"], datetime.now(UTC), None)).secret
    askers = [await kit.accounts.by_cookie(cookie, HERE), await kit.accounts.by_token(token)]
    await kit.change("ada", password_hash="x")
    for asker in askers:
        with pytest.raises(SignInEndedError):
            await kit.accounts.tokens.create(user, "kept", ["read"], datetime.now(UTC), None, asker=asker)
    assert await count_rows(kit.database, "api_tokens") == 0


async def test_guessing_the_present_password_is_limited(kit: Kit) -> None:
    who = await kit.accounts.by_cookie((await kit.accounts.sign_in("ada", RIGHT, HERE)).secret, HERE)
    for _ in range(ADDRESS_TRIES):
        with pytest.raises(PasswordWrongError):
            await kit.accounts.change_own_password(who, WRONG, "another password", HERE)
    with pytest.raises(TooManyTriesError):
        await kit.accounts.change_own_password(who, RIGHT, "another password", HERE)


async def test_a_token_narrows_its_user_and_never_widens(kit: Kit, data: DataDirectory) -> None:
    user = await kit.accounts.users.get("ada")
    now = datetime.now(UTC)
    new = await kit.accounts.tokens.create(user, "all", ["read", "admin"], now, None)
    assert new.secret.startswith("tly_")
    assert new.secret not in repr(new)
    who = await kit.accounts.by_token(new.secret)
    assert (who.name, who.role, who.via) == ("ada", "streamer", "token")
    assert who.scopes == {"read"}
    contents = await everything_in(kit.database, data)
    assert new.secret.encode() not in contents


async def test_tokens_expire_and_are_revoked(kit: Kit) -> None:
    user, tokens, now = await kit.accounts.users.get("ada"), kit.accounts.tokens, datetime.now(UTC)
    new = await tokens.create(user, "a day", ["read"], now, timedelta(days=1))
    assert await tokens.find(new.secret, now + timedelta(hours=23)) is not None
    assert await tokens.find(new.secret, now + timedelta(days=1)) is None
    await tokens.revoke(new.token)
    assert (await kit.accounts.by_token(new.secret)).refused
    with pytest.raises(TokenUnknownError):
        await tokens.get(new.token.id)
    await tokens.revoke(new.token)


async def test_tokens_of_a_user_are_bounded(kit: Kit) -> None:
    user, now = await kit.accounts.users.get("ada"), datetime.now(UTC)
    for _ in range(MAX_TOKENS):
        await kit.accounts.tokens.create(user, "one", ["read"], now, None)
    with pytest.raises(TooManyTokensError):
        await kit.accounts.tokens.create(user, "one too many", ["read"], now, None)


async def test_the_admin_token_is_an_administrator_and_no_user(kit: Kit) -> None:
    who = await kit.accounts.by_token("admin-token")
    assert (who.name, who.role, who.is_admin, who.via) == (None, "admin", True, "admin_token")
    for other in ("admin-toke", "admin-token2", "ADMIN-TOKEN", "é"):
        assert (await kit.accounts.by_token(other)).refused


@pytest.mark.parametrize("change", [{"disabled": True}, {"password_hash": "x"}])
async def test_what_ends_a_users_sessions_and_tokens(kit: Kit, change: dict[str, object]) -> None:
    user = await kit.accounts.users.get("ada")
    cookie = (await kit.accounts.sign_in("ada", RIGHT, HERE)).secret
    token = (await kit.accounts.tokens.create(user, "t", ["read"], datetime.now(UTC), None)).secret
    await kit.change("ada", **change)
    assert (await kit.accounts.by_cookie(cookie, HERE)).role is None
    assert (await kit.accounts.by_token(token)).role is None
    assert await kit.code(password=RIGHT) == "password_wrong"


async def test_deleting_a_user_leaves_nothing_behind(kit: Kit, data: DataDirectory) -> None:
    user = await kit.accounts.users.get("ada")
    await kit.accounts.sign_in("ada", RIGHT, HERE)
    await kit.accounts.tokens.create(user, "t", ["read"], datetime.now(UTC), None)
    await kit.delete("ada")
    assert [await count_rows(kit.database, table) for table in ("web_sessions", "api_tokens")] == [0, 0]
    assert await kit.code(password=RIGHT) == "password_wrong"


async def test_a_role_changes_what_a_running_session_may(kit: Kit) -> None:
    cookie = (await kit.accounts.sign_in("ada", RIGHT, HERE)).secret
    await kit.change("ada", role="viewer")
    assert (await kit.accounts.by_cookie(cookie, HERE)).scopes == {"read"}


async def test_the_last_administrator_stays(kit: Kit) -> None:
    users = kit.accounts.users
    await users.create("two", "admin", "x")
    await kit.change("two", disabled=True)
    for change in (kit.delete("root"), kit.change("root", role="viewer"), kit.change("root", disabled=True)):
        with pytest.raises(LastAdminError):
            await change
    assert ((await users.get("root")).role, (await users.get("root")).disabled) == ("admin", False)
    await kit.change("two", disabled=False)
    await kit.delete("root")


async def test_names_are_unique_and_unknown_ones_are_said(kit: Kit) -> None:
    with pytest.raises(UserExistsError):
        await kit.accounts.users.create("ada", "viewer", "x")
    for change in (kit.accounts.users.get("nobody"), kit.delete("nobody")):
        with pytest.raises(UserUnknownError):
            await change
