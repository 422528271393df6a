"""Standings that are written down, and what they say of a month that is over (SUM)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from reported_month import AFTER, BEGAN_AT, NOVEMBER, all_holding, at, numbered

from siaga.controller.standing_records import StandingRecords
from siaga.evidence.model import Record, Unrecorded
from siaga.reports.standings import KIND, Kept, kept, record
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import CLAUSES, ClauseId

pytestmark = pytest.mark.clause("SUM")
HOLDS, BROKEN = Adherence.HOLDS, Adherence.BROKEN


class Log:
    """Takes records, or refuses them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.refuses = False

    async def append(self, record: Record) -> int:
        if self.refuses:
            raise Unrecorded("full", hint="")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError("a standing is no act that may not wait")


class Site:
    """Clauses that stand as they are told to."""

    def __init__(self) -> None:
        self.state = HOLDS
        self.log = Log()
        self.records = StandingRecords(self.log, self.look)

    def look(self, now: datetime) -> Sequence[Standing]:
        other = {ClauseId.DRP: self.state}
        return [Standing(clause, other.get(clause, HOLDS), "", "", "") for clause in CLAUSES]

    @property
    def told(self) -> list[str]:
        return [each.figures["clauses"]["DRP"] for each in self.log.records]


async def test_it_is_recorded_at_once_then_hourly_while_nothing_changes() -> None:
    site = Site()
    for second in range(0, 7300, 5):
        await site.records.run_pass(at(1) + timedelta(seconds=second))
    assert site.told == ["holds"] * 3


async def test_a_blip_between_two_records_is_recorded_as_the_worst_that_was_seen() -> None:
    site = Site()
    await site.records.run_pass(at(1))
    site.state = BROKEN
    await site.records.run_pass(at(1, second=2))
    site.state = HOLDS
    for second in range(4, 40, 2):
        await site.records.run_pass(at(1, second=second))
    assert site.told == ["holds", "broken", "holds"]


async def test_a_clause_that_goes_to_and_fro_is_recorded_every_ten_seconds_at_most() -> None:
    site = Site()
    for second in range(120):
        site.state = BROKEN if second % 2 else HOLDS
        await site.records.run_pass(at(1) + timedelta(seconds=second))
    assert 1 < len(site.told) <= 13


async def test_what_could_not_be_recorded_is_recorded_later() -> None:
    site = Site()
    site.log.refuses, site.state = True, BROKEN
    with pytest.raises(Unrecorded):
        await site.records.run_pass(at(1))
    site.log.refuses, site.state = False, HOLDS
    await site.records.run_pass(at(1, second=1))
    assert site.told == ["broken"]


async def test_a_clock_that_is_set_back_does_not_silence_it() -> None:
    site = Site()
    await site.records.run_pass(at(20))
    await site.records.run_pass(at(1))
    assert len(site.told) == 2


def folded(entries: list[tuple[datetime, Record]], clause: ClauseId = ClauseId.DRP, now: datetime = AFTER) -> Kept:
    return kept(numbered(entries), NOVEMBER, began_at=BEGAN_AT, now=now)[clause]


def test_a_whole_month_of_records_is_a_whole_month_held() -> None:
    found = folded(all_holding(NOVEMBER.begin - timedelta(minutes=30), NOVEMBER.end + timedelta(hours=1)))
    assert found.percent(HOLDS) == 100
    assert found.spent[Adherence.NOT_MEASURED] == timedelta(0)


def test_the_time_nobody_recorded_is_not_measured() -> None:
    found = folded([*all_holding(NOVEMBER.begin, at(10)), *all_holding(at(11), NOVEMBER.end)])
    assert found.spent[Adherence.NOT_MEASURED] == timedelta(days=1) - timedelta(minutes=2)


def test_a_record_speaks_for_an_hour_and_no_longer() -> None:
    found = folded([(at(5), record(dict.fromkeys(ClauseId, HOLDS)))])
    assert found.spent[HOLDS] == timedelta(hours=1, minutes=2)


def test_broken_stretches_are_told_with_their_times() -> None:
    states = dict.fromkeys(ClauseId, HOLDS)
    entries = [(at(5), record(states | {ClauseId.DRP: BROKEN})), (at(5, 0, 1), record(states))]
    found = folded(entries)
    assert found.broken == ((at(5), at(5, 0, 1)),)
    assert folded(entries, ClauseId.PMT).broken == ()


def test_the_running_month_counts_until_now_and_the_first_one_from_the_sites_beginning() -> None:
    assert folded([], now=at(11)).elapsed == timedelta(days=10)
    began = kept([], NOVEMBER, began_at=at(21), now=AFTER)[ClauseId.DRP]
    assert began.elapsed == timedelta(days=10)


def test_a_clock_that_was_set_back_never_makes_more_than_the_month() -> None:
    found = folded([*all_holding(at(1), at(20)), *all_holding(at(10), NOVEMBER.end)])
    assert found.spent[Adherence.NOT_MEASURED] == timedelta(0)
    assert found.percent(HOLDS) <= 100


def test_a_clause_or_state_of_a_newer_version_is_left_out() -> None:
    newer = Record(KIND, "controller", "SUM", "", {"clauses": {"ZDT-9": "holds", "DRP": "splendid", "PMT": "holds"}})
    assert folded([(at(5), newer)]).percent(HOLDS) == 0
    assert folded([(at(5), newer)], ClauseId.PMT).percent(HOLDS) > 0
