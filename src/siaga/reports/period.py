"""Days in the SOP's zone, and which months may be reported on (pure)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum

from whenever import Instant

from siaga.errors import BadInput
from siaga.sop.month import ZONE, Month, midnight


class Stage(StrEnum):
    """How far a month has got."""

    RUNNING = "running, not final"
    FINAL = "final"


def stage(month: Month, now: datetime) -> Stage:
    """Whether it is over."""
    return Stage.FINAL if month.end <= now else Stage.RUNNING


def day_of(moment: datetime) -> date:
    """The day on which a moment lies, by the clocks of the SOP's zone."""
    return Instant(moment).to_tz(ZONE).date().to_stdlib()


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Its first moment, and the first after it, in UTC."""
    return midnight(day), midnight(day + timedelta(days=1))


def local(moment: datetime) -> str:
    """As people there read it: `2026-11-25 03:40:07`."""
    return f"{Instant(moment).to_tz(ZONE).to_stdlib():%Y-%m-%d %H:%M:%S}"


def demand_reportable(month: Month, *, began_at: datetime, removed: int, now: datetime) -> None:
    """BadInput for a month that is still to come, or before the first record: it names the months there are.

    `removed` is how many older records retention has removed.
    """
    first, last = Month.holding(began_at), Month.holding(now)
    if month > last:
        raise BadInput(
            f"`--month` is {month}, which has not begun, expected {last} or an earlier month",
            hint=f"The running month is {last}; it is over on {local(last.end)} {ZONE}.",
        )
    if month < first:
        why = (
            f"whose evidence was removed by retention (records 0 to {removed - 1})"
            if removed
            else "before there was a site"
        )
        raise BadInput(
            f"`--month` is {month}, {why}, expected {first} to {last}",
            hint=f"The first month there is evidence of is {first}: its first record is of {local(began_at)} {ZONE}.",
        )
