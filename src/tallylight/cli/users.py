"""`tallylight users`: speaks with the running server over its Unix socket, as the owner of the data directory."""

import sys
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from tallylight.accounts.identity import Role
from tallylight.accounts.passwords import new_password
from tallylight.cli.answers import DataDir, Json, local_api, moment, print_json

app = typer.Typer(help="List, make, change and delete the people who may sign in.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
ROLES = ", ".join(get_args(Role))
MadeUp = Annotated[bool, typer.Option("--generate", help="Make a password up, and show it this once.")]


@app.command("list")
def list_users(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show every user."""
    with local_api(data_dir) as api:
        answer = api.get("/api/users")
    if as_json:
        print_json(answer)
        return
    table = Table("Name", "Role", "Made", "Last seen", "State")
    for user in answer["users"]:
        state = "[bold red]disabled[/]" if user["disabled"] else ""
        table.add_row(user["name"], user["role"], moment(user["created_at"]), moment(user["last_seen_at"]), state)
    Console().print(table)


@app.command("create")
def create_user(
    name: Name,
    role: Annotated[str, typer.Option(help=f"What the user may do: {ROLES}.")] = "viewer",
    ask: Annotated[bool, typer.Option("--ask-password", help="Ask for a password instead of making one up.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a user, with a password that is made up and shown this once."""
    body = {"name": name, "role": role} | ({"password": _ask_password()} if ask else {})
    with local_api(data_dir) as api:
        answer = api.post("/api/users", body)
    if as_json:
        print_json(answer)
    elif answer["password"] is None:
        typer.echo(f"made {name}")
    else:
        _print_password(name, answer["password"])


@app.command("set-password")
def set_password(name: Name, generate: MadeUp = False, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Give a user another password: asked for, read from a pipe, or made up. Ends their sessions and tokens."""
    password = new_password() if generate else _ask_password()
    answer = _change(name, {"password": password}, data_dir)
    if as_json:
        print_json(answer | {"password": password if generate else None})
    elif generate:
        _print_password(name, password)
    else:
        typer.echo(f"changed {name}")


@app.command("set-role")
def set_role(
    name: Name,
    role: Annotated[str, typer.Argument(help=f"What the user may do: {ROLES}.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Give a user another role; what that takes away ends at once."""
    _report(_change(name, {"role": role}, data_dir), as_json)


@app.command("disable")
def disable_user(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Let a user in no more, end their sessions and tokens, and take their streams off the air."""
    _report(_change(name, {"disabled": True}, data_dir), as_json)


@app.command("enable")
def enable_user(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Let a user in again."""
    _report(_change(name, {"disabled": False}, data_dir), as_json)


@app.command("delete")
def delete_user(name: Name, data_dir: DataDir = None) -> None:
    """Delete a user. Their streams stay, off the air, with keys that nobody has."""
    with local_api(data_dir) as api:
        api.delete(f"/api/users/{name}")
    typer.echo(f"deleted {name}")


def _change(name: str, change: dict[str, Any], data_dir: DataDir) -> Any:
    with local_api(data_dir) as api:
        return api.patch(f"/api/users/{name}", change)


def _report(user: Any, as_json: bool) -> None:
    if as_json:
        print_json(user)
    else:
        typer.echo(f"{user['name']}: {user['role']}{', disabled' if user['disabled'] else ''}")


def _ask_password() -> str:
    """Never an argument: those are in the list of processes and in the shell's history."""
    if sys.stdin.isatty():
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    return sys.stdin.readline().rstrip("\r\n")


def _print_password(name: str, password: str) -> None:
    typer.echo(f"user:     {name}\npassword: {password}\nThe password is not shown again.")
