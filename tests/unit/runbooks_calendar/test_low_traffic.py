"""Traffic at its low: measured over weeks and now, and unknown wherever it was not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import pytest

from siaga.runbooks.low_traffic import HourCount, Level, traffic_at
from siaga.runbooks.windows import Window

WINDOW = Window(frozenset({3}), time(3), time(4), "Asia/Jakarta")
OPENING = WINDOW.opening(date(2026, 11, 25))
NOW = OPENING.begin


def hours(count: Callable[[datetime], int], weeks: int = 4) -> list[HourCount]:
    """Every hour of the last weeks; `count` is asked with the time in Jakarta."""
    begins = (NOW - timedelta(hours=n) for n in range(1, weeks * 168 + 1))
    return [HourCount(begin, count(begin + timedelta(hours=7))) for begin in begins]


def by_day(there: datetime) -> int:
    """Quiet at night, busy in the evening."""
    return 1_000 if 2 <= there.hour < 5 else 50_000 if there.hour >= 18 else 20_000


def level(measured: list[HourCount], now: float | None = 1_000) -> Level:
    return traffic_at(OPENING, WINDOW.zone, measured, now, NOW).level


@pytest.mark.clause("PMT-2.1")
def test_a_window_in_the_quietest_hours_is_at_the_low_with_its_figures() -> None:
    found = traffic_at(OPENING, WINDOW.zone, hours(by_day), 1_100, NOW)
    assert found.level is Level.LOW
    assert found.figures["requests_per_hour_usual"] == 1_000
    assert found.figures["weeks_measured"] == 4


def test_a_window_at_a_busy_hour_is_not_at_the_low() -> None:
    found = traffic_at(OPENING, WINDOW.zone, hours(lambda t: 90_000 if t.hour == 3 else 1_000), 90_000, NOW)
    assert found.level is Level.NOT_LOW
    assert "99%" in found.reason or "96%" in found.reason


def test_the_same_traffic_all_week_is_its_low_at_any_time() -> None:
    assert level(hours(lambda _: 5_000), 5_000) is Level.LOW


def test_a_surge_of_this_very_hour_is_not_the_low() -> None:
    assert level(hours(by_day), 2_001) is Level.NOT_LOW
    assert level(hours(lambda _: 10), 500) is Level.LOW, "a doubling of next to nothing is chance"


def test_weekends_quieter_than_the_window_are_lower_hours() -> None:
    assert level(hours(lambda t: 100 if t.isoweekday() >= 6 else 5_000), 5_000) is Level.NOT_LOW


@pytest.mark.parametrize(
    ("measured", "now"),
    [
        ([], 1_000.0),
        (hours(by_day, weeks=1), 1_000.0),
        ([h for h in hours(by_day) if (h.begin + timedelta(hours=7)).hour != 3], 1_000.0),
        ([h for h in hours(by_day) if (h.begin + timedelta(hours=7)).hour < 12], 1_000.0),
        (hours(by_day), None),
    ],
)
def test_what_was_not_measured_is_unknown_never_low(measured: list[HourCount], now: float | None) -> None:
    assert level(measured, now) is Level.UNKNOWN


def test_weeks_long_past_and_hours_to_come_do_not_count() -> None:
    old = [HourCount(h.begin - timedelta(weeks=5), h.requests) for h in hours(by_day)]
    ahead = [HourCount(h.begin + timedelta(weeks=5), h.requests) for h in hours(by_day)]
    assert level(old + ahead) is Level.UNKNOWN


def test_the_hours_of_a_zone_with_summer_time_are_those_on_the_wall() -> None:
    window = Window(frozenset({7}), time(3), time(4), "Europe/Berlin")
    opening = window.opening(date(2026, 4, 5))
    begins = [opening.begin - timedelta(hours=n) for n in range(1, 4 * 168 + 1)]
    summer = datetime(2026, 3, 29, 1, tzinfo=UTC)
    there = {b: (b + timedelta(hours=2 if b >= summer else 1)).hour for b in begins}
    measured = [HourCount(b, 10 if there[b] == 3 else 5_000) for b in begins]
    found = traffic_at(opening, window.zone, measured, 10, opening.begin)
    assert (found.level, found.figures["requests_per_hour_usual"]) == (Level.LOW, 10)
