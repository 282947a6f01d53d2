"""`make bench`: what one delivered packet costs the server, against the bare floor of the same run (docs/bench.md)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tallybench import figures, machine, programs, server, source
from tallybench.figures import Figures, Round
from tallybench.programs import Programs
from tallybench.server import BenchError, Server

REPOSITORY = Path(__file__).resolve().parent.parent
EXIT_PROMISE_BROKEN = 1
EXIT_VOID = 2
EXIT_NOT_RUN = 3
# The engine's own cost (ingest, packaging, transcoder) without viewers is read over this.
IDLE_S = 3.0


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    viewers: tuple[int, ...]
    rounds: int
    stretch_s: int
    floor_s: float
    settle: bool
    """Wait until the engine's memory has settled: without that, memory per viewer is an upper bound."""


FULL = Plan(viewers=(50, 200), rounds=3, stretch_s=source.LOOP_S, floor_s=4.0, settle=True)
# All promises checked once, in under a minute; too short a measurement to compare with another.
QUICK = Plan(viewers=(200,), rounds=1, stretch_s=source.LOOP_S, floor_s=2.0, settle=False)


@dataclass(frozen=True)
class Result:
    """A whole run."""

    rows: list[Figures]
    idle_core_share: float
    rss_bytes_on_air: int | None
    source_packets_per_s: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 viewers, one round: are the promises kept")
    parser.add_argument("--viewers", type=int, nargs="+", metavar="N", help="numbers of viewers, default 50 200")
    parser.add_argument("--rounds", type=int, metavar="R", help="rounds; the first of several is discarded, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is broken, 2 when the run is void")
    arguments = parser.parse_args()
    if any(count < 1 for count in [*(arguments.viewers or ()), arguments.rounds or 1]):
        parser.error("viewers and rounds are at least 1")
    return arguments


def make_plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else FULL
    if arguments.viewers:
        plan = dataclasses.replace(plan, viewers=tuple(sorted(arguments.viewers)))
    if arguments.rounds:
        plan = dataclasses.replace(plan, rounds=arguments.rounds)
    return plan


def note(text: str) -> None:
    """Progress goes to stderr: stdout is the result."""
    print(text, file=sys.stderr, flush=True)


def measure(plan: Plan, tools: Programs, directory: Path) -> Result:
    """Runs the whole plan against one server."""
    loop = directory / "source.flv"
    note("encoding the source")
    source.encode(loop)
    tallylight = REPOSITORY / ".venv/bin/tallylight"
    if not tallylight.exists():
        raise BenchError(f"{tallylight} is missing. Run `make build`.")
    with (
        server.running(tallylight, directory, tools.cores.server) as running,
        source.pushed(loop, running.rtmp_url, tools.cores.load),
    ):
        return measure_on_air(plan, tools, running, directory / "pattern.json")


def measure_on_air(plan: Plan, tools: Programs, running: Server, pattern: Path) -> Result:
    """One viewer for the pattern and to warm up, then floor and load in turns."""
    running.wait_on_air()
    note("recording one viewer's packets")
    first = tools.load(running, 1, plan.stretch_s, pattern_out=pattern)
    if first.connected != 1:
        raise BenchError(f"The first viewer did not connect: {first.last_error}.")
    cipher = next(iter(first.ciphers))
    note("waiting for the engine's memory to settle" if plan.settle else "not waiting for the memory to settle")
    rss_bytes = running.settled_bytes() if plan.settle else None
    idle_core_share = idle(running)
    rounds: dict[int, list[Round]] = {n: [] for n in plan.viewers}
    for number in range(plan.rounds):
        for n in plan.viewers:
            note(f"round {number + 1} of {plan.rounds}: {n} viewers")
            before = tools.floor(pattern, n, plan.floor_s, cipher)
            load = tools.load(running, n, plan.stretch_s)
            after = tools.floor(pattern, n, plan.floor_s, cipher)
            rounds[n].append(Round(before, load, after))
    rows = [figures.figures(entries, rss_bytes) for entries in rounds.values()]
    return Result(rows, idle_core_share, rss_bytes, first.packets_per_s)


def idle(running: Server) -> float:
    """Share of a core the engine uses on air without viewers."""
    began, cpu_s = time.monotonic(), running.cpu_s()
    time.sleep(IDLE_S)
    return (running.cpu_s() - cpu_s) / (time.monotonic() - began)


def conditions(cores: machine.Cores, plan: Plan, load_average: float) -> list[str]:
    """What a reader must know before comparing."""
    rate = (source.VIDEO_KBIT_S + source.AUDIO_KBIT_S) / 1000
    discarded = ", the first discarded, medians of the rest" if plan.rounds > 1 else ""
    return [
        f"{machine.describe()}; load average at the start {load_average:.1f}",
        f"server on core {cores.server}, viewers and source on core {cores.load}",
        "over loopback, which bills the receiver's work to the sender: in the floor too, so the factor holds",
        f"source: H.264 720p30 without B-frames, GOP 2 s, AAC, {rate:.1f} Mb/s by RTMP in real time",
        f"{plan.rounds} rounds of floor, load, floor{discarded}; {plan.stretch_s} s of media counted per viewer",
    ]


def main() -> int:
    arguments = parse_arguments()
    plan, cores, load_average = make_plan(arguments), machine.pick_cores(), os.getloadavg()[0]
    try:
        note("building the measuring programs")
        tools = Programs(programs.build(REPOSITORY / "engine"), cores)
        # A short name: Unix socket paths below it are limited to 107 bytes.
        with tempfile.TemporaryDirectory(prefix="tally-bench-") as directory:
            result = measure(plan, tools, Path(directory))
    except BenchError as error:
        note(f"bench: {error}")
        return EXIT_NOT_RUN
    void = [f"{row.viewers} viewers: {reason}" for row in result.rows for reason in row.void]
    if not cores.apart:
        void.append("one core only: server and load share it")
    broken = figures.broken_promises(result.rows[-1])
    facts = conditions(cores, plan, load_average)
    if arguments.json:
        document = {**dataclasses.asdict(result), "conditions": facts, "void": void, "broken_promises": broken}
        print(json.dumps(document, indent=2))
    else:
        print_table(result, facts, void, broken)
    if arguments.check:
        return EXIT_VOID if void else EXIT_PROMISE_BROKEN if broken else 0
    return 0


def print_table(result: Result, facts: list[str], void: list[str], broken: list[str]) -> None:
    print("\n".join(facts))
    memory = "memory still growing" if result.rss_bytes_on_air is None else f"{result.rss_bytes_on_air / 1e6:.0f} MB"
    print(f"cipher: {result.rows[-1].ciphers}; one viewer gets {result.source_packets_per_s:.0f} packets/s")
    print(f"engine on air without viewers: {result.idle_core_share:.1%} of a core, {memory}\n")
    print(figures.table(result.rows))
    print()
    for reason in void:
        print(f"void: {reason}")
    for promise in broken:
        print(f"broken: {promise}")
    if not void and not broken:
        print("all promises kept")


if __name__ == "__main__":
    sys.exit(main())
