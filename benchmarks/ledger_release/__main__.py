"""`python -m benchmarks.ledger_release`: opening a million accounts, and what the gate costs each movement."""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ledger_release import cost, release
from benchmarks.ledger_release.rig import running

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger_release", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=5, help="of each block of movements")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="write the figures to benchmarks/ledger_release/results/")
    args = parser.parse_args()
    begun = datetime.now(UTC)
    found: dict[str, object] = {"begun": begun.isoformat(timespec="seconds"), "cores": os.cpu_count(), **vars(args)}
    with running(durable=True) as rig:
        found["release"] = release.measure(rig, accounts=args.accounts, entries=args.entries, rounds=args.rounds)
    with running(durable=True) as rig:
        found["movements"] = cost.measure(rig, blocks=args.blocks, seconds=args.seconds, clients=args.clients)
    with running(durable=False) as rig:
        found["processor_time"] = cost.processor_time(rig, blocks=args.blocks, movements=500)
    print(json.dumps({key: _short(value) for key, value in found.items()}, indent=1))
    if args.keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{begun:%Y-%m-%d-%H%M}.json").write_text(json.dumps(found, indent=1) + "\n")


def _short(value: object) -> object:
    return {key: inner for key, inner in value.items() if key != "raw"} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
