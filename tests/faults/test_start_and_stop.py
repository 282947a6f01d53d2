"""How `serve` starts, refuses to start, and ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support import processes
from support.peers import WhepViewer
from support.publishers import card_publisher
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

REFUSAL_LIMIT_S = 10.0


async def test_ctrl_c_while_on_air() -> None:
    """Ctrl-C: sockets closed, children gone in < 3 s, also with a publisher and a viewer connected."""
    server = Server.with_streams()
    async with server, card_publisher(server.rtmp_url(), once=True):
        await server.wait_on_air()
        async with WhepViewer(server.http, "main") as viewer:
            await viewer.wait_frames(10)
            await server.stop(signal.SIGINT)  # asserts time, ports, processes and exit code
            viewer.location = ""


async def test_second_serve_on_the_same_data_directory_refuses(server: Server) -> None:
    """A second `serve` on the same data directory refuses to start, in words, and the first goes on."""
    # The last process that the first one starts, seconds after the others: it is not the second one's.
    await wait_until(lambda: "control_standby" in server.log(), 20, "the spare control plane")
    second = Server(server.data_dir, {})
    code, output = await _refused(second)
    assert code != 0
    assert "data directory" in output.lower() or str(server.data_dir) in output
    assert (await server.http.get("/api/health")).status_code == 200


async def test_port_taken() -> None:
    """Ports taken: exit non-zero with cause and fix, nothing left running."""
    server = Server.with_streams()
    with socket.create_server(("127.0.0.1", server.http_port)):
        code, output = await _refused(server)
    assert code != 0
    assert str(server.http_port) in output
    assert "TALLYLIGHT_HTTP_PORT" in output


async def test_data_directory_not_writable() -> None:
    """Data directory not usable: exit non-zero with cause and fix, nothing left running."""
    server = Server.with_streams()
    server.data_dir.write_text("a file, not a directory")
    code, output = await _refused(server)
    assert code != 0
    assert "TALLYLIGHT_DATA_DIR" in output or str(server.data_dir) in output


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TALLYLIGHT_HTTP_PORT", "eighty"),
        ("TALLYLIGHT_BOOTSTRAP_STREAMS", "no-key-here"),
        ("TALLYLIGHT_PUBLIC_IPS", "not-an-address"),
        ("TALLYLIGHT_ENGINE_BINARY", "/nowhere/tallylight-engine"),
    ],
)
async def test_malformed_configuration(variable: str, value: str) -> None:
    """Malformed configuration or a missing engine: exit non-zero, the variable is named, nothing left running."""
    server = Server.with_streams(extra_environment={variable: value})
    code, output = await _refused(server)
    assert code != 0
    assert variable in output


async def _refused(server: Server) -> tuple[int, str]:
    """Starts a server that must not start; returns its exit code and output."""
    server.log_path = Path(f"{server.log_path}.refused")
    server.log_path.parent.mkdir(parents=True, exist_ok=True)
    before = set(server.pids())
    server.spawn()
    process, server.process = server.process, None
    assert process is not None
    try:
        code = await asyncio.to_thread(process.wait, REFUSAL_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise AssertionError(f"serve did not refuse to start:\n{server.log()}") from None
    left = set(server.pids()) - before
    processes.kill_all(left)
    assert not left, "the refused start left processes running"
    await server.http.aclose()
    await server.engine.aclose()
    output = server.log()
    assert "Traceback" not in output, output
    if not before:
        shutil.rmtree(server.data_dir.parent, ignore_errors=True)
    return code, output
