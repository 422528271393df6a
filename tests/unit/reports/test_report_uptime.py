"""A month's uptime, read from the file that the uptime domain keeps (ZDT-1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from reported_month import AFTER, NOVEMBER, at

from siaga.reports import uptime
from siaga.reports.model import UptimeMonth
from siaga.sop.adherence import Adherence
from siaga.sop.limits import UptimeLimits
from siaga.sop.month import Month
from siaga.uptime.model import Reclassification, Slice, State
from siaga.uptime.sqlite import SqliteStore

pytestmark = pytest.mark.clause("ZDT-1")


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def measured(begin: datetime, end: datetime, state: State = State.GOOD) -> Slice:
    bad = state is State.BAD
    return Slice(ms(begin), ms(end), state, share_ppm=250_000 if bad else 0, regions=("sgp",) if bad else ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uptime.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A site that was served since before November."""
    made = SqliteStore(path)
    made.begin(ms(NOVEMBER.begin - timedelta(days=9)))
    yield made
    made.close()


def read_month(path: Path, month: Month, now: datetime, limits: UptimeLimits) -> tuple[UptimeMonth | None, str]:
    return uptime.read(lambda: SqliteStore(path, read_only=True), month, now, limits)


def read(path: Path, now: datetime = AFTER, month: Month = NOVEMBER) -> UptimeMonth:
    found, why = read_month(path, month, now, UptimeLimits())
    assert found is not None, why
    return found


def with_outage(store: SqliteStore, begin: datetime, length: timedelta) -> None:
    end = begin + length
    good = (measured(NOVEMBER.begin, begin), measured(end, NOVEMBER.end))
    store.record((good[0], measured(begin, end, State.BAD), good[1]))


def test_a_short_outage_fits_and_is_told_with_its_length_and_users(path: Path, store: SqliteStore) -> None:
    with_outage(store, at(9, 14), timedelta(seconds=41))
    found = read(path)
    assert (found.verdict, found.bad_ms, found.unknown_ms) == (Adherence.HOLDS, 41_000, 0)
    assert found.raw_percent == "99.9984"
    (outage,) = found.outages
    assert (outage.begin, outage.end, outage.share_percent) == (at(9, 14), at(9, 14, 0, 41), 25.0)


def test_an_outage_over_midnight_in_jakarta_counts_on_both_days(path: Path, store: SqliteStore) -> None:
    with_outage(store, at(9, 23, 59, 50), timedelta(seconds=15))
    lost = [(day.date.day, day.bad_ms) for day in read(path).days if day.bad_ms]
    assert lost == [(9, 10_000), (10, 5_000)]


def test_more_than_the_budget_breaks_the_clause(path: Path, store: SqliteStore) -> None:
    with_outage(store, at(9, 14), timedelta(minutes=4, seconds=30))
    assert read(path).verdict is Adherence.BROKEN


def test_what_nobody_measured_is_unknown_on_its_day_and_not_uptime(path: Path, store: SqliteStore) -> None:
    store.record((measured(NOVEMBER.begin, at(17)), measured(at(17, 1), NOVEMBER.end)))
    found = read(path)
    assert (found.verdict, found.unknown_ms) == (Adherence.NOT_MEASURED, 3_600_000)
    assert [(day.date.day, day.unknown_ms) for day in found.days if day.unknown_ms] == [(17, 3_600_000)]


def test_what_a_person_said_about_a_stretch_is_told_with_its_record(path: Path, store: SqliteStore) -> None:
    with_outage(store, at(9, 14), timedelta(minutes=9))
    word = Reclassification(ms(at(9, 14)), ms(at(9, 14, 9)), State.GOOD, "ayu", "the probe's own network", 77)
    store.reclassify(word)
    found = read(path)
    assert (found.verdict, found.outages) == (Adherence.HOLDS, ())
    assert "counts as good, said ayu: the probe's own network (record 77)" in found.reclassified[0]


def test_the_newest_seconds_of_a_living_controller_are_no_gap_but_a_dead_ones_are(
    path: Path, store: SqliteStore
) -> None:
    store.record((measured(NOVEMBER.begin, at(20)),))
    assert read(path, now=at(20, 0, 0, 9)).unknown_ms == 0
    assert read(path, now=at(20, 0, 1)).unknown_ms == 60_000


def test_a_month_without_a_slice_has_no_figures(path: Path, store: SqliteStore) -> None:
    assert read_month(path, Month(2026, 9), AFTER, UptimeLimits())[0] is None
    assert read_month(path, NOVEMBER, AFTER, UptimeLimits())[0] is None


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be one" * 40])
def test_a_file_that_is_missing_or_damaged_is_told_and_stops_nothing(path: Path, content: bytes) -> None:
    if content:
        path.write_bytes(content)
    found, why = read_month(path, NOVEMBER, AFTER, UptimeLimits())
    assert found is None
    assert why
