"""The `tallylight` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tallylight import __version__
from tallylight.cli import streams, tokens, users, webhooks
from tallylight.config_file import CONFIG_VARIABLE
from tallylight.errors import TallylightError

app = typer.Typer(
    name="tallylight",
    help="Self-hosted live streaming: from OBS, ffmpeg or a webcam to every browser.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold keys
)
app.add_typer(streams.app, name="streams")
app.add_typer(users.app, name="users")
app.add_typer(tokens.app, name="tokens")
app.add_typer(webhooks.app, name="webhooks")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where everything is kept (also TALLYLIGHT_DATA_DIR).", show_default="./data"),
]


def _use_config(path: Path | None) -> Path | None:
    """For this process and all that it starts."""
    if path is not None:
        os.environ[CONFIG_VARIABLE] = str(path.absolute())
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help=f"The configuration file (also {CONFIG_VARIABLE}).",
        show_default="./tallylight.toml, /etc/tallylight/tallylight.toml",
        callback=_use_config,
    ),
]


@app.command()
def serve(data_dir: DataDir = None, _config: ConfigFile = None) -> None:
    """Run the server: media engine, control plane and pages."""
    from tallylight.cli.serve import run_server  # noqa: PLC0415 - the other commands start faster without it

    run_server(data_dir)


@app.command()
def demo(data_dir: DataDir = None, _config: ConfigFile = None) -> None:
    """Run the server and put a moving test card on air: a picture with no camera and no OBS."""
    from tallylight.cli.serve import run_demo  # noqa: PLC0415

    run_demo(data_dir)


@app.command()
def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    as_reference: Annotated[
        bool, typer.Option("--reference", help="Print the commented file that lists every setting with its default.")
    ] = False,
    data_dir: DataDir = None,
    _config: ConfigFile = None,
) -> None:
    """Show the settings that apply, and where each came from."""
    from tallylight.cli.config import show_config  # noqa: PLC0415

    show_config(data_dir, as_json=as_json, as_reference=as_reference)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"tallylight {__version__}")


def main() -> None:
    """Run the command line; an error is two sentences, not a traceback."""
    try:
        app()
    except TallylightError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]error[/] ({error.code}): ", end="")
        console.print(error.message, markup=False)
        if error.fix is not None:
            console.print("[bold]fix:[/] ", end="")
            console.print(error.fix, markup=False)
        sys.exit(1)
