"""The long campaign of drills: every drill, many rounds, on one platform that lives through all of them.

`python -m benchmarks.soak --rounds 10` writes a section of docs/soak.md: medians and the worst of each figure, and
how often each drill held. Control runs stand beside; these machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.page import write_section
from siaga.drills.catalogue import DRILLS
from siaga.drills.model import RATE_PER_S

FIGURES = ("divert_s", "errors", "slow_answers", "latency_p99_ms", "lost", "doubled")
DEADLINE_S = 600


def main() -> int:
    """Run the campaign; 1 when money was lost or doubled anywhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siaga-soak-") as directory:
        Path(directory).chmod(0o755)
        environment = {**os.environ, "SIAGA_HOME": str(Path(directory) / "home")}
        _siaga(["up", "--detach"], environment)
        try:
            results = [
                _drill(drill.name, arguments.seconds, environment) for _ in range(arguments.rounds) for drill in DRILLS
            ]
        finally:
            _siaga(["down", "--purge"], environment)
    write_section("Drills", _lines(results, arguments.rounds, arguments.seconds))
    return int(any(r["figures"]["lost"] or r["figures"]["doubled"] for r in results))


def _siaga(arguments: Sequence[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "siaga.cli.main", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"`siaga {' '.join(arguments)}` ended with {done.returncode}")
    return done.stdout


def _drill(name: str, seconds: float, environment: dict[str, str]) -> Any:
    result = json.loads(_siaga(["drill", name, "--seconds", str(seconds), "--json"], environment))
    print(name, "holds" if result["holds"] else "does not hold", file=sys.stderr, flush=True)
    return result


def _lines(results: Sequence[Any], rounds: int, seconds: float) -> list[str]:
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared with everything, {RATE_PER_S:g} requests/s, "
        f"rounds: {rounds}"
        f", {seconds:g} s of control run and of fault each. Median (worst). `python -m benchmarks.soak`",
        "",
        "| drill | held | " + " | ".join(FIGURES) + " | control: errors, slow |",
        "|---|---|" + "---|" * (len(FIGURES) + 1),
    ]
    for drill in DRILLS:
        mine = [r for r in results if r["drill"] == drill.name]
        cells = [_cell([r["figures"].get(figure) for r in mine]) for figure in FIGURES]
        noise = ", ".join(_cell([r["control"].get(figure) for r in mine]) for figure in ("errors", "slow_answers"))
        held = sum(r["holds"] for r in mine)
        lines.append(f"| {drill.name} | {held} of {len(mine)} | " + " | ".join(cells) + f" | {noise} |")
    return lines


def _cell(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    if not measured:
        return ""
    return f"{median(measured):g} ({max(measured):g})"


if __name__ == "__main__":
    sys.exit(main())
