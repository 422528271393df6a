from __future__ import annotations

import pytest

from benchmarks.traffic.__main__ import measure
from benchmarks.traffic.engines import siaga
from benchmarks.traffic.rig import FAULTS, NONE, ONE_NODE, Rig

pytestmark = pytest.mark.clause("ZDT-1.1a")

FAULTY = [*(fault.name for fault in ONE_NODE), "region kill", "region 503, health check clean", "far node hang"]


async def test_users_do_not_notice_any_fault_of_a_node_or_a_killed_region(rig: Rig) -> None:
    """At 300 requests/s, beyond what a run without a fault shows on the same machine a moment before."""
    control = await measure(rig, siaga, NONE, fault_s=3.0, seed=1)
    for name in FAULTY:
        seen = await measure(rig, siaga, FAULTS[name], fault_s=3.0, seed=1)
        assert seen.errors <= control.errors, name
        assert seen.slow <= control.slow, name
        assert seen.divert_s < 1.0, name


async def test_a_region_that_hangs_is_left_within_a_second(rig: Rig) -> None:
    """Two tries and the way abroad don't fit 500 ms: those first requests are slow, none fails."""
    seen = await measure(rig, siaga, FAULTS["region hang"], fault_s=4.0, seed=1)
    assert seen.errors == 0
    assert seen.harm_s < 1.0
