"""`python -m wallet.load`: run the load from a shell and print what users saw, as one JSON document."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import uvloop

from wallet.load import Load, LoadPlan, Outcome

SLOW_MS = 500


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m wallet.load", description="Open-loop load on the wallet.")
    parser.add_argument("--front-door", action="append", required=True, metavar="REGION=URL", help="repeat per region")
    parser.add_argument("--rate", type=float, default=50, help="requests a second over all regions (50)")
    parser.add_argument("--users", type=int, default=50, help="users a region (50)")
    parser.add_argument("--seconds", type=float, help="how long (until Ctrl-C)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same load (1)")
    parser.add_argument("--acknowledgements", type=Path, required=True, help="JSONL file, appended to")
    arguments = parser.parse_args()
    doors = dict(door.split("=", 1) for door in arguments.front_door if "=" in door)
    try:
        plan = LoadPlan(doors, arguments.rate, arguments.users, arguments.seed)
    except ValueError as error:
        parser.error(str(error))
    sys.exit(uvloop.run(_run(plan, arguments.acknowledgements, arguments.seconds)))


def summary(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """What users saw, in one flat document."""
    latencies_ms = sorted(outcome.latency_ms for outcome in outcomes) or [0.0]
    return {
        "requests": len(outcomes),
        "errors": sum(bool(outcome.error) for outcome in outcomes),
        "errors_by_kind": dict(Counter(outcome.error for outcome in outcomes if outcome.error)),
        "slow_answers": sum(latency_ms > SLOW_MS for latency_ms in latencies_ms),
        "stale_answers": sum(outcome.stale for outcome in outcomes),
        "latency_ms_median": round(statistics.median(latencies_ms), 2),
        "latency_ms_p99": round(latencies_ms[int(0.99 * (len(latencies_ms) - 1))], 2),
        "latency_ms_max": round(latencies_ms[-1], 2),
        "served_by": dict(Counter(outcome.served_by for outcome in outcomes)),
    }


async def _run(plan: LoadPlan, acknowledgements: Path, seconds: float | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    async with Load(plan, acknowledgements) as load:
        try:
            await load.prepare()
        except ConnectionError as error:
            print(f"error: {error}\nhint: is the platform up?", file=sys.stderr)
            return 5
        await load.run(seconds, stop)
    print(json.dumps(summary(load.outcomes), indent=2))
    return 0
