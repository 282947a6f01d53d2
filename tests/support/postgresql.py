"""A PostgreSQL server of the tests' own, from the system's packages, on a free port of loopback."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from support.processes import children_of, free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
# It must refuse wrong passwords, and ours must never show up anywhere.
USER, PASSWORD = "tallylight", "a-password-of-the-tests"
# Nothing that is written here has to survive anything.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_min_messages": "panic",
}


class PostgresServer:
    """Runs while the context is open, and never longer than this process. It refuses to run as root, so it does not."""

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="tally-pg-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        password_file = self._directory / "password"
        password_file.write_text(PASSWORD)
        for path in (self._directory, password_file):
            shutil.chown(path, _account())
        options = ["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
        options += [f"--pwfile={password_file}", f"--pgdata={self._data}"]
        subprocess.run(_command("initdb", *options), check=True, capture_output=True, cwd=self._directory)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Not from a thread that ends before: the kernel takes that for its parent's end."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self._directory)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            _command("postgres", "-D", str(self._data), *options), cwd=self._directory, stderr=subprocess.DEVNULL
        )
        ready = ["--host=127.0.0.1", f"--port={self.port}", f"--timeout={START_TIMEOUT_S:.0f}"]
        while subprocess.run(_command("pg_isready", *ready), capture_output=True, check=False).returncode != 0:
            assert self._process.poll() is None, "PostgreSQL did not start"

    def stop(self) -> None:
        """Ends it as a restart of the machine would: sessions are cut, data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def freeze(self) -> None:
        """It accepts connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # The parent first: while it stands still it starts none and buries none.
        os.kill(self._process.pid, number)
        for pid in children_of(self._process.pid):
            os.kill(pid, number)

    async def new_database(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        await execute(self.url(), f"CREATE DATABASE {name}")
        return self.url(name)


async def execute(url: str, statement: str) -> None:
    """Runs one statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _account() -> str:
    """Who it runs as: us, or `postgres` (else `nobody`) when we are root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"


def _command(program: str, *arguments: str) -> list[str]:
    found = shutil.which(program) or str(_packaged(program))
    identity = [f"--reuid={_account()}", f"--regid={_group()}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=SIGQUIT", *identity, found, *arguments]


def _group() -> int:
    return pwd.getpwnam(_account()).pw_gid


def _packaged(program: str) -> Path:
    """Debian keeps a server's programs out of the path, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: float(path.parts[4]))
    assert found, f"{program} is missing: run scripts/require-tools test"
    return found[-1]
