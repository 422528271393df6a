"""The month as a strip of days: which were good, in which the service failed, and which nobody measured (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from siaga.reports.model import DayUptime, Report
from siaga.reports.period import day_bounds

UNKNOWN_MS_MIN = 1_000
"""Less is what a restart of the monitor takes, and no reason to mark a day."""


class DayState(StrEnum):
    """What is to be said of a day in one word."""

    GOOD = "good"
    BAD = "service failed"
    UNKNOWN = "partly not measured"
    OUTSIDE = "before the site, or to come"


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the strip."""

    date: date
    state: DayState
    words: str
    """For whoever points at it, and for who can't see it."""


def days(report: Report) -> tuple[Day, ...]:
    """Every day of the month; none without figures of uptime."""
    if report.uptime is None:
        return ()
    known = {day.date: day for day in report.uptime.days}
    return tuple(_day(report, day, known.get(day, DayUptime(day, 0, 0))) for day in report.month.days)


def _day(report: Report, day: date, found: DayUptime) -> Day:
    begin, end = day_bounds(day)
    if end <= report.began_at or report.made_at <= begin:
        state = DayState.OUTSIDE
    elif found.bad_ms:
        state = DayState.BAD
    else:
        state = DayState.UNKNOWN if found.unknown_ms >= UNKNOWN_MS_MIN else DayState.GOOD
    words = [f"{day:%d %b}: {state}"]
    if found.bad_ms:
        words.append(f"{found.bad_ms / 1000:.1f} s failed")
    if found.unknown_ms:
        words.append(f"{found.unknown_ms / 60_000:.1f} min not measured")
    return Day(day, state, ", ".join(words))
