"""The generated password of the first administrator: in a private file until it is changed, so that it can be found."""

from pathlib import Path

from tallylight.accounts.users import FIRST_USER
from tallylight.paths import write_private


def write_first_password(file: Path, name: str, password: str) -> None:
    write_private(file, f"user: {name}\npassword: {password}\n")


def read_first_password(file: Path, name: str = FIRST_USER) -> str | None:
    """The password from the first start, while it is still valid."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return fields.get("password") if fields.get("user") == name else None


def forget_first_password(file: Path, name: str) -> None:
    """Removes the file when it holds this user's password."""
    if read_first_password(file, name) is not None:
        file.unlink(missing_ok=True)
