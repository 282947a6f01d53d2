"""The engine's configuration file (docs/engine-api.md)."""

import json
from importlib.resources import files
from pathlib import Path

from tallylight.config import Settings, socket_address
from tallylight.paths import DataDirectory, write_private


def web_directory() -> Path:
    """The built pages, which travel inside this package."""
    return Path(str(files("tallylight"))) / "web"


def write_engine_config(settings: Settings, data: DataDirectory) -> Path:
    """Writes the file for this start; it may hold TURN credentials, so it is private."""
    config = {
        "http_bind": socket_address(settings.bind, settings.http_port),
        "webrtc_bind": socket_address(settings.bind, settings.webrtc_port),
        "rtmp_bind": socket_address(settings.bind, settings.rtmp_port),
        "public_ips": [str(address) for address in settings.public_ips],
        "ice_servers": [server.model_dump() for server in settings.ice_servers],
        "engine_socket": str(data.engine_socket),
        "control_socket": str(data.control_socket),
        "policy_file": str(data.playback_policy),
        "trusted_proxies": [str(network) for network in settings.trusted_proxies],
        "web_dir": str(web_directory()),
        "exit_when_stdin_closes": True,
        "audit_nonces": settings.audit_nonces,
    }
    write_private(data.engine_config, json.dumps(config, indent=1) + "\n")
    return data.engine_config
