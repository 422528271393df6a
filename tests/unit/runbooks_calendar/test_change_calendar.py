"""Freezes out of iCalendar files: days, zones, repetitions, and everything that makes one unreadable."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, Exit
from siaga.runbooks.change_calendar import BYTES_MAX, Horizon, freezes_in
from siaga.runbooks.freezes import Freeze
from siaga.sop.clauses import ClauseId

HORIZON = Horizon(datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC), "Asia/Jakarta")
IN_BERLIN = "DTSTART;TZID=Europe/Berlin:20261224T180000\nDTEND;TZID=Europe/Berlin:20261224T200000"


def read(*events: str) -> tuple[Freeze, ...]:
    return freezes_in(calendar(*events), HORIZON, source="changes.ics", runbooks=("update-database",))


def calendar(*events: str) -> bytes:
    body = "\n".join(f"BEGIN:VEVENT\nUID:{n}\n{event}\nEND:VEVENT" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n{body}\nEND:VCALENDAR\n".replace("\n", "\r\n").encode()


def spans(*events: str) -> list[str]:
    return [f"{f.begin:%Y-%m-%dT%H:%M}/{f.end:%Y-%m-%dT%H:%M}" for f in read(*events)]


def test_a_whole_day_is_one_of_the_sites_zone() -> None:
    assert spans("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261226\nSUMMARY:holidays") == [
        "2026-12-23T17:00/2026-12-25T17:00"
    ]
    assert spans("DTSTART;VALUE=DATE:20261224") == ["2026-12-23T17:00/2026-12-24T17:00"]


def test_a_time_with_a_zone_and_one_in_utc_and_one_without() -> None:
    assert spans(IN_BERLIN) == ["2026-12-24T17:00/2026-12-24T19:00"]
    assert spans("DTSTART:20261224T180000Z\nDURATION:PT90M") == ["2026-12-24T18:00/2026-12-24T19:30"]
    assert spans("DTSTART:20261224T180000\nDTEND:20261224T190000") == ["2026-12-24T11:00/2026-12-24T12:00"]


def test_a_repetition_keeps_its_hour_on_the_wall_over_the_change_to_summer_time() -> None:
    weekly = "DTSTART;TZID=Europe/Berlin:20270322T090000\nDTEND;TZID=Europe/Berlin:20270322T100000\n"
    assert spans(weekly + "RRULE:FREQ=WEEKLY;COUNT=2") == [
        "2027-03-22T08:00/2027-03-22T09:00",
        "2027-03-29T07:00/2027-03-29T08:00",
    ]


def test_an_end_of_repetitions_counts_the_last_one() -> None:
    daily = "DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=DAILY;UNTIL="
    assert len(spans(daily + "20261203")) == 3
    timed = "DTSTART:20261201T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL="
    assert len(spans(timed + "20261203T090000Z")) == 3
    assert len(spans(timed + "20261203T085959Z")) == 2


def test_a_month_end_repeats_where_there_is_one() -> None:
    found = spans("DTSTART;VALUE=DATE:20261130\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1")
    assert [f[:10] for f in found] == [
        "2026-11-29", "2026-12-30", "2027-01-30", "2027-02-27", "2027-03-30", "2027-04-29", "2027-05-30"
    ]  # fmt: skip


def test_dates_are_added_and_taken_out() -> None:
    weekly = "DTSTART:20261201T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=4\n"
    assert [f[:10] for f in spans(weekly + "EXDATE:20261208T090000Z\nRDATE:20261210T090000Z")] == [
        "2026-12-01", "2026-12-10", "2026-12-15", "2026-12-22"
    ]  # fmt: skip
    assert len(spans(weekly + "EXDATE;VALUE=DATE:20261208")) == 3
    assert len(spans(weekly + "RDATE;VALUE=PERIOD:20261211T090000Z/PT2H")) == 5


def test_one_repetition_that_was_moved_or_cancelled_takes_the_place_of_its_original() -> None:
    weekly = "DTSTART:20261201T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3"
    moved = "RECURRENCE-ID:20261208T090000Z\nDTSTART:20261209T120000Z\nDURATION:PT1H"
    both = calendar(weekly, moved).replace(b"UID:1", b"UID:0")
    found = freezes_in(both, HORIZON, source="changes.ics")
    assert [f"{f.begin:%d %H}" for f in found] == ["01 09", "09 12", "15 09"]
    gone = calendar(weekly, f"{moved}\nSTATUS:CANCELLED").replace(b"UID:1", b"UID:0")
    assert [f.begin.day for f in freezes_in(gone, HORIZON, source="changes.ics")] == [1, 15]


def test_a_cancelled_event_freezes_nothing() -> None:
    assert spans(IN_BERLIN + "\nSTATUS:CANCELLED") == []


def test_an_event_that_began_long_ago_and_lasts_still_counts() -> None:
    assert spans("DTSTART:20250101T000000Z\nDTEND:20270101T000000Z") == ["2025-01-01T00:00/2027-01-01T00:00"]
    assert len(spans("DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY")) == 1


def test_categories_that_are_clauses_or_runbooks_narrow_it_and_others_do_not() -> None:
    narrowed = read(IN_BERLIN + "\nCATEGORIES:PMT-2.2,Holiday\nCATEGORIES:update-database")[0]
    assert narrowed.clauses == {ClauseId.PMT_2_2}
    assert narrowed.runbooks == {"update-database"}
    misspelt = read(IN_BERLIN + "\nCATEGORIES:PMT-22")[0]
    assert misspelt.applies("anything", ClauseId.DRP), "what is not understood freezes more, not less"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("SUMMARY:no time", "no DTSTART"),
        ("DTSTART:yesterday\nSUMMARY:audit", "audit"),
        ("DTSTART:20261224T180000Z\nDTEND:20261224T170000Z\nSUMMARY:audit", "expected an end after"),
        ("DTSTART;TZID=Asia/Jakrata:20261224T180000\nDURATION:PT1H", '"Asia/Jakrata" is not known'),
        (IN_BERLIN + "\nRRULE:FREQ=FORTNIGHTLY", "RRULE is not understood"),
        (IN_BERLIN + "\nRRULE:FREQ=SECONDLY", "expected days, weeks, months or years"),
        (IN_BERLIN + "\nRRULE:FREQ=DAILY;BYSECOND=1,2,3", "expected days, weeks, months or years"),
        (IN_BERLIN + "\nRRULE:FREQ=DAILY;INTERVAL=0", "expected days"),
        ("DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "that come"),
        ("DTSTART;VALUE=DATE:00010101\nRRULE:FREQ=DAILY", "expected 2000 or later"),
        (IN_BERLIN + "\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261208T090000Z", "RANGE is not understood"),
    ],
)
def test_an_event_that_is_not_understood_makes_the_calendar_unreadable_and_is_named(event: str, words: str) -> None:
    good = "DTSTART;VALUE=DATE:20261201"
    with pytest.raises(BadInput, match="changes.ics|RANGE") as refusal:
        read(good, event)
    assert words in refusal.value.message
    assert refusal.value.exit_code is Exit.USAGE


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 120, -20])
def test_a_file_that_was_cut_short_is_unreadable(cut: int) -> None:
    with pytest.raises(BadInput):
        freezes_in(calendar(IN_BERLIN)[:cut], HORIZON, source="changes.ics")


def test_a_file_of_another_kind_is_unreadable() -> None:
    for content in (b"\xff\xfe\x00", b"PK\x03\x04", b"<html></html>", b"x" * (BYTES_MAX + 1)):
        with pytest.raises(BadInput):
            freezes_in(content, HORIZON, source="changes.ics")


def test_an_empty_calendar_freezes_nothing() -> None:
    assert read() == ()


@given(st.binary(max_size=200))
def test_foreign_bytes_between_events_are_refused_or_read_never_anything_else(junk: bytes) -> None:
    content = calendar(IN_BERLIN).replace(b"END:VEVENT", b"X-NOTE:" + junk + b"\r\nEND:VEVENT")
    try:
        found = freezes_in(content, HORIZON, source="changes.ics")
    except BadInput:
        return
    assert all(f.begin < f.end for f in found)
