"""Nothing internal answers on the public port, however its path is written, directly or through the shipped proxies."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from support import processes
from support.proxies import (
    DEPLOY,
    EXAMPLE_HOST,
    environment,
    running,
    write_caddy_configuration,
    write_nginx_configuration,
)
from support.server import Server

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]

SPELLINGS = (
    "/internal",
    "/internal/",
    "/internal/health",
    "/internal/health/",
    "/internal/health?stream=main",
    "/internal/videoExpose",
    "/internal/stream-status/main",
    "//internal/health",
    "///internal///health",
    "/./internal/health",
    "/internal/./health",
    "/internal/../internal/health",
    "/%69nternal/health",
    "/%69%6e%74%65%72%6e%61%6c/health",
    "/%2569nternal/health",
    "/%2Finternal/health",
    "/internal%2Fhealth",
    "/internal%2fhealth",
    "/x/../internal/health",
    "/x/%2e%2e/internal/health",
    "/x/.%2e/internal/health",
    "/x/..%2finternal/health",
    "/x/..%5cinternal/health",
    "/x/..;/internal/health",
    "/api/../internal/health",
    "/api/%2e%2e/internal/health",
    "/api/..%2finternal%2fhealth",
    "/api//../internal/health",
    "/assets/../internal/health",
    "/hls/main/../../internal/health",
    "/whip/../internal/health",
    "/whep/sessions/../../internal/health",
    "/live/main/events/../../../internal/health",
    "/watch/..%2f..%2finternal/health",
    "/\\internal/health",
    "/%5Cinternal/health",
    "/internal\\health",
    "/internal;x=1/health",
    "/;/internal/health",
    "/internal%00/health",
    "/%00/internal/health",
    "/internal%20/health",
    "/internal./health",
    "/INTERNAL/health",
    "/Internal/Health",
    "/%C0%AFinternal/health",
    "/internal#/health",
    "/metrics",
    "//metrics",
    "/api/../metrics",
    "/%6detrics",
    "/engine/admission",
    "//engine/admission",
    "/api/../engine/admission",
    "/%65ngine/admission",
)
# Texts that only the internal listener writes.
NEEDLES = (b'"processes"', b'"consumers"', b"ftyp", b"# HELP", b'"allow"')

_ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY_CERTIFICATE.check_hostname = False
_ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True)
class Way:
    """One way for the outside to reach the server."""

    name: str
    port: int
    tls: bool
    host: str


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ways(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Way]]:
    nginx, caddy = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("caddy")
    nginx_port, redirect_port, caddy_port = (processes.free_port() for _ in range(3))
    nginx_file = write_nginx_configuration(nginx, nginx_port, redirect_port, server.http_port)
    caddy_file = write_caddy_configuration(caddy, caddy_port, server.http_port)
    caddy_command = ["caddy", "run", "--config", str(caddy_file), "--adapter", "caddyfile"]
    async with (
        running(["nginx", "-c", str(nginx_file)], nginx_port, nginx),
        running(caddy_command, caddy_port, caddy),
    ):
        yield [
            Way("direct", server.http_port, tls=False, host=f"127.0.0.1:{server.http_port}"),
            Way("nginx", nginx_port, tls=True, host=EXAMPLE_HOST),
            Way("caddy", caddy_port, tls=True, host=f"{EXAMPLE_HOST}:{caddy_port}"),
        ]


def targets(way: Way, server: Server) -> list[str]:
    """Every spelling, and the absolute forms that a careless front would follow (RFC 9112 section 3.2.2)."""
    authorities = (way.host, f"127.0.0.1:{server.internal_port}", f"localhost:{server.internal_port}", "internal")
    return [*SPELLINGS, *(f"http://{authority}/internal/health" for authority in authorities)]


def headers(way: Way, server: Server) -> list[dict[str, str]]:
    """What a liar would add; the right token does not help either."""
    token = {"Authorization": f"Bearer {server.internal_token}"}
    forged = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=localhost",
        "X-Original-URL": "/internal/health",
        "X-Rewrite-URL": "/internal/health",
        "X-HTTP-Method-Override": "GET",
    }
    other_host = {"Host": f"127.0.0.1:{server.internal_port}"}
    return [{"Host": way.host} | token, {"Host": way.host} | token | forged, other_host | token | forged]


ENOUGH_BYTES = 4096


async def ask(way: Way, method: str, target: str, fields: dict[str, str]) -> bytes:
    """One HTTP/1.1 request, byte for byte as written; the whole answer, or the first of it."""
    names = {"ssl": _ANY_CERTIFICATE, "server_hostname": EXAMPLE_HOST} if way.tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port, **names)  # type: ignore[arg-type]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    lines += ["Connection: close", "Content-Type: application/json", "Content-Length: 0", "", ""]
    try:
        writer.write("\r\n".join(lines).encode())
        answer = b""
        async with asyncio.timeout(10):
            # A tap would never end: its first bytes are enough.
            while len(answer) < ENOUGH_BYTES and (piece := await reader.read(65536)):
                answer += piece
        return answer
    finally:
        writer.close()


def assert_nothing_internal(where: str, status: int, answer: bytes) -> None:
    # Caddy answers for a host that it does not serve with 200 and nothing at all.
    nothing = answer.partition(b"\r\n\r\n")[2] == b""
    assert nothing or not (200 <= status < 300), f"{where}: answered {status}:\n{answer[:600]!r}"
    assert status < 500, f"{where}: answered {status}:\n{answer[:600]!r}"
    for needle in NEEDLES:
        assert needle not in answer, f"{where}: {needle!r} in\n{answer[:600]!r}"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_no_spelling_of_a_path_reaches_the_internal_routes(server: Server, ways: list[Way]) -> None:
    """`/internal/*` answers on no spelling, with forged addresses, in absolute form, nor through nginx and Caddy."""
    asked = 0
    for way in ways:
        for fields in headers(way, server):
            for target in targets(way, server):
                answer = await ask(way, "GET", target, fields)
                assert_nothing_internal(f"{way.name} {target} {fields['Host']}", status_of(answer), answer)
                asked += 1
        answer = await ask(way, "POST", "/engine/admission", headers(way, server)[0])
        assert_nothing_internal(f"{way.name} POST /engine/admission", status_of(answer), answer)
    assert asked >= 3 * 3 * len(SPELLINGS)


async def test_nor_over_http_2(server: Server, ways: list[Way]) -> None:
    """The same by HTTP/2, directly with prior knowledge and through the proxies by ALPN."""
    for way in ways:
        for target in SPELLINGS:
            if "\\" in target or "#" in target:
                continue  # curl does not send them as written
            version, status, answer = await asyncio.to_thread(_curl_by_http_2, way, target, server.internal_token)
            assert version == "2", f"{way.name} {target}: answered by HTTP/{version}"
            assert_nothing_internal(f"{way.name} {target} by HTTP/2", status, answer)


def _curl_by_http_2(way: Way, target: str, token: str) -> tuple[str, int, bytes]:
    """The version and status of the answer, and all of it. One process each: curl 7.88 fails on its second request."""
    scheme, flags = ("https", ["--insecure", "--http2"]) if way.tls else ("http", ["--http2-prior-knowledge"])
    command = [
        *("curl", "--silent", "--show-error", "--include", "--path-as-is", "--max-time", "10", *flags),
        *("--resolve", f"{EXAMPLE_HOST}:{way.port}:127.0.0.1"),
        *("--header", f"Authorization: Bearer {token}", "--header", "X-Forwarded-For: 127.0.0.1"),
        *(
            "--write-out",
            "\n%{http_version} %{http_code}",
            f"{scheme}://{way.host.partition(':')[0]}:{way.port}{target}",
        ),
    ]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    answer, _, facts = done.stdout.rpartition(b"\n")
    version, status = facts.decode().split()
    return version, int(status), answer


async def test_the_proxies_pass_what_is_public(server: Server, ways: list[Way]) -> None:
    """The check above would also pass against a proxy that answers nothing."""
    for way in ways:
        for target in ("/api/health", "/", "/api/streams"):
            answer = await ask(way, "GET", target, {"Host": way.host})
            assert status_of(answer) == 200, f"{way.name} {target}: {answer[:600]!r}"


async def test_the_internal_listener_would_be_noticed(server: Server) -> None:
    """What the check looks for is what the internal listener writes."""
    internal = Way("internal", server.internal_port, tls=False, host="127.0.0.1")
    answer = await ask(internal, "GET", "/internal/health", headers(internal, server)[0])
    with pytest.raises(AssertionError, match="answered 200"):
        assert_nothing_internal("internal", status_of(answer), answer)
    with pytest.raises(AssertionError, match="processes"):
        assert_nothing_internal("internal", 404, answer)


async def test_shipped_files_pass_their_programs_own_checks(tmp_path: Path) -> None:
    """`nginx -t`, `caddy validate` and `systemd-analyze verify` find nothing to say."""
    nginx_directory, caddy_directory = tmp_path / "nginx", tmp_path / "caddy"
    nginx_directory.mkdir()
    caddy_directory.mkdir()
    nginx_file = write_nginx_configuration(nginx_directory, 1, 2, 3)
    caddy_file = write_caddy_configuration(caddy_directory, 1, 3)
    unit = tmp_path / "tallylight.service"
    unit.write_text((DEPLOY / "tallylight.service").read_text().replace("/opt/tallylight/bin/tallylight", "/bin/true"))
    checks = [
        ["nginx", "-t", "-q", "-c", str(nginx_file)],
        ["caddy", "validate", "--config", str(caddy_file), "--adapter", "caddyfile"],
        ["systemd-analyze", "verify", "--man=no", str(unit)],
    ]
    for command in checks:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, env=environment(tmp_path)
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        # systemd says an unknown setting, and goes on.
        assert "Unknown" not in done.stderr, done.stderr
