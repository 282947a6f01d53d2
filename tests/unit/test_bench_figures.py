"""The bench's medians, void rules and verdicts."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from tallybench.figures import Round, broken_promises, figures, void_reasons
from tallybench.programs import Floor, Load

FLOOR = Floor(
    n=200, packets=1000, cpu_us_per_packet=2.0, sender_utilisation=0.1, packets_per_message=5.0, messages_per_call=30.0,
    bytes_per_packet=1000.0, received_ratio=1.0, dropped=0, gso=True,
)  # fmt: skip

LOAD = Load(
    n=200, connected=200, errors=0, last_error=None, ciphers={"AEAD_AES_256_GCM": 200}, post_ms_p50=1.0,
    join_ms_p50=5.0, join_ms_p95=9.0, first_rtp_ms_p50=6.0, first_rtp_ms_p95=10.0, window_s=8.0, packets=544_000,
    packets_per_s=68_000.0, megabits_per_s=560.0, delivered_ratio=1.0, ratio_to_best_viewer=1.0,
    ratio_to_sequence_span=1.0, ratio_to_source_frames=1.0, incomplete_viewers=0, source_speed=1.0, sampled=2,
    sampled_packets=5000, sampled_decrypted=5000, generator_utilisation=0.1, server_cpu_s=1.6, server_utilisation=0.2,
    server_us_per_packet=2.5, server_rss_bytes_before=40_000_000, server_rss_bytes=60_000_000,
)  # fmt: skip


def changed(fields: dict[str, Any]) -> Load:
    return dataclasses.replace(LOAD, **fields)


def a_round(load: Load = LOAD, before: Floor = FLOOR, after: Floor = FLOOR) -> Round:
    return Round(before, load, after)


def with_cost(us_per_packet: float, rss_bytes: int = 60_000_000) -> Round:
    return a_round(dataclasses.replace(LOAD, server_us_per_packet=us_per_packet, server_rss_bytes=rss_bytes))


def test_a_clean_round_is_neither_void_nor_broken() -> None:
    row = figures([a_round()], rss_before=40_000_000)
    assert (row.factor, row.floor_us_per_packet, row.rss_bytes_per_viewer) == (1.25, 2.0, 100_000)
    assert (row.void, broken_promises(row)) == ([], [])


def test_the_first_of_several_rounds_counts_for_memory_only() -> None:
    row = figures([with_cost(9.0), with_cost(2.0, 99_000_000), with_cost(3.0, 99_000_000)], rss_before=40_000_000)
    assert (row.rounds, row.server_us_per_packet, row.rss_bytes_per_viewer) == (2, 2.5, 100_000)


def test_the_floor_is_taken_around_the_load() -> None:
    drifted = dataclasses.replace(FLOOR, cpu_us_per_packet=3.0)
    assert a_round(after=drifted).factor == 1.0


def test_one_lossy_round_is_a_lossy_server() -> None:
    lossy = a_round(dataclasses.replace(LOAD, delivered_ratio=0.99))
    row = figures([a_round(), a_round(), lossy, a_round()], rss_before=40_000_000)
    assert row.delivered_ratio == 0.99
    assert any("delivered" in promise for promise in broken_promises(row))


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"server_us_per_packet": 3.3}, "factor"),
        ({"server_us_per_packet": None}, "factor"),
        ({"server_rss_bytes": 71_000_000}, "memory"),
        ({"delivered_ratio": 0.9989}, "delivered"),
    ],
)
def test_each_promise_can_break(change: dict[str, Any], promise: str) -> None:
    row = figures([a_round(changed(change))], rss_before=40_000_000)
    assert [broken.split()[0] for broken in broken_promises(row)] == [promise]


def test_memory_that_did_not_settle_is_measured_from_the_start_of_the_load() -> None:
    row = figures([with_cost(2.0, 50_000_000)], rss_before=None)
    assert row.rss_bytes_per_viewer == 50_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"connected": 199}, "199 of 200 viewers"),
        ({"errors": 1, "last_error": "refused"}, "refused"),
        ({"generator_utilisation": 0.86}, "generator used 86%"),
        ({"sampled_decrypted": 4999}, "4999 of 5000 sampled"),
        ({"sampled_packets": 0, "sampled_decrypted": 0}, "0 of 0 sampled"),
        ({"source_speed": 0.9}, "source played 0.900"),
        ({"source_speed": None}, "source played nothing"),
        ({"ciphers": {"AES128_CM_SHA1_80": 200}}, "negotiated"),
        ({"ciphers": {"AEAD_AES_256_GCM": 100, "AEAD_AES_128_GCM": 100}}, "negotiated"),
    ],
)
def test_each_void_reason_is_found(change: dict[str, Any], reason: str) -> None:
    reasons = void_reasons(a_round(changed(change)))
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_a_floor_that_lost_packets_voids_the_round() -> None:
    cheap = dataclasses.replace(FLOOR, received_ratio=0.9)
    assert void_reasons(a_round(after=cheap)) == ["the floor delivered 0.9000 and dropped 0"]
