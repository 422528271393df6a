from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.health.model import Point
from siaga.health.trend import DAY_S, HOUR_S, over_days, over_hours

NOW_S = 1_795_420_800.0


def hourly(days: int, value_at: object) -> list[Point]:
    assert callable(value_at)
    return [Point(NOW_S - h * HOUR_S, value_at(-h / 24)) for h in range(days * 24)]


def test_a_steady_rise_is_found_exactly() -> None:
    slope = over_days(hourly(20, lambda day: 50 + 1.5 * day), NOW_S)
    assert slope is not None
    assert slope.rises
    assert slope.per_day == pytest.approx(1.5)


def test_a_quarter_of_wild_days_does_not_move_the_slope() -> None:
    wild = random.Random(7)
    bad_days = set(wild.sample(range(28), 7))
    points = [
        Point(p.at_s, 0.0 if int((NOW_S - p.at_s) / DAY_S) in bad_days else p.value)
        for p in hourly(28, lambda day: 50 + day)
    ]
    slope = over_days(points, NOW_S)
    assert slope is not None
    assert slope.per_day == pytest.approx(1.0, rel=0.5)


def test_the_ups_and_downs_of_each_day_are_no_trend() -> None:
    points = hourly(14, lambda day: 40 + (30 if (day % 1) > 0.5 else 0))
    slope = over_days(points, NOW_S)
    assert slope is not None
    assert not slope.clear


def test_noise_is_no_trend() -> None:
    noise = random.Random(3)
    clear = 0
    for _ in range(100):
        slope = over_days([Point(NOW_S - d * DAY_S, noise.gauss(50, 5)) for d in range(28)], NOW_S)
        clear += slope is not None and slope.clear
    # The interval is one of 95 %: about 5 of 100, never 20.
    assert clear < 20


def test_four_days_are_too_few_to_tell() -> None:
    assert over_days(hourly(4, lambda day: 50 + day), NOW_S) is None
    assert over_days([], NOW_S) is None


def test_five_hours_are_too_few_and_six_tell() -> None:
    points = [Point(NOW_S - h * HOUR_S, 80 - h) for h in range(6)]
    assert over_hours(points[:5], NOW_S) is None
    slope = over_hours(points, NOW_S)
    assert slope is not None
    assert slope.rises
    assert slope.per_day == pytest.approx(24.0)


def test_points_from_the_future_do_not_count() -> None:
    points = hourly(10, lambda day: 50.0) + [Point(NOW_S + d * DAY_S, 1000.0 * d) for d in range(1, 20)]
    slope = over_days(points, NOW_S)
    assert slope is not None
    assert slope.per_day == 0


@given(
    st.lists(
        st.tuples(st.floats(0, 40 * DAY_S), st.floats(-1e6, 1e6)),
        max_size=60,
    )
)
def test_any_points_give_a_slope_inside_its_interval_or_none(points: list[tuple[float, float]]) -> None:
    slope = over_days([Point(NOW_S - age_s, value) for age_s, value in points], NOW_S)
    assert slope is None or slope.low <= slope.per_day <= slope.high
