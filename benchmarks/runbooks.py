"""The long campaign of kills: every listed runbook, killed once at each moment of it, on a journal of its own.

`python -m benchmarks.runbooks` kills with SIGKILL, starts again, and judges what was done. It also measures what a
step costs. CI meets every moment too, but in one run after another kill.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/integration"))

from runbooks.engine_rig import begin, rig, runbook, until  # noqa: E402
from runbooks.kill_matrix import Case, drive_and_kill, every_moment, judge  # noqa: E402
from runbooks.killable import LISTED  # noqa: E402

STEPS = 20


def main() -> int:
    """Run the campaign; 1 when a run did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siaga-kills-") as directory:
        root = Path(directory)
        cost_ms = asyncio.run(_step_cost_ms(root / "cost"))
        with ThreadPoolExecutor(arguments.at_once) as pool:
            wrong = [_campaign(name, root, pool) for name in LISTED]
    print(f"a step costs {cost_ms:.1f} ms: two journal entries, and two records into memory (mean of {STEPS})")
    return int(any(wrong))


def _campaign(name: str, root: Path, pool: ThreadPoolExecutor) -> int:
    make, answers, outcome = LISTED[name]
    case = Case(root / name.replace(" ", "-"), make, answers)
    moments = every_moment(case)
    singles = [replace(case, directory=case.directory / str(n), kill_only=m) for n, m in enumerate(moments)]
    wrong = sum(pool.map(lambda single: _judge(single, outcome), singles))
    again = [life["first_turn_s"] for single in singles for life in single.lives.read()[1:]]
    print(
        f"{name:12s} {len(moments):3d} moments, {wrong} ended wrong; "
        f"goes on {median(again):.1f} s after the restart (worst {max(again):.1f} s)",
        flush=True,
    )
    return wrong


def _judge(case: Case, outcome: str) -> int:
    try:
        page = drive_and_kill(case)
        assert page["state"] == outcome, page["state"]
        judge(case, case.make(case), page)
    except AssertionError as error:
        print(f"killed at `{case.kill_only}`: {error}", file=sys.stderr)
        return 1
    return 0


async def _step_cost_ms(directory: Path) -> float:
    bench = rig(directory)
    book = runbook(*(bench.step(f"step {number}") for number in range(STEPS)))
    async with bench.engine(book) as engine:
        page = await until(engine, await begin(engine), "done")
    return 1000 * float(page["seconds"]) / STEPS


if __name__ == "__main__":
    sys.exit(main())
