"""What the commands that ask the running server share: options, the way to the server, and how answers are printed."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tallylight.cli.local_api import LocalApi
from tallylight.config import load_settings
from tallylight.paths import DataDirectory

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The server's data directory (also TALLYLIGHT_DATA_DIR).")
]


def local_api(data_dir: Path | None) -> LocalApi:
    """The running server's API, as the owner of its data directory. Use it as a context manager."""
    return LocalApi(DataDirectory(load_settings(data_dir).data_dir))


def print_json(answer: Any) -> None:
    typer.echo(json.dumps(answer, indent=2))


def moment(text: str | None) -> str:
    """A moment of an answer, in this computer's time; nothing for none."""
    return "" if text is None else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
