"""From rounds of measurements to figures, reasons to call the run void, and verdicts. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from tallybench.programs import Floor, Load

# The three promises, at the largest number of viewers.
MAX_FACTOR = 1.6
MAX_RSS_BYTES_PER_VIEWER = 150_000
MIN_DELIVERED = 0.999
# Above this the generator, not the server, sets the pace.
MAX_GENERATOR_UTILISATION = 0.85
# A live source plays at 1.0; the stretch is timed to a frame or two in 8 s.
SOURCE_SPEED = (0.98, 1.02)


@dataclass(frozen=True)
class Round:
    """One load between two floors of the same size."""

    before: Floor
    load: Load
    after: Floor

    @property
    def floor_us(self) -> float:
        """CPU per packet of the floor around this load."""
        return (self.before.cpu_us_per_packet + self.after.cpu_us_per_packet) / 2

    @property
    def factor(self) -> float | None:
        """The server's CPU per delivered packet over the floor's."""
        cost = self.load.server_us_per_packet
        return None if cost is None else cost / self.floor_us


@dataclass(frozen=True)
class Figures:
    """Medians over the counted rounds of one number of viewers."""

    viewers: int
    rounds: int
    server_us_per_packet: float | None
    floor_us_per_packet: float
    factor: float | None
    delivered_ratio: float
    join_ms_p50: float | None
    join_ms_p95: float | None
    first_rtp_ms_p50: float | None
    first_rtp_ms_p95: float | None
    rss_bytes_per_viewer: float | None
    packets_per_s: float
    megabits_per_s: float
    server_utilisation: float | None
    generator_utilisation: float
    packets_per_message: float
    ciphers: dict[str, int]
    void: list[str]


def counted(rounds: list[Round]) -> list[Round]:
    """All but the first round, which warms caches and allocators; the only one when there is no other."""
    return rounds[1:] or rounds


def figures(rounds: list[Round], rss_before: int | None) -> Figures:
    """Figures of the counted rounds.

    Args:
        rounds: All of one number of viewers, in order.
        rss_before: The engine's resident bytes on air and settled, before the first load. None when nobody waited for
            that: then what the HLS window grows during the load is billed to the viewers, an upper bound.
    """
    kept = counted(rounds)
    loads = [entry.load for entry in kept]
    n = loads[0].n
    # From the first round: no larger load has run before it, whose memory the allocator might still hold.
    resident = rounds[0].load.server_rss_bytes
    before = rounds[0].load.server_rss_bytes_before if rss_before is None else rss_before
    return Figures(
        viewers=n,
        rounds=len(kept),
        server_us_per_packet=_median([load.server_us_per_packet for load in loads]),
        floor_us_per_packet=median(entry.floor_us for entry in kept),
        factor=_median([entry.factor for entry in kept]),
        # Not the median: one round that loses packets is a server that loses packets.
        delivered_ratio=min(load.delivered_ratio for load in loads),
        join_ms_p50=_median([load.join_ms_p50 for load in loads]),
        join_ms_p95=_median([load.join_ms_p95 for load in loads]),
        first_rtp_ms_p50=_median([load.first_rtp_ms_p50 for load in loads]),
        first_rtp_ms_p95=_median([load.first_rtp_ms_p95 for load in loads]),
        rss_bytes_per_viewer=None if resident is None or before is None else (resident - before) / n,
        packets_per_s=median(load.packets_per_s for load in loads),
        megabits_per_s=median(load.megabits_per_s for load in loads),
        server_utilisation=_median([load.server_utilisation for load in loads]),
        generator_utilisation=max(load.generator_utilisation for load in loads),
        packets_per_message=kept[0].before.packets_per_message,
        ciphers=loads[0].ciphers,
        void=[reason for entry in kept for reason in void_reasons(entry)],
    )


def void_reasons(entry: Round) -> list[str]:
    """Why this round says nothing about the server; empty when it does."""
    load = entry.load
    reasons = []
    if load.connected < load.n or load.errors:
        reasons.append(f"{load.connected} of {load.n} viewers connected, {load.errors} errors ({load.last_error})")
    if load.generator_utilisation > MAX_GENERATOR_UTILISATION:
        reasons.append(f"the generator used {load.generator_utilisation:.0%} of its core")
    if load.sampled_packets == 0 or load.sampled_decrypted != load.sampled_packets:
        reasons.append(f"{load.sampled_decrypted} of {load.sampled_packets} sampled packets decrypted")
    if load.source_speed is None or not SOURCE_SPEED[0] <= load.source_speed <= SOURCE_SPEED[1]:
        speed = "nothing" if load.source_speed is None else f"{load.source_speed:.3f} s of media a second"
        reasons.append(f"the source played {speed}")
    if len(load.ciphers) != 1 or not any("GCM" in cipher for cipher in load.ciphers):
        reasons.append(f"the floor encrypts with AES-GCM, the viewers negotiated {load.ciphers}")
    return reasons + [
        f"the floor delivered {floor.received_ratio:.4f} and dropped {floor.dropped}"
        for floor in (entry.before, entry.after)
        if floor.received_ratio < MIN_DELIVERED or floor.dropped
    ]


def broken_promises(of_largest: Figures) -> list[str]:
    """Which of the three promises the figures break."""
    broken = []
    if of_largest.factor is None or of_largest.factor > MAX_FACTOR:
        broken.append(f"factor over the floor {_text(of_largest.factor)} > {MAX_FACTOR}")
    rss = of_largest.rss_bytes_per_viewer
    if rss is None or rss > MAX_RSS_BYTES_PER_VIEWER:
        broken.append(f"memory per viewer {_text(rss and rss / 1000)} KB > {MAX_RSS_BYTES_PER_VIEWER / 1000:.0f} KB")
    if of_largest.delivered_ratio < MIN_DELIVERED:
        broken.append(f"delivered {of_largest.delivered_ratio:.5f} < {MIN_DELIVERED}")
    return broken


def table(rows: list[Figures]) -> str:
    """One column per number of viewers."""
    lines: list[tuple[str, list[str]]] = [
        ("viewers", [str(row.viewers) for row in rows]),
        ("CPU us per delivered packet", [_text(row.server_us_per_packet, 2) for row in rows]),
        ("floor of this run, us", [f"{row.floor_us_per_packet:.2f}" for row in rows]),
        ("factor over the floor", [_text(row.factor, 2) for row in rows]),
        ("delivered / source", [f"{row.delivered_ratio:.5f}" for row in rows]),
        ("join p50 / p95, ms", [f"{_text(row.join_ms_p50, 0)} / {_text(row.join_ms_p95, 0)}" for row in rows]),
        (
            "first RTP p50 / p95, ms",
            [f"{_text(row.first_rtp_ms_p50, 0)} / {_text(row.first_rtp_ms_p95, 0)}" for row in rows],
        ),
        ("RSS per viewer, KB", [_text(row.rss_bytes_per_viewer and row.rss_bytes_per_viewer / 1000) for row in rows]),
        ("packets/s, Mb/s", [f"{row.packets_per_s:.0f}, {row.megabits_per_s:.0f}" for row in rows]),
        (
            "server / generator core",
            [f"{_text((row.server_utilisation or 0) * 100, 0)} % / {row.generator_utilisation:.0%}" for row in rows],
        ),
        ("packets per GSO message", [f"{row.packets_per_message:.1f}" for row in rows]),
    ]
    width = max(len(value) for _, values in lines for value in values)
    return "\n".join(f"{label:<28}" + "".join(f"  {value:>{width}}" for value in values) for label, values in lines)


def _median(values: list[float | None] | list[int | None]) -> float | None:
    present = [value for value in values if value is not None]
    return median(present) if present else None


def _text(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
