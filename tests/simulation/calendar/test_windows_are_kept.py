"""Years of windows with everything that can befall a controller, its clock and its disk.

SIAGA_SIM_CALENDAR_YEARS=100 makes it a soak. Replay a seed: python -m siaga.simulation.calendar SEED
"""

from __future__ import annotations

import os

import pytest

from siaga.simulation.calendar.scenario import scenario
from siaga.simulation.calendar.world import Report, live

YEARS = float(os.environ.get("SIAGA_SIM_CALENDAR_YEARS", "2"))
WEEKS = 13
SEEDS = range(max(2, round(YEARS * 52 / WEEKS)))


def lived(seed: int) -> Report:
    report = live(scenario(seed, weeks=WEEKS))
    broken = "\n".join(f"  {breach}" for breach in report.breaches)
    assert not report.breaches, f"{broken}\nreplay with: python -m siaga.simulation.calendar {seed}"
    return report


@pytest.mark.clause("PMT-2.1")
@pytest.mark.clause("SUM")
@pytest.mark.parametrize("seed", SEEDS)
def test_every_window_has_one_ending_and_nothing_runs_outside_it_or_twice(seed: int) -> None:
    """A quarter of a year, three appointments, two zones, and a mode drawn with the faults."""
    report = lived(seed)
    assert sum(report.ended.values()) >= 3 * (WEEKS - 2), "too few windows were judged to prove anything"


def test_a_seed_replays_exactly() -> None:
    """Without this a failing seed would be no help."""
    first, second = (live(scenario(1, weeks=4)).documents for _ in range(2))
    assert first
    assert first == second
