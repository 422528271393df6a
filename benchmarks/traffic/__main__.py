"""`python -m benchmarks.traffic`: the same faults at every front door, in turns, and a table of what users saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.traffic.engines import ENGINES, Engine
from benchmarks.traffic.figures import Figures, figures
from benchmarks.traffic.load import Load
from benchmarks.traffic.rig import FAULTS, NONE, ONE_NODE, Fault, Rig

RATE_PER_S = 300.0
QUIET_S = 2.0
RESULTS = Path(__file__).parent / "results"


async def measure(rig: Rig, engine: Engine, fault: Fault, *, fault_s: float, seed: int) -> Figures:
    """One run: a fresh proxy, load, the fault after two quiet seconds, what users saw."""
    fronts = {region.name: rig.ports.of(f"front-{region.name}") for region in rig.site.regions}
    load = Load(fronts, rate_per_s=RATE_PER_S, seed=seed)
    with tempfile.TemporaryDirectory(dir=rig.directory) as directory:
        async with engine(rig, Path(directory)):
            under_load = asyncio.create_task(load.run(QUIET_S + fault_s))
            await asyncio.sleep(QUIET_S)
            injected_s = load.now_s()
            await rig.inject(fault)
            await under_load
    await rig.heal(fault)
    return figures(load.answers, injected_s, fault.nodes if "outage" not in fault.settings else (), rig.node_of_link())


async def run(
    engines: Sequence[str], faults: Sequence[Fault], *, rounds: int, fault_s: float
) -> list[dict[str, object]]:
    """Every engine under every fault, interleaved, so that the machine's moods hit all alike."""
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="siaga-envoy-bench-") as directory:
        async with Rig(Path(directory)).running() as rig:
            for number in range(rounds):
                for fault in faults:
                    for name in engines:
                        seen = await measure(rig, ENGINES[name], fault, fault_s=fault_s, seed=number)
                        found.append({"round": number, "fault": fault.name, "engine": name, **asdict(seen)})
                        print(_line(f"{fault.name} | {name}", seen), file=sys.stderr, flush=True)
    return found


def table(results: Sequence[dict[str, object]]) -> str:
    """Medians over the rounds, with the worst round in brackets."""
    lines = [
        "| fault | engine | errors | over 500 ms | to the last one harmed, s | to divert, s | raw errors + slow |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = list(dict.fromkeys((str(r["fault"]), str(r["engine"])) for r in results))
    for fault, engine in keys:
        rows = [r for r in results if (r["fault"], r["engine"]) == (fault, engine)]
        cells = [_cell(rows, name) for name in ("errors", "slow", "harm_s", "divert_s")]
        raw = _cell([{"raw": _number(r["raw_errors"]) + _number(r["raw_slow"])} for r in rows], "raw")
        lines.append(f"| {fault} | {engine} | {' | '.join(cells)} | {raw} |")
    return "\n".join(lines)


def _cell(rows: Sequence[dict[str, object]], name: str) -> str:
    values = [_number(row[name]) for row in rows]
    return f"{statistics.median(values):g} ({max(values):g})"


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def _line(title: str, seen: Figures) -> str:
    return f"{title}: " + " ".join(f"{field.name}={getattr(seen, field.name)}" for field in fields(seen))


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traffic", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fault-s", type=float, default=6.0, help="how long each fault lasts")
    parser.add_argument("--engines", nargs="*", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), default=[f.name for f in (NONE, *ONE_NODE)])
    parser.add_argument("--keep", action="store_true", help="write the raw figures to benchmarks/traffic/results/")
    args = parser.parse_args()
    begun = datetime.now(UTC)
    chosen = [FAULTS[name] for name in args.faults]
    results = uvloop.run(run(args.engines, chosen, rounds=args.rounds, fault_s=args.fault_s))
    print(table(results))
    if args.keep:
        RESULTS.mkdir(exist_ok=True)
        document = {
            "begun": begun.isoformat(timespec="seconds"),
            "rate_per_s": RATE_PER_S,
            "fault_s": args.fault_s,
            "cores": os.cpu_count(),
            "runs": results,
        }
        (RESULTS / f"{begun:%Y-%m-%d-%H%M}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
