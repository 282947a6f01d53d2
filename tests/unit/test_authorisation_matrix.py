"""Every operation of the OpenAPI document, asked by everybody there can be, before and after a restart."""

from __future__ import annotations

import ipaddress

import pytest

from tallylight.accounts.identity import Identity
from tallylight.api.app import public_app
from tallylight.api.control import Control, open_control
from tallylight.api.openapi import operations
from tallylight.config import Settings
from tallylight.paths import DataDirectory
from unit.authorisation import ASKERS, TABLE, World, missing_rows, rows, wrong_cells
from unit.conftest import quick_passwords
from unit.fake_engine import FakeEngine


@pytest.fixture
async def world(control: Control, engine: FakeEngine) -> World:
    return await World.make(control, engine, public_app(control))


def test_every_operation_is_in_the_table(control: Control) -> None:
    document = public_app(control).openapi()
    missing = missing_rows({name for name, _ in operations(document)})
    assert not missing, "\n".join(missing)


async def test_every_cell_before_and_after_a_restart(data: DataDirectory, engine: FakeEngine) -> None:
    # Addresses of this host for webhooks.
    settings = Settings(data_dir=data.root, webhook_allow_private=(ipaddress.IPv4Network("127.0.0.0/8"),))
    async with open_control(settings, data, quick_passwords()) as control:
        world = await World.make(control, engine, public_app(control))
        tokens = world.tokens
        wrong = await wrong_cells(world)
        assert not wrong, "\n".join(wrong)
    async with open_control(settings, data, quick_passwords()) as control:
        wrong = await wrong_cells(World(control, engine, public_app(control), tokens))
        assert not wrong, "\n".join(wrong)


def test_an_operation_that_is_missing_or_gone_is_said() -> None:
    known = {row.operation for row in rows()}
    without = "\n".join(line for line in TABLE.splitlines() if "/api/users/{name}" not in line)
    add = missing_rows(known, without)
    assert [sentence.split("`")[1] for sentence in add] == [
        "DELETE /api/users/{name} TARGET",
        "PATCH /api/users/{name} TARGET",
    ]
    assert f"{len(ASKERS)} cells" in add[0]
    assert "take the lines of GET /api/config out" in missing_rows(known - {"GET /api/config"})[0]


def lines_of(*beginnings: str) -> str:
    """A part of the table."""
    return "\n".join(line for line in TABLE.splitlines() if " ".join(line.split()).startswith(beginnings))


async def test_a_cell_that_is_not_as_written_is_said(world: World) -> None:
    table = lines_of("GET /api/users -")
    assert table.count("ok") == 3
    assert await wrong_cells(world, table.replace("ok", "404")) == [
        "GET /api/users (-) by admin: ok instead of 404",
        "GET /api/users (-) by admin:admin: ok instead of 404",
        "GET /api/users (-) by admin_token: ok instead of 404",
    ]


@pytest.mark.parametrize(
    ("hole", "found"),
    [
        ("may_edit", {"PATCH /api/streams/{name} (public) by other: ok instead of 403"}),
        (
            "may_watch",
            {
                f"GET /api/streams/{{name}} (private) by {asker}: ok instead of 404"
                for asker in (
                    "anonymous",
                    "other",
                    "owner:webhooks",
                    "admin:webhooks",
                    "admin:admin",
                    "expired",
                    "revoked",
                    "disabled",
                )
            },
        ),
    ],
)
async def test_a_hole_is_found(world: World, monkeypatch: pytest.MonkeyPatch, hole: str, found: set[str]) -> None:
    table = lines_of("GET /api/streams/{name} private", "PATCH /api/streams/{name} public")
    assert await wrong_cells(world, table) == []
    monkeypatch.setattr(Identity, hole, lambda _identity, _stream: True)
    assert set(await wrong_cells(world, table)) == found
