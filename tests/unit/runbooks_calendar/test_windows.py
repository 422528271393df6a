"""Windows as instants: zones, midnight, month ends, and clocks that change inside them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.runbooks.windows import Window

WEDNESDAY = Window(frozenset({3}), time(3), time(4), "Asia/Jakarta")
SUNDAY_IN_BERLIN = Window(frozenset({7}), time(2), time(3), "Europe/Berlin")
OVER_MIDNIGHT = Window(frozenset({2}), time(23, 30), time(1), "Asia/Jakarta")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.clause("PMT-2.1")
def test_wednesday_at_three_in_jakarta_is_tuesday_evening_in_utc() -> None:
    opening = WEDNESDAY.opening(date(2026, 11, 25))
    assert opening.begin == utc("2026-11-24T20:00")
    assert opening.last_start == utc("2026-11-24T20:40")
    assert opening.hard_stop == utc("2026-11-24T20:55")
    assert opening.end == utc("2026-11-24T21:00")


def test_openings_are_asked_for_by_instants_and_named_by_the_date_there() -> None:
    """The first Wednesday of 2027 in Jakarta begins on a Tuesday of UTC, in the same week."""
    found = list(WEDNESDAY.openings(utc("2026-12-29T20:00"), utc("2027-01-12T20:00")))
    assert [opening.day for opening in found] == [date(2026, 12, 30), date(2027, 1, 6)]


def test_a_month_that_begins_on_a_wednesday_begins_in_the_month_before_in_utc() -> None:
    found = list(WEDNESDAY.openings(utc("2027-08-31T00:00"), utc("2027-09-01T00:00")))
    assert [opening.day for opening in found] == [date(2027, 9, 1)]
    assert found[0].begin == utc("2027-08-31T20:00")


def test_a_window_across_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    opening = OVER_MIDNIGHT.opening(date(2026, 12, 29))
    assert (opening.begin, opening.end) == (utc("2026-12-29T16:30"), utc("2026-12-29T18:00"))
    across_the_year = Window(frozenset({4}), time(23, 30), time(1), "Asia/Jakarta").opening(date(2026, 12, 31))
    assert across_the_year.end == utc("2026-12-31T18:00")


def test_an_hour_that_summer_time_leaves_out_gives_no_time_to_start() -> None:
    assert not SUNDAY_IN_BERLIN.opening(date(2026, 3, 29)).startable


def test_an_hour_that_comes_twice_gives_one_window_of_its_usual_length() -> None:
    opening = SUNDAY_IN_BERLIN.opening(date(2026, 10, 25))
    assert opening.begin == utc("2026-10-25T00:00")
    assert opening.end - opening.begin == timedelta(hours=1)


def test_a_window_over_the_change_to_summer_time_is_shorter_never_longer() -> None:
    window = Window(frozenset({7}), time(1), time(5), "Europe/Berlin")
    assert window.opening(date(2026, 3, 29)).end - window.opening(date(2026, 3, 29)).begin == timedelta(hours=3)
    assert window.opening(date(2026, 10, 25)).end - window.opening(date(2026, 10, 25)).begin == timedelta(hours=4)


def test_the_utc_hour_moves_with_summer_time_and_the_local_hour_stays() -> None:
    winter, summer = (SUNDAY_IN_BERLIN.opening(day).begin.hour for day in (date(2026, 1, 4), date(2026, 7, 5)))
    assert (winter, summer) == (1, 0)


@pytest.mark.parametrize(
    ("weekdays", "last_start_min", "hard_stop_min"),
    [(frozenset(), 20, 5), (frozenset({8}), 20, 5), (frozenset({3}), 60, 5), (frozenset({3}), 20, 25)],
)
def test_a_window_in_which_nothing_could_start_is_refused(
    weekdays: frozenset[int], last_start_min: int, hard_stop_min: int
) -> None:
    with pytest.raises(ValueError, match="expected"):
        Window(
            weekdays,
            time(3),
            time(4),
            "Asia/Jakarta",
            last_start_before_end=timedelta(minutes=last_start_min),
            hard_stop_before_end=timedelta(minutes=hard_stop_min),
        )


@given(
    begin=st.times(time(0), time(23, 59)),
    length_min=st.integers(21, 1400),
    weekdays=st.frozensets(st.integers(1, 7), min_size=1),
    zone=st.sampled_from(["Asia/Jakarta", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]),
    day=st.dates(date(2020, 1, 1), date(2035, 12, 31)),
)
def test_every_opening_lies_inside_the_hours_that_clocks_there_show(
    begin: time, length_min: int, weekdays: frozenset[int], zone: str, day: date
) -> None:
    begin = begin.replace(second=0, microsecond=0)
    end = (datetime.combine(date(2000, 1, 1), begin) + timedelta(minutes=length_min)).time()
    window = Window(weekdays, begin, end, zone)
    opening = window.opening(day)
    assert opening.end - opening.begin <= timedelta(minutes=length_min)
    assert opening.last_start <= opening.hard_stop <= opening.end
    since = datetime.combine(day, time(), UTC)
    found = list(window.openings(since, since + timedelta(days=21)))
    assert len({o.day for o in found}) == len(found)
    assert all(since <= o.begin < since + timedelta(days=21) and o.day.isoweekday() in weekdays for o in found)
    assert abs(len(found) - 3 * len(weekdays)) <= 1
