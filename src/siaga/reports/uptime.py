"""Reads a month's uptime (ZDT-1) from the store in which the uptime domain keeps it; the controller may be dead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from siaga.errors import SiagaError, StoreFault
from siaga.reports.model import DayUptime, Outage, UptimeMonth
from siaga.reports.period import day_bounds, local
from siaga.sop.adherence import Adherence
from siaga.sop.limits import UptimeLimits
from siaga.sop.month import Month
from siaga.uptime import months
from siaga.uptime.model import Reclassification, Slice, State
from siaga.uptime.months import MonthFigures, Verdict
from siaga.uptime.store import SliceStore
from siaga.uptime.timeline import clipped, filled, reclassified

UNSAVED = timedelta(seconds=10)
"""A controller that lives keeps the newest slices in memory for so long: they are no gap."""
_ADHERENCE = {
    Verdict.HOLDS: Adherence.HOLDS,
    Verdict.DOES_NOT_HOLD: Adherence.BROKEN,
    Verdict.NOT_DETERMINED: Adherence.NOT_MEASURED,
}


def read(
    opened: Callable[[], SliceStore], month: Month, now: datetime, limits: UptimeLimits
) -> tuple[UptimeMonth | None, str]:
    """The month in figures; or nothing, and why."""
    try:
        with closing(opened()) as store:
            return _read(store, month, now, limits)
    except SiagaError as error:
        return None, error.message
    except StoreFault as error:
        return None, f"the slices can't be read: {error}"


def _read(store: SliceStore, month: Month, now: datetime, limits: UptimeLimits) -> tuple[UptimeMonth | None, str]:
    slices, words = store.slices(month.begin_ms, month.end_ms), store.reclassifications()
    found = months.figures(
        month, slices, words, began_ms=store.began_ms(), now_ms=_until_ms(slices, now), limits=limits
    )
    if found.uptime_percent is None:
        return None, found.why
    said = reclassified(filled(slices, found.begin_ms, found.end_ms), found.reclassifications)
    return _month(found, tuple(_day(day, said) for day in month.days)), ""


def _until_ms(slices: Sequence[Slice], now: datetime) -> int:
    """Up to where the figures speak."""
    now_ms, unsaved_ms = _ms(now), int(UNSAVED / timedelta(milliseconds=1))
    last_ms = slices[-1].end_ms if slices else 0
    return last_ms if now_ms - unsaved_ms < last_ms <= now_ms else now_ms


def _month(found: MonthFigures, days: tuple[DayUptime, ...]) -> UptimeMonth:
    return UptimeMonth(
        budget_ms=found.budget_ms,
        bad_ms=found.bad_ms,
        unknown_ms=found.unknown_ms,
        raw_percent=_text(found.uptime_percent),
        coverage_percent=_text(found.covered_percent),
        weighted_percent=_text(found.weighted_uptime_percent),
        verdict=_ADHERENCE[found.verdict],
        why=found.why,
        outages=tuple(
            Outage(
                begin=_moment(outage.onset_ms),
                end=_moment(outage.ended_ms or found.end_ms),
                share_percent=outage.share_ppm / 10_000,
                regions=outage.regions,
                why=outage.first_failure,
            )
            for outage in found.outages
        ),
        days=days,
        reclassified=tuple(map(_words, found.reclassifications)),
    )


def _day(day: date, said: Iterable[Slice]) -> DayUptime:
    begin, end = day_bounds(day)
    within = clipped(said, _ms(begin), _ms(end))
    lost_ms = {state: sum(each.length_ms for each in within if each.state is state) for state in State}
    return DayUptime(day, lost_ms[State.BAD], lost_ms[State.UNKNOWN])


def _words(word: Reclassification) -> str:
    begin, end = local(_moment(word.begin_ms)), local(_moment(word.end_ms))
    return f"{begin} to {end} counts as {word.state}, said {word.actor}: {word.reason} (record {word.record})"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(moment_ms: int) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def _text(percent: Decimal | None) -> str:
    return "" if percent is None else str(percent)
