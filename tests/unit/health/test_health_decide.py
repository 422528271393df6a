from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.health.decide import judge
from siaga.health.model import FILLS, VARIES, Kind, Observation, Point, Verdict
from siaga.health.trend import DAY_S, HOUR_S
from siaga.site.health import COUNTING_DOWN, HealthLimits, Limit

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LIMITS = HealthLimits()


def seen(kind: Kind, value: float | None, why: str = "") -> Observation:
    return Observation(kind, "local", "it", value, why)


@pytest.mark.clause("PMT")
@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0, Verdict.OK), (79.9, Verdict.OK), (80, Verdict.ACT_SOON), (91.9, Verdict.ACT_SOON), (92, Verdict.ACT_NOW)],
)
def test_a_limit_bites_from_its_very_value_on(value: float, verdict: Verdict) -> None:
    assert judge(seen(Kind.DISK_SPACE, value), (), LIMITS, NOW).verdict is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(31, Verdict.OK), (30, Verdict.ACT_SOON), (7.1, Verdict.ACT_SOON), (7, Verdict.ACT_NOW), (-3, Verdict.ACT_NOW)],
)
def test_days_that_count_down_bite_from_above(value: float, verdict: Verdict) -> None:
    reading = judge(seen(Kind.CERTIFICATE, value), (), LIMITS, NOW)
    assert reading.verdict is verdict
    assert reading.days_left == value


def test_one_error_asks_to_act_now() -> None:
    assert judge(seen(Kind.CHECKSUM_FAILURES, 1), (), LIMITS, NOW).verdict is Verdict.ACT_NOW


def test_what_was_not_measured_is_never_ok_and_says_why() -> None:
    reading = judge(seen(Kind.CLOCK_OFFSET, None, "chrony does not answer"), (), LIMITS, NOW)
    assert reading.verdict is Verdict.NOT_MEASURED
    assert reading.why == "chrony does not answer"


@pytest.mark.clause("PMT")
def test_a_disk_that_fills_in_ten_days_asks_to_act_soon_though_it_is_half_empty() -> None:
    history = [Point(NOW.timestamp() - d * DAY_S, 52 - 4.0 * d) for d in range(1, 13)]
    reading = judge(seen(Kind.DISK_SPACE, 52), history, LIMITS, NOW)
    assert reading.verdict is Verdict.ACT_SOON
    assert reading.trend_per_day == pytest.approx(4.0)
    assert reading.days_left == pytest.approx(10.0)
    assert "10.0 days left" in reading.why


def test_a_disk_that_fills_within_hours_asks_to_act_now() -> None:
    history = [Point(NOW.timestamp() - h * HOUR_S, 50 - 2.0 * h) for h in range(1, 12)]
    reading = judge(seen(Kind.DISK_SPACE, 50), history, LIMITS, NOW)
    assert reading.verdict is Verdict.ACT_NOW
    assert reading.days_left == pytest.approx(42 / 48, rel=0.1)


def test_a_morning_rise_of_connections_is_no_trend() -> None:
    history = [Point(NOW.timestamp() - h * HOUR_S, 60 - 4.0 * h) for h in range(1, 12)]
    reading = judge(seen(Kind.CONNECTIONS, 60), history, LIMITS, NOW)
    assert reading.verdict is Verdict.OK
    assert reading.days_left is None


def test_a_value_that_falls_leaves_no_days() -> None:
    history = [Point(NOW.timestamp() - d * DAY_S, 50 + 3.0 * d) for d in range(1, 13)]
    reading = judge(seen(Kind.DISK_SPACE, 50), history, LIMITS, NOW)
    assert reading.verdict is Verdict.OK
    assert reading.days_left is None
    assert reading.trend_per_day == pytest.approx(-3.0)


@given(
    st.sampled_from(Kind),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.lists(
        st.builds(Point, st.floats(NOW.timestamp() - 40 * DAY_S, NOW.timestamp()), st.floats(0, 1e4)), max_size=40
    ),
)
def test_a_worse_value_never_has_a_better_verdict_against_the_same_limit(
    kind: Kind, one: float, other: float, history: list[Point]
) -> None:
    order = (Verdict.OK, Verdict.ACT_SOON, Verdict.ACT_NOW)
    better, worse = sorted((one, other), reverse=kind.counts_down)
    bare = [order.index(judge(seen(kind, value), (), LIMITS, NOW).verdict) for value in (better, worse)]
    assert bare[0] <= bare[1]
    # A trend only ever makes it worse.
    assert order.index(judge(seen(kind, worse), history, LIMITS, NOW).verdict) >= bare[1]


def test_the_site_may_be_stricter() -> None:
    strict = HealthLimits(disk_space_used_percent=Limit(soon=40, now=45))
    assert judge(seen(Kind.DISK_SPACE, 46), (), strict, NOW).verdict is Verdict.ACT_NOW


def test_every_kind_has_a_limit_and_every_limit_a_kind() -> None:
    assert {kind.value for kind in Kind} | {"days_left"} == set(HealthLimits.model_fields)
    assert {kind.value for kind in Kind} >= COUNTING_DOWN
    assert not FILLS & VARIES


def test_what_is_known_to_be_nothing_is_a_verdict_of_its_own_and_says_why() -> None:
    seen = Observation(Kind.FILESYSTEM_ERRORS, "local", "/", None, "xfs keeps no count", applicable=False)
    reading = judge(seen, (), LIMITS, NOW)
    assert reading.verdict is Verdict.NOT_APPLICABLE
    assert reading.why == "xfs keeps no count"
