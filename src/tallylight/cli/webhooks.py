"""`tallylight webhooks`: speaks with the running server over its Unix socket, as the owner of the data directory."""

from datetime import datetime
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallylight.cli.answers import DataDir, Json, local_api, print_json
from tallylight.webhooks.messages import EventType

app = typer.Typer(help="List, make, test and delete webhooks, and read what was sent.", no_args_is_help=True)

EVENT_TYPES: tuple[str, ...] = get_args(EventType)
STYLES = {"delivered": "green", "failed": "bold red", "pending": "yellow"}

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as `list` shows it.")]


@app.command("list")
def list_webhooks(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show every webhook, and what became of its last message."""
    with local_api(data_dir) as api:
        answer = api.get("/api/webhooks")
    if as_json:
        print_json(answer)
        return
    table = Table("Id", "Address", "Stream", "Events", "Owner", "State", "Last message")
    for webhook in answer["webhooks"]:
        table.add_row(*_webhook_row(webhook))
    Console().print(table)


@app.command("create")
def create_webhook(
    url: Annotated[str, typer.Argument(help="Where messages are sent: https://… or http://…")],
    event: Annotated[
        list[str] | None,
        typer.Option(help=f"What to tell, again for each: {', '.join(EVENT_TYPES)}.", show_default="all of them"),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Only what happens on this stream.", show_default="all streams")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a webhook, and show the secret that signs its messages this once."""
    with local_api(data_dir) as api:
        answer = api.post("/api/webhooks", {"url": url, "events": event or list(EVENT_TYPES), "stream": stream})
    if as_json:
        print_json(answer)
        return
    typer.echo(f"webhook: {answer['id']}\nsecret:  {answer['secret']}\nThe secret is not shown again.")


@app.command("delete")
def delete_webhook(webhook_id: WebhookId, data_dir: DataDir = None) -> None:
    """Delete a webhook with the log of its messages."""
    with local_api(data_dir) as api:
        api.delete(f"/api/webhooks/{webhook_id}")
    typer.echo(f"deleted {webhook_id}")


@app.command("test")
def send_test(webhook_id: WebhookId, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Send a message of type webhook.test; `deliveries` tells what became of it."""
    with local_api(data_dir) as api:
        answer = api.post(f"/api/webhooks/{webhook_id}/test")
    if as_json:
        print_json(answer)
        return
    typer.echo(f"sending {answer['id']}")


@app.command("deliveries")
def list_deliveries(
    webhook_id: WebhookId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show what was sent to a webhook and what waits, newest first."""
    with local_api(data_dir) as api:
        answer = api.get(f"/api/webhooks/{webhook_id}/deliveries", limit=limit)
    if as_json:
        print_json(answer)
        return
    table = Table("Message", "Event", "Stream", "Created", "Status", "Attempts", "Last answer", "Next attempt")
    for delivery in answer["deliveries"]:
        table.add_row(*_delivery_row(delivery))
    Console().print(table)


def _webhook_row(webhook: Any) -> list[Text]:
    last = webhook["last_delivery"]
    return [
        Text(webhook["id"]),
        Text(webhook["url"], overflow="fold"),
        Text(webhook["stream"] or "all"),
        Text("\n".join(webhook["events"])),
        Text(webhook["owner"] or ""),
        Text("on", "green") if webhook["enabled"] else Text("off", "dim"),
        Text("none", "dim") if last is None else _status(last).append(f" {_time(last['created_at'])}", "default"),
    ]


def _delivery_row(delivery: Any) -> list[Text]:
    attempts = delivery["attempts"]
    return [
        Text(delivery["id"]),
        Text(delivery["event"]),
        Text(delivery["stream"] or ""),
        Text(_time(delivery["created_at"])),
        _status(delivery),
        Text(str(len(attempts)), justify="right"),
        Text(str(attempts[-1]["status_code"] or attempts[-1]["error"]) if attempts else ""),
        Text(_time(delivery["next_attempt_at"])),
    ]


def _status(delivery: Any) -> Text:
    return Text(delivery["status"], STYLES[delivery["status"]])


def _time(moment: str | None) -> str:
    return "" if moment is None else datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
