"""A real coturn on the loopback address, with the file of `deploy/`, changed in secret and addresses only."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support import processes
from support.proxies import DEPLOY, replaced, running

# Apart from the ports that `free_port` hands out: a viewer who came through the relay is known by its port.
RELAY_PORTS = range(28_000, 28_200)


@dataclass(frozen=True)
class Turn:
    """A running TURN server."""

    port: int
    secret: str
    log: Path

    @property
    def urls(self) -> list[str]:
        return [f"turn:127.0.0.1:{self.port}?transport=udp", f"turn:127.0.0.1:{self.port}?transport=tcp"]


@asynccontextmanager
async def coturn() -> AsyncIterator[Turn]:
    """Starts coturn, and ends it."""
    directory = Path(tempfile.mkdtemp(prefix="tally-turn-"))
    turn = Turn(processes.free_port(), secrets.token_hex(16), directory / "turn.log")
    shipped = replaced(
        (DEPLOY / "turnserver.conf").read_text(),
        {"static-auth-secret=CHANGE-ME": f"static-auth-secret={turn.secret}", "=192.0.2.1": "=127.0.0.1"},
    )
    configuration = directory / "turnserver.conf"
    configuration.write_text(
        f"{shipped}\nlistening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={turn.port}\n"
        f"min-port={RELAY_PORTS.start}\nmax-port={RELAY_PORTS.stop - 1}\nallow-loopback-peers\nno-tls\nno-dtls\n"
        f"log-file={turn.log}\nsimple-log\nverbose\npidfile={directory / 'pid'}\nuserdb={directory / 'turndb'}\n"
    )
    try:
        async with running(["turnserver", "-c", str(configuration)], turn.port, directory):
            yield turn
    finally:
        shutil.rmtree(directory, ignore_errors=True)
