"""The two measuring programs and the JSON they print."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallybench.machine import Cores
from tallybench.server import BenchError, Server


@dataclass(frozen=True)
class Load:
    """What `tallylight-whepload` measured; see its `Report` for each field."""

    n: int
    connected: int
    errors: int
    last_error: str | None
    ciphers: dict[str, int]
    post_ms_p50: float | None
    join_ms_p50: float | None
    join_ms_p95: float | None
    first_rtp_ms_p50: float | None
    first_rtp_ms_p95: float | None
    window_s: float
    packets: int
    packets_per_s: float
    megabits_per_s: float
    delivered_ratio: float
    ratio_to_best_viewer: float
    ratio_to_sequence_span: float
    ratio_to_source_frames: float
    incomplete_viewers: int
    source_speed: float | None
    sampled: int
    sampled_packets: int
    sampled_decrypted: int
    generator_utilisation: float
    server_cpu_s: float | None
    server_utilisation: float | None
    server_us_per_packet: float | None
    server_rss_bytes_before: int | None
    server_rss_bytes: int | None


@dataclass(frozen=True)
class Floor:
    """What `tallylight-floor` measured; see its `Report` for each field."""

    n: int
    packets: int
    cpu_us_per_packet: float
    sender_utilisation: float
    packets_per_message: float
    messages_per_call: float
    bytes_per_packet: float
    received_ratio: float
    dropped: int
    gso: bool


@dataclass(frozen=True)
class Programs:
    """Runs the programs, the server's side of each on the server's core."""

    directory: Path
    cores: Cores

    def load(self, server: Server, viewers: int, seconds: float, pattern_out: Path | None = None) -> Load:
        """N viewers for `seconds` of media. With `pattern_out` the first one's packets are recorded."""
        arguments: dict[str, object] = {
            "url": server.whep_url,
            "viewers": viewers,
            "seconds": seconds,
            "server-pid": server.engine_pid,
            "cpu": self.cores.load,
        }
        if pattern_out is not None:
            arguments["pattern-out"] = pattern_out
        return Load(**self._run("tallylight-whepload", arguments))

    def floor(self, pattern: Path, viewers: int, seconds: float, cipher: str) -> Floor:
        """The recorded packets to N sockets, with nothing but copying, encryption and sending."""
        arguments: dict[str, object] = {
            "pattern": pattern,
            "viewers": viewers,
            "seconds": seconds,
            "cipher": cipher,
            "cpu": self.cores.server,
            "receiver-cpu": self.cores.load,
        }
        return Floor(**self._run("tallylight-floor", arguments))

    def _run(self, name: str, arguments: dict[str, object]) -> dict[str, Any]:
        options = [part for option, value in arguments.items() for part in (f"--{option}", str(value))]
        result = subprocess.run([self.directory / name, *options], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(result.stderr.strip() or f"{name} ended with {result.returncode}.")
        report: dict[str, Any] = json.loads(result.stdout)
        return report


def build(engine: Path) -> Path:
    """Builds the two programs with the product's profile, and returns where they are.

    The whole workspace is named so that its dependencies have the features they have everywhere else: nothing is
    compiled twice.
    """
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--workspace", "--bins"]
    try:
        _ = subprocess.run(command, cwd=engine, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"The measuring programs could not be built: {error}") from error
    return engine / "target/release"
