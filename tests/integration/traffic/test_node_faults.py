from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.traffic.__main__ import measure
from benchmarks.traffic.engines import siaga
from benchmarks.traffic.figures import Figures
from benchmarks.traffic.rig import FAULTS, NONE, ONE_NODE, Rig

pytestmark = pytest.mark.clause("ZDT-1.1a")

FAULTY = [*(fault.name for fault in ONE_NODE), "region kill", "region 503, health check clean", "far node hang"]
TRIES_MAX = 3


def _unnoticed(seen: Figures) -> bool:
    return seen.errors == 0 and seen.slow == 0 and seen.divert_s < 1.0


def _left_within_a_second(seen: Figures) -> bool:
    # Two tries and the way abroad don't fit 500 ms: those first requests are slow, none fails.
    return seen.errors == 0 and seen.harm_s < 1.0


@pytest.mark.parametrize("name", FAULTY)
async def test_users_at_300_requests_a_second_do_not_notice(name: str, rig: Rig) -> None:
    await _holds(rig, name, _unnoticed)


async def test_a_region_that_hangs_is_left_within_a_second(rig: Rig) -> None:
    await _holds(rig, "region hang", _left_within_a_second)


async def _holds(rig: Rig, name: str, wanted: Callable[[Figures], bool]) -> None:
    """A run counts against us only where a control run on the same machine is quiet right after it."""
    against: list[Figures] = []
    for _ in range(TRIES_MAX):
        seen = await measure(rig, siaga, FAULTS[name], fault_s=3.0, seed=1)
        if wanted(seen):
            return
        control = await measure(rig, siaga, NONE, fault_s=3.0, seed=1)
        if _unnoticed(control):
            against.append(seen)
    if not against:
        pytest.skip("this machine is too busy to measure: its control runs had errors or slow answers too")
    pytest.fail(f"{len(against)} of {TRIES_MAX} runs with a quiet control did not hold: {against}")
