"""Good, bad or unknown, from journeys and from the users' own requests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from siaga.uptime.decide import STALE_MS, judge_region, judge_site
from siaga.uptime.model import Blind, Count, Outcome, RegionSlice, Slice, Source, State, Step, Trip
from siaga.uptime.traffic import difference, marks, shares, weighed

pytestmark = pytest.mark.clause("ZDT-1")
SHARES = {"sgp": 700_000, "fra": 300_000}


def trip(begin_ms: int, outcome: Outcome = Outcome.OK, *, took_ms: int = 20, vantage: str = "sgp") -> Trip:
    failed = outcome is Outcome.FAILED
    step, why = (Step.TRANSFER, "transfer: answered 503") if failed else (None, "")
    return Trip("sgp", vantage, begin_ms, begin_ms + took_ms, outcome, step, why)


def trips(*moments_ms: int, failed: Sequence[int] = ()) -> list[Trip]:
    return [trip(at, Outcome.FAILED if at in failed else Outcome.OK) for at in moments_ms]


def counts(*ticks: tuple[int, int]) -> list[Count]:
    """A tick a second, of (answered, failed)."""
    return [Count("sgp", n * 1000, (n + 1) * 1000, answered, failed) for n, (answered, failed) in enumerate(ticks)]


def states(found: Sequence[RegionSlice]) -> list[tuple[int, int, State]]:
    joined: list[tuple[int, int, State]] = []
    for each in found:
        if joined and joined[-1][2] is each.state:
            joined[-1] = (joined[-1][0], each.end_ms, each.state)
        else:
            joined.append((each.begin_ms, each.end_ms, each.state))
    return joined


def test_an_outage_of_three_seconds_counts_as_three_and_not_as_a_slice_of_ten() -> None:
    failed = tuple(range(2000, 5000, 250))
    seen = trips(0, 1000, *failed, 5000, 6000, 7000, 8000, 9000, failed=failed)
    assert states(judge_region(seen, [], 0, 9500)) == [
        (0, 2000, State.GOOD),
        (2000, 5020, State.BAD),
        (5020, 9500, State.GOOD),
    ]


def test_time_without_a_journey_and_without_a_request_is_unknown() -> None:
    found = states(judge_region(trips(1000), [], 0, 20_000))
    assert found == [(0, 1000, State.UNKNOWN), (1000, 1020 + STALE_MS, State.GOOD), (5020, 20_000, State.UNKNOWN)]


def test_a_journey_that_says_nothing_about_the_platform_is_unknown_and_not_bad() -> None:
    seen = [trip(0, Outcome.INCONCLUSIVE), trip(1000, Outcome.INCONCLUSIVE)]
    assert states(judge_region(seen, [], 0, 2000)) == [(0, 2000, State.UNKNOWN)]


def test_real_requests_alone_measure() -> None:
    assert states(judge_region([], counts((5, 0), (0, 0), (5, 0)), 0, 3000)) == [
        (0, 1000, State.GOOD),
        (1000, 2000, State.UNKNOWN),
        (2000, 3000, State.GOOD),
    ]


def test_failing_requests_alone_make_bad_for_the_share_that_failed() -> None:
    found = judge_region(trips(0, 1000, 2000), counts((100, 0), (100, 50), (100, 1)), 0, 3000)
    worst = [each for each in found if each.state is State.BAD]
    assert (worst[0].begin_ms, worst[-1].end_ms) == (1000, 2000)
    assert {each.share_ppm for each in worst} == {500_000}
    assert {each.sources for each in worst} == {(Source.TRAFFIC,)}


def test_of_a_bad_slice_with_few_requests_only_the_failing_seconds_are_bad() -> None:
    ticks = [(3, 0)] * 4 + [(3, 2)] * 3 + [(3, 0)] * 3
    assert states(judge_region([], counts(*ticks), 0, 10_000)) == [
        (0, 4000, State.GOOD),
        (4000, 7000, State.BAD),
        (7000, 10_000, State.GOOD),
    ]


def test_fewer_than_twenty_requests_in_a_slice_prove_nothing_bad() -> None:
    found = states(judge_region([], counts((5, 5), (5, 0)), 0, 2000))
    assert found == [(0, 1000, State.UNKNOWN), (1000, 2000, State.GOOD)]


def test_one_failed_journey_that_the_users_did_not_notice_is_good() -> None:
    seen = trips(0, 500, 750, 1500, failed=(500,))
    busy = counts((50, 0), (50, 0))
    assert states(judge_region(seen, busy, 0, 2000)) == [(0, 2000, State.GOOD)]


def test_one_failed_journey_without_users_counts_until_the_next_answer() -> None:
    seen = trips(0, 500, 750, 1500, failed=(500,))
    assert states(judge_region(seen, [], 0, 2000)) == [
        (0, 500, State.GOOD),
        (500, 770, State.BAD),
        (770, 2000, State.GOOD),
    ]


def test_two_failed_journeys_are_bad_whatever_the_other_requests_say() -> None:
    seen = trips(0, 500, 750, 1000, failed=(500, 750))
    found = judge_region(seen, counts((500, 2), (500, 0)), 0, 1500)
    bad = [each for each in found if each.state is State.BAD]
    assert (bad[0].begin_ms, bad[-1].end_ms) == (500, 1020)
    assert all(each.confirmed and each.steps == (Step.TRANSFER,) for each in bad)


@pytest.mark.parametrize(("failing", "of", "state"), [(1, 2, State.BAD), (1, 3, State.GOOD), (2, 3, State.BAD)])
def test_of_vantage_points_that_disagree_half_have_to_see_it(failing: int, of: int, state: State) -> None:
    seen = [
        trip(at, Outcome.FAILED if lane < failing else Outcome.OK, vantage=f"v{lane}")
        for lane in range(of)
        for at in (0, 1000, 2000)
    ]
    assert {each.state for each in judge_region(seen, [], 0, 2500)} == {state}


def test_a_journey_that_waited_for_the_service_to_come_back_proves_it_from_its_answer_on() -> None:
    seen = [trip(0), trip(1000, Outcome.FAILED), trip(1250, Outcome.FAILED), trip(1500, took_ms=900)]
    assert states(judge_region(seen, [], 0, 3000))[1] == (1000, 2400, State.BAD)


def test_a_monitor_that_dies_in_an_outage_leaves_unknown_behind_it() -> None:
    seen = trips(0, 250, failed=(0, 250))
    assert states(judge_region(seen, [], 0, 10_000)) == [(0, 4270, State.BAD), (4270, 10_000, State.UNKNOWN)]


def test_a_site_is_bad_when_any_region_is_with_the_share_beside_it() -> None:
    good, bad = RegionSlice(0, 1000, State.GOOD), RegionSlice(0, 1000, State.BAD, 500_000, why="w")
    (found,) = judge_site({"sgp": [good], "fra": [bad]}, SHARES, [], 0, 1000)
    assert found == Slice(0, 1000, State.BAD, 150_000, regions=("fra",), why="w")


def test_a_site_with_one_unmeasured_region_is_unknown_unless_another_is_bad() -> None:
    dark = RegionSlice(0, 1000, State.UNKNOWN, why="nothing")
    good, bad = RegionSlice(0, 1000, State.GOOD), RegionSlice(0, 1000, State.BAD, 1_000_000)
    assert judge_site({"sgp": [good], "fra": [dark]}, SHARES, [], 0, 1000)[0].state is State.UNKNOWN
    assert judge_site({"sgp": [bad], "fra": [dark]}, SHARES, [], 0, 1000)[0].state is State.BAD


def test_what_the_monitor_slept_through_is_unknown() -> None:
    good = RegionSlice(0, 9000, State.GOOD)
    found = judge_site({"sgp": [good]}, {"sgp": 1_000_000}, [Blind(3000, 5000, "asleep")], 0, 9000)
    assert [(each.begin_ms, each.end_ms, each.state) for each in found] == [
        (0, 3000, State.GOOD),
        (3000, 5000, State.UNKNOWN),
        (5000, 9000, State.GOOD),
    ]


def test_counters_that_went_back_are_no_count() -> None:
    assert difference("sgp", (0, 100, 1), (1000, 130, 3)) == Count("sgp", 0, 1000, 30, 2)
    assert difference("sgp", (0, 100, 1), (1000, 5, 0)) is None
    assert difference("sgp", (0, 100, 9), (1000, 130, 3)) is None


def test_shares_follow_the_users_and_not_the_outage() -> None:
    weights = weighed({}, [Count("sgp", 0, 1, 300, 0), Count("fra", 0, 1, 100, 0)])
    assert shares(weights, ("sgp", "fra")) == {"sgp": 750_000, "fra": 250_000}
    during = weighed(weights, [Count("fra", 1, 2, 1, 1)] * 1000)
    assert shares(during, ("sgp", "fra")) == {"sgp": 750_000, "fra": 250_000}
    assert shares({}, ("a", "b", "c")) == {"a": 333_334, "b": 333_333, "c": 333_333}


def test_two_lost_requests_at_the_begin_of_a_slice_are_no_outage() -> None:
    few = Count("sgp", 0, 500, 30, 2)
    many = Count("sgp", 0, 500, 30, 5)
    assert [mark.state for mark in marks([few])] == [State.UNKNOWN]
    assert [mark.state for mark in marks([many])] == [State.BAD]
