"""`tallylight streams`: speaks with the running server over its Unix socket, as the owner of the data directory."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tallylight.cli.answers import DataDir, Json, local_api, print_json

app = typer.Typer(help="List, make and delete streams, and change their keys.", no_args_is_help=True)

TITLE_HELP = "What viewers read above the picture."
DESCRIPTION_HELP = "What viewers read below the picture."
VISIBILITY_HELP = "Who may watch: public, unlisted (who knows the address) or private."

Name = Annotated[str, typer.Argument(help="The stream's name.")]
Title = Annotated[str, typer.Option(help=TITLE_HELP)]
Description = Annotated[str, typer.Option(help=DESCRIPTION_HELP)]
Visible = Annotated[str, typer.Option("--visibility", help=VISIBILITY_HELP)]
Owner = Annotated[str | None, typer.Option(help="The user whose stream it is.", show_default="nobody's")]


@app.command("list")
def list_streams(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show every stream, and which are on air."""
    with local_api(data_dir) as api:
        answer = api.get("/api/streams")
    if as_json:
        print_json(answer)
        return
    table = Table("Name", "Title", "Visibility", "Owner", "Status", "Since", "Viewers", "Tracks")
    for stream in answer["streams"]:
        table.add_row(*_row(stream))
    Console().print(table)


@app.command("create")
def create_stream(
    name: Name,
    *,
    title: Title = "",
    description: Description = "",
    visibility: Visible = "public",
    owner: Owner = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a stream, and show its key this once."""
    body = {"name": name, "title": title, "description": description, "visibility": visibility}
    with local_api(data_dir) as api:
        answer = api.post("/api/streams", body)
        if owner is not None:
            api.patch(f"/api/streams/{name}", {"owner": owner})
    _print_key(answer, as_json)


@app.command("edit")
def edit_stream(
    name: Name,
    *,
    title: Annotated[str | None, typer.Option(help=TITLE_HELP)] = None,
    description: Annotated[str | None, typer.Option(help=DESCRIPTION_HELP)] = None,
    visibility: Annotated[str | None, typer.Option(help=VISIBILITY_HELP)] = None,
    owner: Owner = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Change what is given of a stream. Who watches one that becomes private is sent away.

    With another owner than before it has a new key, which rotate-key shows.
    """
    given = {"title": title, "description": description, "visibility": visibility, "owner": owner}
    with local_api(data_dir) as api:
        change = {field: value for field, value in given.items() if value is not None}
        answer = api.patch(f"/api/streams/{name}", change)
    if as_json:
        print_json(answer)
        return
    typer.echo(f"{answer['name']}: {answer['visibility']}, {answer['owner'] or 'nobody'}'s, {answer['title']!r}")


@app.command("delete")
def delete_stream(name: Name, data_dir: DataDir = None) -> None:
    """Delete a stream with its key, and take it off the air."""
    with local_api(data_dir) as api:
        api.delete(f"/api/streams/{name}")
    typer.echo(f"deleted {name}")


@app.command("rotate-key")
def rotate_key(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Give a stream a new key, and show it this once. Whoever publishes with the old one is cut."""
    with local_api(data_dir) as api:
        answer = api.post(f"/api/streams/{name}/rotate-key")
    _print_key(answer, as_json)


def _print_key(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    typer.echo(f"stream: {answer['name']}\nkey:    {answer['key']}\nThe key is not shown again.")


def _row(stream: Any) -> list[str]:
    on_air = stream["status"] == "ON_AIR"
    since = str(timedelta(seconds=int(stream["uptime_s"] or 0))) if on_air else ""
    tracks = ", ".join(track["codec"] for track in stream["tracks"])
    status = "[bold red]on air[/]" if on_air else "off air"
    whose = [stream["visibility"], stream["owner"] or ""]
    figures = [status, since, str(sum(stream["viewers"].values())), tracks]
    return [stream["name"], escape(stream["title"]), *whose, *figures]
