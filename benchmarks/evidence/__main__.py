"""`python -m benchmarks.evidence`: appending and verifying, each beside the naive way, and a table."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.evidence.appending import overhead, throughput
from benchmarks.evidence.verifying import build, naive_s, ours_s

RESULTS = Path(__file__).parent / "results"


def run(directory: Path, *, rounds: int, count_each: int, records: int) -> dict[str, Any]:
    """Everything, in turns."""
    found: dict[str, Any] = dict(uvloop.run(throughput(directory, rounds, count_each)))
    print(f"throughput: {found}", file=sys.stderr, flush=True)
    found |= uvloop.run(overhead(directory, 500))
    print(f"writing {records} records", file=sys.stderr, flush=True)
    keys = build(directory / "million", records)
    found["records"] = records
    found["verify_s"] = [ours_s(directory / "million", keys, records) for _ in range(rounds)]
    found["naive_verify_s"] = [naive_s(directory / "million", records)]
    return found


def table(found: dict[str, Any]) -> str:
    """Medians over the rounds, the worst round in brackets."""
    rows = [
        ("64 appenders, records/s", found["log_per_s"], found["naive_per_s"], min),
        (f"verify {found['records']} records, s", found["verify_s"], found["naive_verify_s"], max),
    ]
    lines = ["| | log | naive |", "|---|---|---|"]
    for title, ours, naive, worst in rows:
        cells = [f"{statistics.median(values):.4g} ({worst(values):.4g})" for values in (ours, naive)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    append, bare = found["append_p50_ms"], found["bare_fsync_p50_ms"]
    lines.append(f"| one append against its bare write and fsync, p50 ms | {append:.3f} | {bare:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count-each", type=int, default=300, help="records of each of the 64 appenders")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many are verified")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; the system's for temporary files")
    parser.add_argument("--keep", action="store_true", help="write the raw figures to benchmarks/evidence/results/")
    args = parser.parse_args()
    begun = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="siaga-evidence-bench-", dir=args.directory) as directory:
        found = run(Path(directory), rounds=args.rounds, count_each=args.count_each, records=args.records)
    print(table(found))
    if args.keep:
        RESULTS.mkdir(exist_ok=True)
        document = {"begun": begun.isoformat(timespec="seconds"), "cores": os.cpu_count(), **found}
        (RESULTS / f"{begun:%Y-%m-%d-%H%M}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
