"""The founding processor as a process, and what the server says of it."""

from __future__ import annotations

import sys
from typing import Any

from support.publishers import Publisher
from support.server import REPOSITORY, Server

# The founding chain, in order.
STEPS = ("start", "producers", "request", "route", "process", "front_end", "plays")


def video_processor(server: Server, source: str, *options: str, program: str = "examples/videoProcess.py") -> Publisher:
    """A processor on this host, with the server's own settings; ends as any publisher does."""
    return Publisher([sys.executable, str(REPOSITORY / program), source, *options], server.environment)


async def stream_status(server: Server, stream: str) -> dict[str, Any]:
    """What the internal listener says of a stream."""
    headers = {"Authorization": f"Bearer {server.internal_token}"}
    answer = await server.http.get(server.internal(f"stream-status/{stream}"), headers=headers)
    answer.raise_for_status()
    status: dict[str, Any] = answer.json()
    return status


async def dashboard(server: Server) -> dict[str, Any]:
    """What an administrator's dashboard shows."""
    headers = {"Authorization": f"Bearer {(server.data_dir / 'admin-token').read_text().strip()}"}
    answer = await server.http.get("/api/dashboard", headers=headers)
    answer.raise_for_status()
    shown: dict[str, Any] = answer.json()
    return shown


def lamp(status: dict[str, Any], link: str) -> str:
    """State of one link's lamp."""
    return next(str(lamp["state"]) for lamp in status["links"] if lamp["link"] == link)


def steps(status: dict[str, Any]) -> dict[str, str]:
    """States of the founding chain's steps, by name."""
    return {step["name"]: step["state"] for step in status["chain"]}
