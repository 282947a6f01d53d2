"""What must be true before anything is started."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tallylight import __version__
from tallylight.config import Settings
from tallylight.errors import StartError

ENGINE_NAME = "tallylight-engine"
# A server that was killed takes its children with it within this time (they see their standard input close).
LEFTOVER_GRACE_S = 3.0
_POLL_S = 0.05
# A program that does nothing but print; a cold disk adds most of it.
_VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class PortUse:
    """One port that we need."""

    variable: str
    purpose: str
    kind: socket.SocketKind
    address: str
    port: int


def needed_ports(settings: Settings) -> list[PortUse]:
    """Every port of this configuration."""
    bind = str(settings.bind)
    return [
        PortUse("TALLYLIGHT_HTTP_PORT", "pages and HLS", socket.SOCK_STREAM, bind, settings.http_port),
        PortUse("TALLYLIGHT_WEBRTC_PORT", "WebRTC media", socket.SOCK_DGRAM, bind, settings.webrtc_port),
        PortUse("TALLYLIGHT_RTMP_PORT", "RTMP", socket.SOCK_STREAM, bind, settings.rtmp_port),
        PortUse(
            "TALLYLIGHT_INTERNAL_PORT", "the internal listener", socket.SOCK_STREAM, "127.0.0.1", settings.internal_port
        ),
    ]


def check_ports(settings: Settings, grace_s: float = 0.0) -> None:
    """Tries every port.

    Args:
        grace_s: How long a taken port may still become free (after a server that was killed).

    Raises:
        StartError: `port_in_use`, `port_not_allowed` or `address_not_available`.
    """
    deadline = time.monotonic() + grace_s
    for use in needed_ports(settings):
        while (problem := _problem_with(use)) is not None:
            if problem.code != "port_in_use" or time.monotonic() >= deadline:
                raise problem
            time.sleep(_POLL_S)


def _problem_with(use: PortUse) -> StartError | None:
    family = socket.AF_INET6 if ":" in use.address else socket.AF_INET
    with socket.socket(family, use.kind) as probe:
        if use.kind is socket.SOCK_STREAM:
            # As the engine does: connections of an earlier run in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((use.address, use.port))
        except OSError as error:
            return _refusal(use, error)
    return None


def _refusal(use: PortUse, error: OSError) -> StartError:
    protocol = "tcp" if use.kind is socket.SOCK_STREAM else "udp"
    where = f"{protocol} port {use.port} of {use.address} ({use.purpose})"
    match error.errno:
        case errno.EADDRINUSE:
            return StartError("port_in_use", f"Another program uses {where}.", f"Stop it, or set {use.variable}.")
        case errno.EACCES:
            return StartError(
                "port_not_allowed", f"This user may not use {where}.", f"Set {use.variable} to a port above 1023."
            )
        case errno.EADDRNOTAVAIL:
            return StartError(
                "address_not_available",
                f"This host has no address {use.address}.",
                "Set TALLYLIGHT_BIND to one of its addresses, or to 0.0.0.0 for all.",
            )
        case number:
            return StartError(
                "port_not_usable", f"The {where} cannot be used: {os.strerror(number or 0)}.", f"Set {use.variable}."
            )


def find_engine(settings: Settings) -> Path:
    """The engine's binary: the one that was set, the one installed beside this Python, or the one on PATH.

    Raises:
        StartError: `engine_missing`.
    """
    if settings.engine_binary is not None:
        if os.access(settings.engine_binary, os.X_OK) and settings.engine_binary.is_file():
            return settings.engine_binary.absolute()
        raise StartError(
            "engine_missing",
            f"TALLYLIGHT_ENGINE_BINARY names {settings.engine_binary}, which is not a program.",
            "Correct it, or unset it to use the installed engine.",
        )
    # Not resolved: the interpreter of a virtual environment is a link out of it.
    beside = Path(sys.executable).parent / ENGINE_NAME
    found = beside if os.access(beside, os.X_OK) else shutil.which(ENGINE_NAME)
    if found is None:
        raise StartError(
            "engine_missing",
            f"The media engine ({ENGINE_NAME}) is not installed.",
            "Run `make build`, or set TALLYLIGHT_ENGINE_BINARY.",
        )
    return Path(found)


def check_engine_version(binary: Path) -> None:
    """Asks the engine which one it is: another version, or another program, would fail later and in riddles.

    Raises:
        StartError: `engine_mismatch`.
    """
    expected = f"{ENGINE_NAME} {__version__}"
    try:
        asked = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except OSError:
        return  # starting it fails in the same way, and says why
    except subprocess.TimeoutExpired:
        said = "nothing"
    else:
        said = repr(asked.stdout.strip()[:80]) if asked.stdout.strip() else "nothing"
        if asked.stdout.strip() == expected:
            return
    raise StartError(
        "engine_mismatch",
        f"{binary} is not the engine of this Tallylight: asked for its version it says {said} instead of '{expected}'.",
        "Run `make build`, or unset TALLYLIGHT_ENGINE_BINARY.",
    )
