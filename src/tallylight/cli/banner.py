"""What a person needs to know once the server is up."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from tallylight.config import Settings
from tallylight.first_secret import FIRST_STREAM, FIRST_USER, first_key, first_password
from tallylight.paths import DataDirectory


@dataclass(frozen=True)
class Banner:
    """The lines of the banner."""

    watch: str
    studio: str
    rtmp_server: str
    key: str
    sign_in: str
    account: str | None
    other_devices: str | None
    test_card: str | None = None


def make_banner(
    settings: Settings, data: DataDirectory, *, first_start: bool, show_key: bool, test_card: str | None = None
) -> Banner:
    """Collects the addresses.

    Args:
        first_start: Whether to print the first administrator's password, which is done this once.
        show_key: Whether the key of the first start may be printed; a service's log should not repeat it.
        test_card: Name of the stream that the demo publishes.
    """
    host = host_for_people(settings)
    pages = f"http://{_in_url(host)}:{settings.http_port}"
    bootstrap = settings.bootstrap_streams
    name = bootstrap[0].name if bootstrap else FIRST_STREAM
    known_key = None if bootstrap else first_key(data.first_run).read(FIRST_STREAM)
    if bootstrap:
        key = "as set in TALLYLIGHT_BOOTSTRAP_STREAMS"
    elif known_key is None:
        key = f"shown when it was made; for a new one: tallylight streams rotate-key {name}"
    elif show_key:
        key = known_key
    else:
        key = f"in {data.first_run}"
    lan = _lan_address() if settings.bind.is_unspecified else None
    return Banner(
        watch=f"{pages}/watch/{name}",
        studio=f"{pages}/studio" + (f"#key={quote(known_key)}" if known_key and show_key else ""),
        rtmp_server=f"rtmp://{_in_url(host)}:{settings.rtmp_port}/live",
        key=key,
        sign_in=f"{pages}/sign-in",
        account=_first_account(settings, data, show_password=first_start),
        other_devices=None if lan is None else f"http://{_in_url(lan)}:{settings.http_port}/",
        test_card=None if test_card is None else f"{pages}/watch/{test_card}",
    )


def print_banner(banner: Banner) -> None:
    """Prints it to standard output. Addresses are never broken over lines, so that they can be clicked and copied."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    if banner.test_card is not None:
        table.add_row("Test card", banner.test_card)
    table.add_row("Watch", banner.watch)
    table.add_row("Studio", banner.studio)
    table.add_row("OBS server", banner.rtmp_server)
    table.add_row("OBS key", banner.key)
    table.add_row("Sign in", banner.sign_in)
    if banner.account is not None:
        table.add_row("Account", banner.account)
    if banner.other_devices is not None:
        table.add_row("Other devices", banner.other_devices)
    widest = max(len(value) for value in vars(banner).values() if value is not None)
    console = Console(highlight=False)
    # A narrow terminal gets plain lines: a frame would break the addresses.
    console.width = max(console.width, widest + 24)
    title = "[bold red]●[/] [bold]Tallylight[/] is up. Ctrl-C ends it."
    console.print(Panel(table, title=title, title_align="left", expand=False))


def _first_account(settings: Settings, data: DataDirectory, *, show_password: bool) -> str | None:
    """How to sign in the first time; None once that password was changed."""
    password = first_password(data.first_admin).read(FIRST_USER)
    if password is not None:
        return f"{FIRST_USER}, password {password if show_password else f'in {data.first_admin}'}"
    if show_password and settings.admin_password is not None:
        return f"{FIRST_USER}, password as set in TALLYLIGHT_ADMIN_PASSWORD"
    return None


def host_for_people(settings: Settings) -> str:
    """The name or address of this server in addresses that a person opens on this host."""
    if settings.bind.is_unspecified:
        # Browsers allow cameras on localhost without TLS.
        return "localhost"
    return str(settings.bind)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _lan_address() -> str | None:
    """This host's address as its neighbours see it. Sends nothing: connecting a UDP socket asks only for the route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address (RFC 5737)
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if ipaddress.ip_address(address).is_loopback else address
