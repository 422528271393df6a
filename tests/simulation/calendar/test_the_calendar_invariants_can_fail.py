"""Planted faults in the calendar: an invariant that never fires proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from siaga.controller import calendar_service
from siaga.controller.calendar_service import CalendarService
from siaga.runbooks import calendar, wall_clock
from siaga.runbooks.appointments import Occurrence
from siaga.runbooks.calendar import Facts, State, Verdict, judge
from siaga.simulation.calendar.scenario import UPDATE, Fault, Kind, calm
from siaga.simulation.calendar.world import live

WEDNESDAY = UPDATE.window.opening(datetime(2026, 11, 25).date())
BEGIN_S, LAST_START_S, END_S = (moment.timestamp() for moment in (WEDNESDAY.begin, WEDNESDAY.last_start, WEDNESDAY.end))
DEAD_UNTIL_LATE = Fault(Kind.DEAD, BEGIN_S - 3600, LAST_START_S + 600)
DEAD_OVER_ALL = Fault(Kind.DEAD, BEGIN_S - 3600, END_S + 600)


def breaches(*faults: Fault) -> list[str]:
    return live(calm(*faults)).breaches


def test_without_a_planted_fault_these_worlds_hold() -> None:
    assert breaches(DEAD_UNTIL_LATE) == breaches(DEAD_OVER_ALL) == breaches() == []


def test_a_start_after_the_last_start_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(occurrences: Iterable[Occurrence], facts: Facts, now: datetime) -> tuple[Verdict, ...]:
        return tuple(
            replace(v, state=State.DUE) if v.state in (State.TOO_LATE, State.MISSED) and not v.run else v
            for v in judge(occurrences, facts, now)
        )

    monkeypatch.setattr(calendar_service, "judge", eager)
    monkeypatch.setattr(calendar_service, "START_DEADLINE_S", 10.0)
    original = CalendarService._start

    async def heedless(self: Any, verdict: Verdict, now: Any) -> None:
        occurrence = verdict.occurrence
        endless = replace(occurrence.opening, last_start=now.wall + timedelta(hours=1))
        await original(self, replace(verdict, occurrence=replace(occurrence, opening=endless)), now)

    monkeypatch.setattr(CalendarService, "_start", heedless)
    assert any("outside its window" in breach for breach in breaches(DEAD_UNTIL_LATE))


def test_a_run_under_another_id_is_noticed_as_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id of the run is what keeps a start from happening twice."""
    monkeypatch.setattr(calendar, "run_of", lambda occurrence, runs: None)
    original = Occurrence.id.fget  # type: ignore[attr-defined]
    counted = iter(range(10_000))

    async def keyless(self: Any, verdict: Verdict, now: Any) -> None:
        await self._runs.start("update-database", {}, key=f"{original(verdict.occurrence)}-{next(counted)}", reason="")

    monkeypatch.setattr(CalendarService, "_start", keyless)
    assert any("times" in breach for breach in breaches())


def test_a_window_that_nobody_recorded_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(occurrences: Iterable[Occurrence], facts: Facts, now: datetime) -> tuple[Verdict, ...]:
        return tuple(v for v in judge(occurrences, facts, now) if v.state is not State.MISSED)

    monkeypatch.setattr(calendar_service, "judge", forgetful)
    assert any("not exactly one" in breach for breach in breaches(DEAD_OVER_ALL))


def test_a_miss_recorded_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(occurrences: Iterable[Occurrence], facts: Facts, now: datetime) -> tuple[Verdict, ...]:
        return judge(occurrences, facts, now - timedelta(seconds=45))

    monkeypatch.setattr(calendar_service, "judge", slow)
    assert any("recorded" in breach for breach in breaches(replace(DEAD_UNTIL_LATE, end_s=END_S - 120)))


def test_a_verdict_forgotten_by_a_crash_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembering before writing would lose what a kill falls upon; remembering nothing records it twice."""
    monkeypatch.setattr(calendar_service, "recall", lambda documents: calendar_service.Memory())
    dies = Fault(Kind.DIES, END_S + 60, END_S + 61, 1.0)
    assert breaches(DEAD_OVER_ALL, Fault(Kind.DEAD, END_S + 3600, END_S + 3700), dies)


def test_a_verdict_that_a_wrong_clock_gave_is_noticed_if_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set ahead by a week, the clock passes over a window that is still to come."""
    ahead = Fault(Kind.CLOCK, BEGIN_S - 3 * 86_400, BEGIN_S - 2 * 86_400, 7 * 86_400.0)
    kept = live(calm(ahead))
    assert not kept.breaches
    assert any(d["kind"] == "calendar.withdrawn" for d in kept.documents)
    monkeypatch.setattr(calendar, "withdrawn", lambda settled, opening, now: False)
    stayed = live(calm(ahead))
    assert stayed.ended["calendar.done"] < kept.ended["calendar.done"]


def test_a_first_start_with_a_clock_that_is_ahead_loses_no_window() -> None:
    ahead = Fault(Kind.CLOCK, BEGIN_S - 9 * 86_400, BEGIN_S - 4 * 86_400, 7 * 86_400.0)
    report = live(calm(ahead))
    assert not report.breaches
    assert report.ended["calendar.done"] == 3


def test_a_clock_that_is_believed_at_once_starts_in_the_wrong_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set to the window's time for ten seconds, hours before it."""
    wrong = Fault(Kind.CLOCK, BEGIN_S - 7200, BEGIN_S - 7190, 7300.0)

    def starts() -> list[str]:
        return [
            d["reason"] for d in live(calm(wrong)).documents if d["kind"] == "calendar.start" and d["true_s"] < BEGIN_S
        ]

    assert starts() == []
    monkeypatch.setattr(wall_clock, "SETTLE_S", 0.0)
    assert starts()
