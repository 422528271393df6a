"""Replay the world of one seed: `python -m siaga.simulation.calendar SEED [WEEKS]`."""

from __future__ import annotations

import sys

from siaga.simulation.calendar.scenario import scenario
from siaga.simulation.calendar.world import live


def main(seed: int, weeks: int) -> int:
    """Print what happened, what was recorded and what did not hold; 1 if anything did not."""
    world = scenario(seed, weeks=weeks)
    report = live(world)
    lines = [(f.begin_s, f"until {f.end_s:.0f}: {f.kind} {f.amount:g}") for f in world.faults]
    lines += [(d["true_s"], f"  {d['kind']}: {d['reason']}") for d in report.documents]
    for at_s, text in sorted(lines):
        sys.stdout.write(f"{at_s:12.0f} {text}\n")
    for breach in report.breaches:
        sys.stdout.write(f"BROKEN: {breach}\n")
    sys.stdout.write(f"{report.passes} passes, {report.kills} kills, {dict(report.ended)}\n")
    return 1 if report.breaches else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 13))
