"""The `tallylight` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tallylight import __version__
from tallylight.cli import streams
from tallylight.errors import TallylightError

app = typer.Typer(
    name="tallylight",
    help="Self-hosted live streaming: from OBS, ffmpeg or a webcam to every browser.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold keys
)
app.add_typer(streams.app, name="streams")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where everything is kept (also TALLYLIGHT_DATA_DIR).", show_default="./data"),
]


@app.command()
def serve(data_dir: DataDir = None) -> None:
    """Run the server: media engine, control plane and pages."""
    from tallylight.cli.serve import run_server  # noqa: PLC0415 - the other commands start faster without it

    run_server(data_dir)


@app.command()
def demo(data_dir: DataDir = None) -> None:
    """Run the server and put a moving test card on air: a picture with no camera and no OBS."""
    from tallylight.cli.serve import run_demo  # noqa: PLC0415

    run_demo(data_dir)


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
