"""`tallylight serve` as a process, around a fake engine: refusals that leave nothing running, restarts, and the end."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.processes import is_alive, is_port_free, owners_of_unix_socket
from tallylight.paths import DataDirectory
from unit.serve import ServeProcess

Serve = Callable[..., ServeProcess]
# What the issue promises.
ENGINE_BACK_S = 2.0
CONTROL_PLANE_BACK_S = 3.0
STOP_S = 3.0


def assert_refused(process: ServeProcess, code: str, *said: str) -> None:
    """It ended by itself, in words, and left nothing."""
    exit_code, output, errors = process.end()
    assert exit_code == 1
    assert f"error ({code}):" in errors
    assert "Traceback" not in errors
    for words in said:
        assert words in errors
    assert output == ""
    assert process.left_running() == []
    assert not DataDirectory(process.data_dir).control_socket.exists()


@contextmanager
def taken(kind: socket.SocketKind, port: str) -> Iterator[None]:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", int(port)))
        if kind is socket.SOCK_STREAM:
            holder.listen()
        yield


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("HTTP", socket.SOCK_STREAM),
        ("WEBRTC", socket.SOCK_DGRAM),
        ("RTMP", socket.SOCK_STREAM),
        ("INTERNAL", socket.SOCK_STREAM),
    ],
)
def test_a_taken_port_is_named(serve: Serve, environment: dict[str, str], name: str, kind: socket.SocketKind) -> None:
    variable = f"TALLYLIGHT_{name}_PORT"
    with taken(kind, environment[variable]):
        assert_refused(serve(), "port_in_use", environment[variable], f"fix: Stop it, or set {variable}.")


def test_a_missing_engine(serve: Serve) -> None:
    process = serve(TALLYLIGHT_ENGINE_BINARY="/nonexistent/engine")
    assert_refused(process, "engine_missing", "TALLYLIGHT_ENGINE_BINARY names /nonexistent/engine")


def test_an_engine_that_cannot_be_run(serve: Serve, short_path: Path) -> None:
    broken = short_path / "broken"
    broken.write_text("#!/nonexistent/interpreter\n")
    broken.chmod(0o755)
    assert_refused(serve(TALLYLIGHT_ENGINE_BINARY=str(broken)), "engine_missing", "cannot be run")


@pytest.mark.parametrize("said", ["tallylight-engine 0.0.1", "something else", ""])
def test_an_engine_of_another_version(serve: Serve, said: str) -> None:
    process = serve(FAKE_ENGINE_VERSION=said)
    assert_refused(process, "engine_mismatch", "is not the engine of this Tallylight", "fix: Run `make build`")


def test_an_engine_that_refuses_is_translated(serve: Serve) -> None:
    assert_refused(serve(FAKE_ENGINE_FATAL="1"), "port_in_use", "udp port 9 is taken by a test.", "fix: Free it.")


def test_an_engine_that_ends_without_a_word(serve: Serve) -> None:
    assert_refused(serve(FAKE_ENGINE_ENDS="1"), "part_ended", "The engine ended at once with exit code 7.")


def test_a_data_directory_that_cannot_be_made(serve: Serve, short_path: Path) -> None:
    (short_path / "file").write_text("")
    process = serve(TALLYLIGHT_DATA_DIR=str(short_path / "file" / "data"))
    assert_refused(process, "data_dir_not_writable", "fix: Set TALLYLIGHT_DATA_DIR")


@pytest.mark.parametrize("name", ["HTTP_PORT", "BIND", "BOOTSTRAP_STREAMS", "PUBLIC_IPS"])
def test_a_malformed_configuration(serve: Serve, short_path: Path, name: str) -> None:
    assert_refused(serve(**{f"TALLYLIGHT_{name}": "no good"}), "config_invalid", f"TALLYLIGHT_{name}")
    assert not (short_path / "data").exists(), "nothing was made"


def test_a_database_that_is_none(serve: Serve, short_path: Path) -> None:
    data = short_path / "data"
    data.mkdir()
    (data / "tallylight.sqlite3").write_text("This is no database. " * 100)
    assert_refused(serve(), "database_unreadable", "is not a database")
    assert (data / "tallylight.sqlite3").read_text().startswith("This is no database.")


def test_a_second_server_on_the_same_data(serve: Serve) -> None:
    first = serve().wait_ready()
    second = serve(TALLYLIGHT_HTTP_PORT="1", TALLYLIGHT_RTMP_PORT="2", TALLYLIGHT_INTERNAL_PORT="3")
    exit_code, output, errors = second.end()
    assert (exit_code, output) == (1, "")
    assert f"(process {first.process.pid})" in errors
    assert "already_running" in errors
    assert first.health() == httpx.codes.OK, "the first one goes on"


def test_one_banner_and_a_private_data_directory(serve: Serve) -> None:
    process = serve().wait_ready()
    process.process.send_signal(signal.SIGTERM)
    exit_code, output, errors = process.end()
    assert exit_code == 0
    port = process.http_port
    assert output.count("Tallylight is up") == 1
    found = re.search(r"OBS key +([0-9a-f]{32})", output)
    assert found, output
    for address in (
        f"http://127.0.0.1:{port}/watch/main",
        f"http://127.0.0.1:{port}/studio#key={found[1]}",
        "rtmp://127.0.0.1:",
    ):
        assert address in output
    assert found[1] not in errors, "the key is not in the log"
    modes = {path.name: path.stat().st_mode & 0o077 for path in [process.data_dir, *process.data_dir.rglob("*")]}
    assert set(modes.values()) == {0}, modes


def test_a_key_of_the_environment_is_not_printed(serve: Serve) -> None:
    process = serve(TALLYLIGHT_BOOTSTRAP_STREAMS="stage:canary-key-0123456789").wait_ready()
    engine_environment = Path(f"/proc/{process.child('fake_engine')}/environ").read_bytes()
    process.process.send_signal(signal.SIGTERM)
    _, output, errors = process.end()
    assert "/watch/stage" in output
    assert "canary" not in output + errors
    assert b"canary" not in engine_environment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_is_quick_and_complete(serve: Serve, environment: dict[str, str], number: signal.Signals) -> None:
    process = serve().wait_ready()
    started_s = time.monotonic()
    process.process.send_signal(number)
    exit_code, _, errors = process.end()
    assert time.monotonic() - started_s < STOP_S
    assert exit_code == 0
    assert "Traceback" not in errors
    assert process.left_running() == []
    assert list((process.data_dir / "run").iterdir()) == []
    assert all(is_port_free(int(environment[f"TALLYLIGHT_{name}_PORT"])) for name in ("HTTP", "RTMP", "INTERNAL"))


def test_a_signal_during_the_start_ends_it(serve: Serve) -> None:
    process = serve()
    process.until(lambda: any("fake_engine" in line for line in process.command_lines()), "the engine to be started")
    process.process.send_signal(signal.SIGTERM)
    exit_code, output, _ = process.end()
    assert (exit_code, output) == (0, "")
    assert process.left_running() == []


def test_a_killed_engine_is_back(serve: Serve) -> None:
    process = serve().wait_ready()
    control_plane = process.child("tallylight.api", but_not="--standby")
    old = process.child("fake_engine")
    os.kill(old, signal.SIGKILL)
    killed_s = time.monotonic()
    process.until(lambda: not is_alive(old), "the engine to be gone")
    process.until(lambda: process.health() == httpx.codes.OK, "the engine to be back")
    assert time.monotonic() - killed_s < ENGINE_BACK_S
    assert process.child("fake_engine") != old
    assert process.child("tallylight.api", but_not="--standby") == control_plane, "the other part was left alone"


def test_a_killed_control_plane_is_back(serve: Serve) -> None:
    process = serve().wait_ready()
    engine = process.child("fake_engine")
    old = process.child("tallylight.api", but_not="--standby")
    os.kill(old, signal.SIGKILL)
    process.until(lambda: not is_alive(old), "the control plane to be gone")
    process.until(lambda: process.health() == httpx.codes.OK, "the control plane to be back")
    assert process.child("fake_engine") == engine, "the other part was left alone"


def test_a_spare_takes_over_from_a_killed_control_plane_in_time(serve: Serve) -> None:
    process = serve().wait_ready()
    process.until(lambda: "control_standby" in process.errors(), "the spare to be loaded")
    spare = process.child("--standby")
    os.kill(process.child("tallylight.api", but_not="--standby"), signal.SIGKILL)
    killed_s = time.monotonic()
    socket = DataDirectory(process.data_dir).control_socket
    process.until(lambda: owners_of_unix_socket(socket) == [spare], "the spare to take over")
    process.until(lambda: process.health() == httpx.codes.OK, "the control plane to be back")
    assert time.monotonic() - killed_s < CONTROL_PLANE_BACK_S


def test_children_do_not_outlive_a_killed_server(serve: Serve) -> None:
    process = serve().wait_ready()
    process.process.kill()
    process.process.wait()
    process.until_gone()
    again = serve().wait_ready()
    assert again.health() == httpx.codes.OK, (
        "what a killed server leaves behind does not keep the next one from starting"
    )


def test_a_start_right_after_a_kill_waits_for_the_ports(serve: Serve) -> None:
    process = serve().wait_ready()
    process.process.kill()
    process.process.wait()
    serve().wait_ready()


def test_a_data_path_too_long_for_sockets(serve: Serve, short_path: Path) -> None:
    long_path = short_path / ("long-" * 20) / "data"
    process = serve(TALLYLIGHT_DATA_DIR=str(long_path)).wait_ready()
    link = long_path / "run"
    short = link.resolve()
    assert link.is_symlink()
    assert short.stat().st_mode & 0o077 == 0
    listed = serve("streams", "list", "--json", TALLYLIGHT_DATA_DIR=str(long_path))
    assert '"main"' in listed.end()[1]
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0
    assert not short.exists()
    assert not link.is_symlink()


def test_streams_from_the_command_line(serve: Serve) -> None:
    server = serve().wait_ready()
    created = serve("streams", "create", "stage", "--title", "The stage").end()
    assert re.search(r"key: +[0-9a-f]{32}\n", created[1]), created
    assert serve("streams", "create", "stage").end()[2].startswith("error (stream_exists)")
    assert "a stream name has" in serve("streams", "create", "Stage!").end()[2]
    rotated = serve("streams", "rotate-key", "stage", "--json").end()
    assert '"key":' in rotated[1]
    assert serve("streams", "delete", "stage").end()[:2] == (0, "deleted stage\n")
    assert serve("streams", "delete", "stage").end()[2].startswith("error (stream_unknown)")
    assert server.health() == httpx.codes.OK


def test_webhooks_from_the_command_line(serve: Serve) -> None:
    server = serve(TALLYLIGHT_WEBHOOK_ALLOW_PRIVATE="127.0.0.0/8").wait_ready()
    created = serve("webhooks", "create", "http://127.0.0.1:9/", "--event", "broadcast.ended", "--stream", "main").end()
    found = re.fullmatch(r"webhook: (\w+)\nsecret:  whsec_\S+\nThe secret is not shown again.\n", created[1])
    assert found, created
    webhook = found[1]
    (listed,) = json.loads(serve("webhooks", "list", "--json").end()[1])["webhooks"]
    assert (listed["id"], listed["events"], listed["stream"]) == (webhook, ["broadcast.ended"], "main")
    assert "sending msg_" in serve("webhooks", "test", webhook).end()[1]
    server.until(lambda: "webhook_failed" in server.errors(), "the test message to be given up")
    assert "connect_failed" in serve("webhooks", "deliveries", webhook, "--limit", "1", COLUMNS="200").end()[1]
    assert webhook in serve("webhooks", "list", COLUMNS="200").end()[1]
    assert serve("webhooks", "create", "http://10.0.0.1/").end()[2].startswith("error (address_refused)")
    assert serve("webhooks", "delete", webhook).end()[:2] == (0, f"deleted {webhook}\n")


def test_the_command_line_without_a_server(serve: Serve) -> None:
    exit_code, _, errors = serve("streams", "list").end()
    assert exit_code == 1
    assert errors.startswith("error (server_away)")
    assert "tallylight serve" in errors
