"""`tallylight serve` and `tallylight demo`."""

import asyncio
import os
import sys
import time
from pathlib import Path

import structlog

from tallylight import demo, logs
from tallylight.cli.banner import make_banner, print_banner
from tallylight.cli.local_api import LocalApi, LocalApiError
from tallylight.config import Settings, load_settings
from tallylight.paths import DataDirectory
from tallylight.supervisor import Supervisor
from tallylight.supervisor.part import PartSpec

log = structlog.get_logger()

DEMO_STREAM = "demo"
DEMO_TITLE = "Test card"
# Importing PyAV and the first picture take about a second; a busy machine needs more. Then the banner comes anyway.
DEMO_ON_AIR_TIMEOUT_S = 20.0
DEMO_POLL_S = 0.1


def run_server(data_dir: Path | None) -> None:
    """Runs the server until a signal ends it. Raises StartError when it cannot start."""
    settings = _prepare(data_dir)
    first_start = _is_first_start(settings)

    async def when_ready(supervisor: Supervisor) -> None:
        show_key = first_start or sys.stdout.isatty()
        print_banner(make_banner(settings, supervisor.data, first_start=first_start, show_key=show_key))

    asyncio.run(Supervisor(settings).run(when_ready))


def run_demo(data_dir: Path | None) -> None:
    """Runs the server, and publishes a test card to the stream `demo`."""
    settings = _prepare(data_dir)
    first_start = _is_first_start(settings)

    async def when_ready(supervisor: Supervisor) -> None:
        key = await asyncio.to_thread(_fresh_demo_key, supervisor)
        await supervisor.add_part(_publisher(settings, supervisor, key))
        banner = make_banner(settings, supervisor.data, first_start=first_start, show_key=True, test_card=DEMO_STREAM)
        print_banner(banner)

    asyncio.run(Supervisor(settings).run(when_ready))


def _is_first_start(settings: Settings) -> bool:
    return not DataDirectory(settings.data_dir).admin_token.exists()


def _prepare(data_dir: Path | None) -> Settings:
    logs.configure("supervisor")
    os.umask(0o077)  # the database and all else that we and our children write is the owner's alone
    return load_settings(data_dir)


def _fresh_demo_key(supervisor: Supervisor) -> str:
    """Keys are kept as hashes, so each start of the demo makes a new one."""
    with LocalApi(supervisor.data) as api:
        try:
            answer = api.post("/api/streams", {"name": DEMO_STREAM, "title": DEMO_TITLE})
        except LocalApiError as error:
            if error.code != "stream_exists":
                raise
            answer = api.post(f"/api/streams/{DEMO_STREAM}/rotate-key")
    return str(answer["key"])


def _publisher(settings: Settings, supervisor: Supervisor, key: str) -> PartSpec:
    host = "127.0.0.1" if settings.bind.is_unspecified else str(settings.bind)
    host = f"[{host}]" if ":" in host else host
    url = f"rtmp://{host}:{settings.rtmp_port}/live/{key}"
    give_up_at_s = time.monotonic() + DEMO_ON_AIR_TIMEOUT_S

    async def on_air() -> bool:
        return time.monotonic() > give_up_at_s or await asyncio.to_thread(_demo_on_air, supervisor)

    return PartSpec(
        name="demo publisher",
        command=demo.publisher_command(),
        environment=supervisor.child_environment() | demo.publisher_environment(url),
        ready=on_air,
    )


def _demo_on_air(supervisor: Supervisor) -> bool:
    try:
        with LocalApi(supervisor.data) as api:
            return bool(api.get(f"/api/streams/{DEMO_STREAM}")["status"] == "ON_AIR")
    except LocalApiError:
        return False
