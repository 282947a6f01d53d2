"""The bench's three promises at 200 WebRTC viewers: cost over the floor, memory per viewer, nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).resolve().parents[2]
# 40 s of measuring; the rest is for compiling the two programs, should nothing have done that before.
LIMIT_S = 600
# A void run proves nothing for or against the server: neighbours took the machine from its own instruments.
RUNS = 3


def test_two_hundred_viewers_cost_what_was_promised() -> None:
    """Factor over the bare floor <= 1.6, RSS per viewer <= 150 KB, delivered >= 99.9 %, in a run that is not void."""
    command = [sys.executable, str(REPOSITORY / "bench/run.py"), "--quick", "--json"]
    for _ in range(RUNS):
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        if not report["void"]:
            break
    assert report["void"] == []
    assert report["broken_promises"] == []
    (row,) = report["rows"]
    assert row["viewers"] == 200
    assert row["ciphers"] == {"AEAD_AES_256_GCM": 200}
