"""`tallylight.toml`: where it is looked for, and what it says. The one in this package lists every setting."""

import difflib
import os
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from tallylight.errors import StartError

CONFIG_VARIABLE = "TALLYLIGHT_CONFIG"
# The first that exists is read; a file named by `--config` or the variable must exist.
PLACES = (Path("tallylight.toml"), Path("/etc/tallylight/tallylight.toml"))
# A page of settings; anything beyond is another file.
MAX_BYTES = 1 << 20


def find_config_file() -> Path | None:
    """The file that applies, or none.

    Raises:
        StartError: `config_missing`, the file that was asked for does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise StartError(
                "config_missing", f"There is no configuration file {path}.", "Correct the path, or leave it out."
            )
        return path
    return next((place.absolute() for place in PLACES if place.is_file()), None)


def read_config_file(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """The settings in a file.

    Args:
        known: Names of all settings; another name in the file is a mistake.

    Raises:
        StartError: `config_invalid`, the file cannot be read, is no TOML, or names a setting that does not exist.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise _invalid(f"{path} is larger than {MAX_BYTES} bytes")
        values = tomllib.loads(text.decode())
    except OSError as error:
        raise _invalid(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(f"{path} is not TOML: {error}") from error
    names = list(known)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; {close[0]} was probably meant" if close else ""
            raise _invalid(f"{path} names {name}, which is no setting{hint}")
    return values


def reference() -> str:
    """The commented file that lists every setting with its default."""
    return files("tallylight").joinpath("tallylight.toml").read_text(encoding="utf-8")


def _invalid(problem: str) -> StartError:
    return StartError("config_invalid", f"The configuration is not valid: {problem}.", "Correct it and start again.")
