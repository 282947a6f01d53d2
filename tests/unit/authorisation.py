"""The world in which each cell of `authorisation.txt` is tried: people, tokens, and targets that are made anew."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete
from starlette.types import ASGIApp, Message

from tallylight.accounts.identity import SCOPES, Role
from tallylight.api.auth import COOKIE
from tallylight.api.control import Control
from tallylight.broadcasts.lifecycle import Broadcast, Change, Status
from tallylight.db import BroadcastRow, Stream, Webhook
from tallylight.engine.models import off_air
from unit.fake_engine import FakeEngine

# The columns, in the order of the table.
ASKERS = [
    "anonymous",
    "viewer",
    "owner",
    "other",
    "admin",
    "owner:read",
    "owner:streams",
    "owner:webhooks",
    "admin:read",
    "admin:streams",
    "admin:webhooks",
    "admin:admin",
    "demoted",
    "expired",
    "revoked",
    "disabled",
    "admin_token",
]

TABLE = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")

PASSWORD = "the password of everybody"
AT = datetime(2026, 11, 25, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    path: str
    target: str
    cells: dict[str, str]

    @property
    def operation(self) -> str:
        return f"{self.method} {self.path}"


def rows(table: str = TABLE) -> list[Row]:
    """The lines of a table."""
    found = []
    for line in table.splitlines():
        if line.strip() and not line.startswith("#"):
            method, path, target, *cells = line.replace("|", " ").split()
            assert len(cells) == len(ASKERS), f"{len(cells)} cells instead of {len(ASKERS)}: {line}"
            found.append(Row(method, path, target, dict(zip(ASKERS, cells, strict=True))))
    return found


@dataclass
class World:
    """A control plane with people and tokens in it; targets are made anew for each try."""

    control: Control
    engine: FakeEngine
    app: ASGIApp
    tokens: dict[str, str]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def make(cls, control: Control, engine: FakeEngine, app: ASGIApp) -> World:
        """With everybody in `ASKERS`."""
        accounts = control.accounts
        password_hash = await accounts.passwords.hash(PASSWORD)
        people: dict[str, Role] = {
            "viewer": "viewer",
            "owner": "streamer",
            "other": "streamer",
            "boss": "admin",
            "demoted": "admin",
            "disabled": "admin",
        }
        users = {name: await accounts.users.create(name, role, password_hash) for name, role in people.items()}
        now = datetime.now(UTC)
        tokens: dict[str, str] = {"admin_token": control.admin_token}
        for scope in SCOPES:
            for who, name in (("owner", "owner"), ("admin", "boss")):
                new = await accounts.tokens.create(users[name], "one scope", [scope], now, None)
                tokens[f"{who}:{scope}"] = new.secret
        tokens["demoted"] = (await accounts.tokens.create(users["demoted"], "all", SCOPES, now, None)).secret
        yesterday = now - timedelta(days=1)
        expired = await accounts.tokens.create(users["boss"], "expired", SCOPES, yesterday, timedelta(hours=1))
        revoked = await accounts.tokens.create(users["boss"], "revoked", SCOPES, now, None)
        await accounts.tokens.revoke(revoked.token)
        tokens |= {"expired": expired.secret, "revoked": revoked.secret}
        tokens["disabled"] = await accounts.sessions.begin(users["disabled"].id, password_hash, now) or ""
        await control.change_user("demoted", role="viewer")
        await control.change_user("disabled", disabled=True)
        return cls(control, engine, app, tokens)

    async def headers(self, asker: str) -> dict[str, str]:
        """What the asker sends. A person signs in anew for each try, which may end the session."""
        if asker == "anonymous":
            return {}
        if asker == "disabled":
            return self._cookie(self.tokens[asker])
        if asker in self.tokens:
            return {"authorization": f"Bearer {self.tokens[asker]}"}
        user = await self.control.accounts.users.get("boss" if asker == "admin" else asker)
        secret = await self.control.accounts.sessions.begin(user.id, user.password_hash, datetime.now(UTC))
        assert secret is not None
        return self._cookie(secret)

    @staticmethod
    def _cookie(secret: str) -> dict[str, str]:
        return {"cookie": f"{COOKIE}={secret}", "x-tallylight-request": "1"}

    def name(self) -> str:
        return f"n{next(self.numbers)}-{id(self):x}"

    async def user_id(self, name: str) -> int:
        return (await self.control.accounts.users.get(name)).id

    async def stream(self, visibility: str) -> str:
        """A stream of `owner`, on air, with a poster."""
        name = self.name()
        await self.control.streams.create(name, visibility=visibility, owner_id=await self.user_id("owner"))
        self.engine.streams[name] = off_air(name).model_dump() | {"status": "ON_AIR", "session": "s"}
        poster = self.control.settings.data_dir / "posters" / f"{name}.jpg"
        await asyncio.to_thread(poster.parent.mkdir, exist_ok=True)
        await asyncio.to_thread(poster.write_bytes, b"\xff\xd8")
        # The clock of files may lag a little behind that of the stream.
        await asyncio.to_thread(os.utime, poster, (time.time() + 1,) * 2)
        return name

    async def tidy_up(self) -> None:
        """Takes the targets away, so that the next row meets a world as small as the first one did."""
        self.engine.streams.clear()
        async with self.control.database.session() as session:
            for table in (Stream, BroadcastRow, Webhook):
                await session.execute(delete(table))

    async def status(self, row: Row, asker: str) -> str:
        """What the asker gets: `ok`, or the status."""
        filled = await TARGETS[row.target](self)
        path = re.sub(r"\{\w+\}", filled, row.path)
        body = BODIES.get(row.operation)
        content = "" if body is None else json.dumps(body).replace("NAME", self.name()).replace("TARGET", filled)
        status = await status_of(self.app, row.method, path, content.encode(), await self.headers(asker))
        return "ok" if 200 <= status < 300 else str(status)


async def _nothing(_world: World) -> str:
    return ""


def _stream(visibility: str) -> Callable[[World], Awaitable[str]]:
    return lambda world: world.stream(visibility)


def _broadcast(visibility: str) -> Callable[[World], Awaitable[str]]:
    async def make(world: World) -> str:
        return await _add_broadcast(world, await world.stream(visibility))

    return make


async def _orphan_broadcast(world: World) -> str:
    return await _add_broadcast(world, world.name())


async def _add_broadcast(world: World, stream: str) -> str:
    broadcast = Broadcast(
        id=world.name(),
        stream=stream,
        title="",
        status=Status.ENDED,
        stream_type="RTMP_STREAM",
        session="s",
        epoch=1,
        boot_id="b",
        started_at=datetime.now(UTC),
        last_media_at=AT,
        expires_at=AT,
        ended_at=AT,
    )
    await world.control.broadcasts.apply([Change(None, broadcast, None)])
    return broadcast.id


async def _user(world: World) -> str:
    name = world.name()
    await world.control.accounts.users.create(name, "streamer", "no password")
    return name


async def _token_of_owner(world: World) -> str:
    user = await world.control.accounts.users.get("owner")
    return (await world.control.accounts.tokens.create(user, "target", ["read"], datetime.now(UTC), None)).token.id


async def _webhook_of_owner(world: World) -> str:
    owner_id, stream = await world.user_id("owner"), await world.stream("public")
    url = "http://127.0.0.1:9/"
    return (await world.control.webhooks.create(owner_id, url, ["broadcast.started"], stream)).webhook.id


# What stands in for the parameter of a path, made anew for each try.
TARGETS: dict[str, Callable[[World], Awaitable[str]]] = {
    "-": _nothing,
    "public": _stream("public"),
    "unlisted": _stream("unlisted"),
    "private": _stream("private"),
    "broadcast-public": _broadcast("public"),
    "broadcast-unlisted": _broadcast("unlisted"),
    "broadcast-private": _broadcast("private"),
    "broadcast-orphan": _orphan_broadcast,
    "user": _user,
    "owners-token": _token_of_owner,
    "owners-webhook": _webhook_of_owner,
}

# What is sent; NAME stands for a name that nobody has, TARGET for what was made as the row's target.
BODIES: dict[str, Any] = {
    "POST /api/streams": {"name": "NAME"},
    "PATCH /api/streams/{name}": {"title": "another"},
    "POST /api/session": {"name": "viewer", "password": PASSWORD},
    "POST /api/session/password": {"old": PASSWORD, "new": PASSWORD},
    "POST /api/users": {"name": "NAME", "role": "viewer", "password": PASSWORD},
    "PATCH /api/users/{name}": {"role": "viewer"},
    "POST /api/webhooks": {"url": "http://127.0.0.1:9/", "events": ["broadcast.started"], "stream": "TARGET"},
    "PATCH /api/webhooks/{webhook_id}": {"enabled": False},
    "POST /api/tokens": {"name": "made by the table", "scopes": ["read"], "expires_in_days": 1},
}


async def status_of(app: ASGIApp, method: str, target: str, content: bytes, headers: dict[str, str]) -> int:
    """The status of the answer, which may be one without an end: the asker leaves as soon as it knows."""
    path, _, query = target.partition("?")
    known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": content, "more_body": False}
        await asyncio.shield(known)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start" and not known.done():
            known.set_result(message["status"])

    lines = {"host": "test", "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        "client": ("192.0.2.1", 1),
        "server": ("test", 443),
    }
    await app(scope, receive, send)
    return known.result()


async def wrong_cells(world: World, table: str = TABLE) -> list[str]:
    """A sentence for each cell that is not what the table says."""
    wrong = []
    for row in rows(table):
        for asker, expected in row.cells.items():
            found = await world.status(row, asker)
            if found != expected:
                wrong.append(f"{row.operation} ({row.target}) by {asker}: {found} instead of {expected}")
        await world.tidy_up()
    return wrong


def missing_rows(operations: set[str], table: str = TABLE) -> list[str]:
    """What has to be added to the table, or taken out of it."""
    known = {row.operation for row in rows(table)}
    add = "add a line `{} TARGET` with {} cells to tests/unit/authorisation.txt, whose head says how"
    return [add.format(operation, len(ASKERS)) for operation in sorted(operations - known)] + [
        f"take the lines of {operation} out of tests/unit/authorisation.txt: there is no such operation"
        for operation in sorted(known - operations)
    ]
