"""Where things are inside the data directory. Everything in it is private to its owner."""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tallylight.errors import StartError

# `sun_path` holds 108 bytes on Linux and 104 on macOS, with the closing zero (unix(7)).
MAX_SOCKET_PATH_BYTES = 103
# The longest file name we put into the run directory; leaves room for one socket per engine worker.
LONGEST_SOCKET_NAME = "engine-worker-99.sock"


@dataclass(frozen=True)
class DataDirectory:
    """Paths below one data directory."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "tallylight.sqlite3"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin-token"

    @property
    def internal_token(self) -> Path:
        """The bearer token of the internal listener."""
        return self.root / "internal-token"

    def processor_key(self, stream: str) -> Path:
        """The key of a stream that a processor on this host made for its result."""
        return self.root / "processors" / f"{stream}.key"

    @property
    def secret_key(self) -> Path:
        """Opens the secrets that the database keeps encrypted. A copy of the database is worth nothing without it."""
        return self.root / "secret-key"

    @property
    def first_run(self) -> Path:
        """The key of the stream made at the first start, until it is rotated or deleted."""
        return self.root / "first-run.txt"

    @property
    def first_admin(self) -> Path:
        """The generated password of the first administrator, until it is changed."""
        return self.root / "first-admin.txt"

    @property
    def posters(self) -> Path:
        """Still pictures of streams, as `NAME.jpg`."""
        return self.root / "posters"

    @property
    def playback_policy(self) -> Path:
        """Who may play which stream, kept by the engine for its next start."""
        return self.root / "playback-policy.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def run(self) -> Path:
        """Sockets and the engine's configuration. A link to a short directory when this path is too long for one."""
        return self.root / "run"

    @property
    def engine_socket(self) -> Path:
        return self.run.resolve() / "engine.sock"

    @property
    def control_socket(self) -> Path:
        return self.run.resolve() / "control.sock"

    @property
    def engine_config(self) -> Path:
        return self.run / "engine.json"


def prepare(root: Path) -> DataDirectory:
    """Makes the data directory, private, and checks that it can be written.

    Raises:
        StartError: `data_dir_not_writable`.
    """
    data = DataDirectory(root)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise StartError(
            "data_dir_not_writable",
            f"The data directory {root} cannot be used: {os.strerror(error.errno or 0)}.",
            "Set TALLYLIGHT_DATA_DIR to a directory that this user may write.",
        ) from error
    return data


def prepare_run_directory(data: DataDirectory) -> None:
    """Makes `run/` for sockets. Call with the lock held: it removes what a killed server left behind."""
    if data.run.is_symlink():
        # Never trust an old link: another user may have taken the directory it names since.
        data.run.unlink()
    if not data.run.exists():
        _make_run_directory(data)
    data.run.resolve().chmod(0o700)
    remove_sockets(data)


def remove_sockets(data: DataDirectory) -> None:
    """Removes sockets and the engine's configuration; a missing one is fine."""
    for path in (data.engine_socket, data.control_socket, data.engine_config):
        path.unlink(missing_ok=True)


def remove_run_directory(data: DataDirectory) -> None:
    """At the end: the sockets, and the short directory if there is one."""
    remove_sockets(data)
    if data.run.is_symlink():
        target = data.run.resolve()
        data.run.unlink()
        if not any(target.iterdir()):
            target.rmdir()


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read; readers see the old or the new text, never half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _make_run_directory(data: DataDirectory) -> None:
    longest = os.fsencode(data.root.resolve() / "run" / LONGEST_SOCKET_NAME)
    if len(longest) <= MAX_SOCKET_PATH_BYTES:
        data.run.mkdir(mode=0o700)
        return
    # mkdtemp makes it 0700 under a name nobody could have taken.
    data.run.symlink_to(tempfile.mkdtemp(prefix="tallylight-"))
