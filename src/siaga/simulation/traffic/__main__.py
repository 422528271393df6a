"""Replay the world of one seed: `python -m siaga.simulation.traffic SEED`."""

from __future__ import annotations

import sys

from siaga.simulation.traffic.scenario import scenario
from siaga.simulation.traffic.world import World
from siaga.traffic.model import TrafficPolicy


def main(seed: int) -> int:
    """Print what befell the nodes, what was decided and what did not hold; 1 if anything did not."""
    world = scenario(seed)
    report = World(world, TrafficPolicy()).run()
    nodes = f"{len(world.regions)} nodes in {', '.join(world.region_names)}"
    sys.stdout.write(f"{nodes}; {world.users_per_s:.0f} requests/s a region\n")
    lines = [
        (f.begin_s, f"until {f.end_s:.1f}: {f.kind} {f.vantage} {' '.join(sorted(f.nodes))}") for f in world.faults
    ]
    lines += [(at_s, f"  {d.action}: {d.reason}") for at_s, d in report.decisions]
    lines += [(b.at_s, f"BROKEN: {b.what}") for b in report.breaches]
    for at_s, text in sorted(lines):
        sys.stdout.write(f"{at_s:10.1f} {text}\n")
    return 1 if report.breaches else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
