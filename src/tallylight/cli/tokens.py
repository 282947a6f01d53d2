"""`tallylight tokens`: speaks with the running server over its Unix socket, as the owner of the data directory."""

from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallylight.accounts.identity import Scope
from tallylight.cli.answers import DataDir, Json, local_api, moment, print_json

app = typer.Typer(help="List, make and revoke the tokens by which programs act for users.", no_args_is_help=True)

SCOPES = ", ".join(get_args(Scope))


@app.command("list")
def list_tokens(
    user: Annotated[str | None, typer.Option(help="Only this user's.", show_default="everybody's")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show tokens, without their secrets."""
    with local_api(data_dir) as api:
        names = [user] if user is not None else [known["name"] for known in api.get("/api/users")["users"]]
        tokens = [token for name in names for token in api.get("/api/tokens", user=name)["tokens"]]
    if as_json:
        print_json({"tokens": tokens})
        return
    table = Table("Id", "Name", "User", "Scopes", "Made", "Last used", "Expires")
    for token in tokens:
        moments = [moment(token[field]) for field in ("created_at", "last_used_at", "expires_at")]
        table.add_row(token["id"], Text(token["name"]), token["user"], " ".join(token["scopes"]), *moments)
    Console().print(table)


@app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    user: Annotated[str, typer.Option(help="For whom it acts.")],
    scope: Annotated[list[str], typer.Option(help=f"What it may do, again for each: {SCOPES}.")],
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="How long it is valid.", show_default="until it is revoked")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a token, and show it this once."""
    body = {"name": name, "scopes": scope, "expires_in_days": expires_in_days}
    with local_api(data_dir) as api:
        answer = api.post("/api/tokens", body, user=user)
    if as_json:
        print_json(answer)
        return
    typer.echo(f"id:    {answer['id']}\ntoken: {answer['token']}\nThe token is not shown again.")


@app.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `list` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a token at once."""
    with local_api(data_dir) as api:
        api.delete(f"/api/tokens/{token_id}")
    typer.echo(f"revoked {token_id}")
