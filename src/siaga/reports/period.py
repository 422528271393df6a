"""The calendar month that a report is about, in the SOP's zone, and whether it may be reported on (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from whenever import Instant, PlainDateTime

from siaga.errors import BadInput

ZONE = "Asia/Jakarta"
"""The SOP's zone: a month begins and ends there, which is seven hours before UTC."""
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
YEARS = range(2000, 2201)


class Stage(StrEnum):
    """How far a month has got."""

    RUNNING = "running, not final"
    FINAL = "final"


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One calendar month."""

    year: int
    number: int
    """1 to 12."""

    @property
    def begin(self) -> datetime:
        """Its first moment, in UTC."""
        return _midnight(date(self.year, self.number, 1))

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return self.next.begin

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of it."""
        first = date(self.year, self.number, 1)
        after = date(self.next.year, self.next.number, 1)
        return tuple(first + timedelta(days=n) for n in range((after - first).days))

    @property
    def name(self) -> str:
        """`November 2026`."""
        return f"{date(self.year, self.number, 1):%B} {self.year}"

    def __str__(self) -> str:
        """`2026-11`."""
        return f"{self.year:04d}-{self.number:02d}"

    def stage(self, now: datetime) -> Stage:
        """Whether it is over."""
        return Stage.FINAL if self.end <= now else Stage.RUNNING


def parse(text: str) -> Month:
    """`2026-11`; BadInput says what is wrong with anything else."""
    found = _MONTH.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) not in YEARS:
        raise BadInput(
            f"`--month` is `{text[:40]}`, expected a month such as 2026-11", hint="Write year and month: YYYY-MM."
        )
    return Month(int(found[1]), int(found[2]))


def month_of(moment: datetime) -> Month:
    """The month in which a moment lies, by the clocks of the SOP's zone."""
    there = Instant(moment).to_tz(ZONE)
    return Month(there.year, there.month)


def day_of(moment: datetime) -> date:
    """The day on which a moment lies, by the clocks of the SOP's zone."""
    return Instant(moment).to_tz(ZONE).date().to_stdlib()


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Its first moment, and the first after it, in UTC."""
    return _midnight(day), _midnight(day + timedelta(days=1))


def local(moment: datetime) -> str:
    """As people there read it: `2026-11-25 03:40:07`."""
    return f"{Instant(moment).to_tz(ZONE).to_stdlib():%Y-%m-%d %H:%M:%S}"


def demand_reportable(month: Month, *, began_at: datetime, removed: int, now: datetime) -> None:
    """BadInput for a month that is still to come, or before the first record: it names the months there are.

    `removed` is how many older records retention has removed.
    """
    first, last = month_of(began_at), month_of(now)
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


def _midnight(day: date) -> datetime:
    return PlainDateTime(day.year, day.month, day.day).assume_tz(ZONE).to_instant().to_stdlib()
