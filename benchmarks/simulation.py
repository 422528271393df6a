"""The long campaign in simulation: `python -m benchmarks.simulation --hours 20000` writes what it proved.

Every world has a seed; a broken invariant names the seed, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime

from siaga.simulation.proven import PATH, proven
from siaga.simulation.traffic.scenario import scenario
from siaga.simulation.traffic.world import World
from siaga.traffic.model import TrafficPolicy

HOURS_A_SEED = 80.0


def main() -> int:
    """Run the worlds; 1 when an invariant broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=20_000.0)
    seeds = range(max(4, round(parser.parse_args().hours / HOURS_A_SEED)))
    began = time.monotonic()
    hours, broken = 0.0, []
    with ProcessPoolExecutor() as pool:
        for seed, (simulated_s, breaches) in zip(seeds, pool.map(_live, seeds), strict=True):
            hours += simulated_s / 3600
            if breaches:
                broken.append(seed)
                print(f"seed {seed}: {breaches}", file=sys.stderr)
            if seed % 20 == 19:
                print(
                    f"{seed + 1} of {len(seeds)} worlds, {hours:.0f} hours, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                )
    if broken:
        print(f"broken in seeds {broken}; replay with: python -m siaga.simulation.traffic SEED", file=sys.stderr)
        return 1
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "hours": round(hours), "worlds": len(seeds)}
    PATH.write_text(json.dumps({**proven(), "ZDT-1.1a": {**entry, "holds": True}}, indent=1) + "\n")
    return 0


def _live(seed: int) -> tuple[float, list[str]]:
    world = scenario(seed)
    report = World(world, TrafficPolicy()).run()
    return world.end_s, [f"at {b.at_s:.1f} s: {b.what}" for b in report.breaches]


if __name__ == "__main__":
    sys.exit(main())
