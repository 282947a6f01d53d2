"""`tallylight config`: the settings that apply."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallylight.config import Effective, effective_settings, load_settings
from tallylight.config_file import find_config_file, reference


def show_config(data_dir: Path | None, *, as_json: bool, as_reference: bool) -> None:
    """Prints every setting with its value and its origin, or the commented reference file."""
    if as_reference:
        typer.echo(reference(), nl=False)
        return
    settings = effective_settings(load_settings(data_dir), () if data_dir is None else ("data_dir",))
    if as_json:
        typer.echo(json.dumps({each.name: {"value": _shown(each), "from": each.origin} for each in settings}, indent=2))
        return
    table = Table("Setting", "Value", "From")
    for each in settings:
        style = "dim" if each.origin == "default" else ""
        value = _shown(each)
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(each.name, Text(text), Text(each.origin), style=style)
    console = Console()
    console.print(table)
    path = find_config_file()
    console.print(Text("no configuration file" if path is None else f"configuration file: {path}"))


def _shown(setting: Effective) -> object:
    return "(hidden)" if setting.secret else setting.value
