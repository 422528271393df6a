"""The month of a report, in Jakarta."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from siaga.errors import BadInput
from siaga.reports.period import Stage, day_bounds, day_of, demand_reportable, stage
from siaga.sop.month import Month

NOVEMBER = Month(2026, 11)
BEGAN_AT = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
"""October by UTC, the first of November in Jakarta."""


def test_a_month_begins_and_ends_at_midnight_in_jakarta() -> None:
    assert NOVEMBER.begin == datetime(2026, 10, 31, 17, tzinfo=UTC)
    assert NOVEMBER.end == datetime(2026, 11, 30, 17, tzinfo=UTC)
    assert len(NOVEMBER.days) == 30
    assert Month(2026, 12).next == Month(2027, 1)
    assert Month(2028, 2).days[-1] == date(2028, 2, 29)


def test_a_moment_belongs_to_the_month_and_day_that_it_has_in_jakarta() -> None:
    assert Month.holding(BEGAN_AT) == NOVEMBER
    assert Month.holding(NOVEMBER.begin - timedelta(microseconds=1)) == Month(2026, 10)
    assert day_of(BEGAN_AT) == date(2026, 11, 1)
    assert day_bounds(date(2026, 11, 1))[0] == NOVEMBER.begin


def test_a_month_is_final_from_its_last_moment_on() -> None:
    assert stage(NOVEMBER, NOVEMBER.end - timedelta(seconds=1)) is Stage.RUNNING
    assert stage(NOVEMBER, NOVEMBER.end) is Stage.FINAL


def test_a_month_is_written_with_year_and_month() -> None:
    assert Month.parse("2026-11") == NOVEMBER
    assert str(NOVEMBER) == "2026-11"


@pytest.mark.parametrize(
    "text", ["", "2026-13", "2026-00", "11-2026", "2026-1", "2026-11-01", "0001-01", "２０２６-11"]
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        Month.parse(text)
    assert f"`--month` is `{text}`, expected a month such as 2026-11" in str(refused.value)


def refusal(month: Month, removed: int = 0) -> str:
    with pytest.raises(BadInput) as refused:
        demand_reportable(month, began_at=BEGAN_AT, removed=removed, now=datetime(2026, 12, 5, tzinfo=UTC))
    return str(refused.value)


def test_a_month_before_the_site_is_refused_and_the_first_one_is_named() -> None:
    said = refusal(Month(2026, 10))
    assert "before there was a site, expected 2026-11 to 2026-12" in said
    assert "2026-11-01 01:30:00 Asia/Jakarta" in said


def test_a_month_whose_evidence_was_removed_is_refused_for_that_reason() -> None:
    assert "removed by retention (records 0 to 41)" in refusal(Month(2026, 10), removed=42)


def test_a_month_to_come_is_refused_and_the_running_one_is_named() -> None:
    assert "`--month` is 2027-01, which has not begun, expected 2026-12" in refusal(Month(2027, 1))


@pytest.mark.parametrize("month", [NOVEMBER, Month(2026, 12)])
def test_the_first_month_and_the_running_one_may_be_reported_on(month: Month) -> None:
    demand_reportable(month, began_at=BEGAN_AT, removed=0, now=datetime(2026, 12, 5, tzinfo=UTC))
