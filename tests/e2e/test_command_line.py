"""The command line against a running server, as its owner types it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import httpx
import pytest

from support.server import TALLYLIGHT, Server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def tallylight(server: Server, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(TALLYLIGHT), *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=server.environment, input=given, capture_output=True, text=True, timeout=30
    )


async def answer_of(server: Server, *arguments: str, given: str = "") -> Any:
    done = await tallylight(server, *arguments, "--json", given=given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def sign_in(server: Server, name: str, password: str) -> int:
    answer = await server.http.post("/api/session", json={"name": name, "password": password})
    server.http.cookies.clear()
    return answer.status_code


async def test_users_are_made_changed_and_deleted(server: Server) -> None:
    """Each command does what it says; a password is never an argument and is shown once."""
    made = await answer_of(server, "users", "create", "ada", "--role", "streamer")
    assert await sign_in(server, "ada", made["password"]) == httpx.codes.OK
    listed = await answer_of(server, "users", "list")
    assert {"admin", "ada"} <= {user["name"] for user in listed["users"]}
    assert made["password"] not in json.dumps(listed)
    await answer_of(server, "users", "set-password", "ada", given="another-password\n")
    assert await sign_in(server, "ada", "another-password") == httpx.codes.OK
    assert (await answer_of(server, "users", "set-role", "ada", "viewer"))["role"] == "viewer"
    assert (await answer_of(server, "users", "disable", "ada"))["disabled"]
    assert await sign_in(server, "ada", "another-password") == httpx.codes.UNAUTHORIZED
    table = await tallylight(server, "users", "list")
    assert "disabled" in table.stdout
    assert (await tallylight(server, "users", "delete", "ada")).returncode == 0
    refused = await tallylight(server, "users", "delete", "admin")
    assert refused.returncode == 1
    assert "last_admin" in refused.stderr


async def test_tokens_act_until_they_are_revoked(server: Server) -> None:
    """A token made by a command opens the API for its scopes, and no more once it is revoked."""
    made = await answer_of(server, "tokens", "create", "script", "--user", "admin", "--scope", "read")
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await server.http.get("/api/tokens", headers=headers)).status_code == httpx.codes.OK
    refused = await server.http.post("/api/streams", json={"name": "by-token"}, headers=headers)
    assert refused.status_code == httpx.codes.FORBIDDEN
    listed = await answer_of(server, "tokens", "list", "--user", "admin")
    assert made["id"] in {token["id"] for token in listed["tokens"]}
    assert made["token"] not in json.dumps(listed)
    assert (await tallylight(server, "tokens", "revoke", made["id"])).returncode == 0
    assert (await server.http.get("/api/tokens", headers=headers)).status_code == httpx.codes.UNAUTHORIZED


async def test_streams_are_made_edited_and_deleted(server: Server) -> None:
    """Visibility and owner by command; the key is shown at its making only."""
    made = await answer_of(server, "streams", "create", "by-command", "--visibility", "private", "--owner", "admin")
    assert made["key"]
    assert (await server.http.get("/api/streams/by-command")).status_code == httpx.codes.NOT_FOUND
    edited = await answer_of(server, "streams", "edit", "by-command", "--visibility", "unlisted", "--title", "A talk")
    assert (edited["visibility"], edited["title"], edited["owner"]) == ("unlisted", "A talk", "admin")
    assert (await server.http.get("/api/streams/by-command")).status_code == httpx.codes.OK
    assert made["key"] not in (await tallylight(server, "streams", "list", "--json")).stdout
    assert (await tallylight(server, "streams", "delete", "by-command")).returncode == 0
