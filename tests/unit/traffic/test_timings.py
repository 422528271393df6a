from __future__ import annotations

import pytest
from traffic_sites import a_site

from siaga.errors import BadInput
from siaga.traffic.timings import site_timings, timings

pytestmark = pytest.mark.clause("ZDT-1.1a")


def test_a_try_beside_the_database_leaves_200_ms_and_a_far_one_240() -> None:
    found = site_timings(a_site(2, 2))
    assert (found["sgp"].per_try_ms, found["sgp"].database_deadline_ms) == (200, 150)
    assert (found["fra"].per_try_ms, found["fra"].database_deadline_ms) == (240, 215)


@pytest.mark.parametrize("round_trip_ms", range(0, 161, 10))
def test_a_hung_node_and_its_neighbour_fit_the_limit_at_every_distance(round_trip_ms: int) -> None:
    found = timings("fra", round_trip_ms)
    assert found.per_try_ms + round_trip_ms < 500
    assert round_trip_ms < found.database_deadline_ms < found.per_try_ms


def test_a_region_too_far_for_a_second_try_is_refused_with_the_distance_it_may_have() -> None:
    with pytest.raises(BadInput, match="region `syd` is 300 ms from the database, .* at most 160 ms"):
        timings("syd", 300)


def test_a_stricter_limit_shortens_the_try() -> None:
    assert timings("fra", 100, latency_ms_max=400).per_try_ms < timings("fra", 100).per_try_ms
