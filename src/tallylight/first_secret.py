"""What the first start makes up, a stream key and a password: each in a private file until it is changed."""

from dataclasses import dataclass
from pathlib import Path

from tallylight.paths import write_private

# A newcomer has something to stream to, and somebody to sign in as.
FIRST_STREAM = "main"
FIRST_USER = "admin"


@dataclass(frozen=True)
class FirstSecret:
    """One such file: whose secret it is on the first line, the secret on the second.

    Attributes:
        owner: What the first line names: `stream` or `user`.
        kind: What the second line holds: `key` or `password`.
    """

    file: Path
    owner: str
    kind: str

    def write(self, name: str, secret: str) -> None:
        write_private(self.file, f"{self.owner}: {name}\n{self.kind}: {secret}\n")

    def read(self, name: str) -> str | None:
        """The secret of this stream or user, while it is still valid."""
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        return fields.get(self.kind) if fields.get(self.owner) == name else None

    def forget(self, name: str) -> None:
        """Removes the file when it holds the secret of this stream or user."""
        if self.read(name) is not None:
            self.file.unlink(missing_ok=True)


def first_key(file: Path) -> FirstSecret:
    """The key of the first stream."""
    return FirstSecret(file, "stream", "key")


def first_password(file: Path) -> FirstSecret:
    """The generated password of the first administrator."""
    return FirstSecret(file, "user", "password")
