"""Servers of others with the files of `deploy/`, changed only in names, ports and secrets."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support import processes
from support.server import REPOSITORY
from support.waiting import wait_until

DEPLOY = REPOSITORY / "deploy"
EXAMPLE_HOST = "live.example.org"
# Servers live in sbin, which is not on everybody's path.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_LIMIT_S = 15.0
_STOP_LIMIT_S = 10.0


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for `EXAMPLE_HOST` that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, EXAMPLE_HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(EXAMPLE_HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "certificate.pem", directory / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


def write_nginx_configuration(directory: Path, https_port: int, http_port: int, server_port: int) -> Path:
    """`deploy/nginx.conf` inside the few lines that a whole configuration needs."""
    certificate, key = write_certificate(directory)
    site = replaced(
        (DEPLOY / "nginx.conf").read_text(),
        {
            "listen 80;": f"listen 127.0.0.1:{http_port};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{https_port} ssl http2;",
            "    listen [::]:80;\n": "",
            "    listen [::]:443 ssl http2;\n": "",
            "127.0.0.1:8080": f"127.0.0.1:{server_port}",
            f"/etc/letsencrypt/live/{EXAMPLE_HOST}/fullchain.pem": str(certificate),
            f"/etc/letsencrypt/live/{EXAMPLE_HOST}/privkey.pem": str(key),
        },
    )
    paths = "".join(
        f"    {kind}_temp_path {directory / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {directory / 'nginx.pid'};\nerror_log {directory / 'error.log'};\n"
        f"events {{}}\nhttp {{\n    access_log off;\n{paths}\n{site}\n}}\n"
    )
    return configuration


def write_caddy_configuration(directory: Path, https_port: int, server_port: int) -> Path:
    """`deploy/Caddyfile` without what asks the outside for a certificate."""
    certificate, key = write_certificate(directory)
    head = f"https://{EXAMPLE_HOST}:{https_port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
    site = replaced(
        (DEPLOY / "Caddyfile").read_text(),
        {f"{EXAMPLE_HOST} {{": head, "127.0.0.1:8080": f"127.0.0.1:{server_port}"},
    )
    configuration = directory / "Caddyfile"
    configuration.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return configuration


def environment(home: Path) -> dict[str, str]:
    """What the programs need, and nothing of ours."""
    return {"HOME": str(home), "PATH": _PATH}


@asynccontextmanager
async def running(command: Sequence[str], port: int, directory: Path) -> AsyncIterator[None]:
    """The program while it listens on `port`."""
    log = directory / "output.log"
    program = shutil.which(command[0], path=_PATH)
    assert program is not None, f"{command[0]} is not installed"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - a file descriptor and a fork
            [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(directory)
        )

    async def listens() -> bool:
        assert process.poll() is None, f"{command[0]} ended:\n{log.read_text()}"
        return not processes.is_port_free(port)

    try:
        await wait_until(listens, _START_LIMIT_S, lambda: f"{command[0]} to listen\n{log.read_text()}")
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, _STOP_LIMIT_S)


def replaced(text: str, replacements: dict[str, str]) -> str:
    """A shipped file with each of these texts, all of which it must have, exchanged."""
    for old, new in replacements.items():
        assert old in text, f"{old!r} is not in the shipped file any more"
        text = text.replace(old, new)
    return text
