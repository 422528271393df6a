"""A month as the SOP counts it: by the clocks of Jakarta, seven hours before UTC's (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from whenever import Instant, PlainDateTime

from siaga.errors import BadInput

ZONE = "Asia/Jakarta"
_FORM = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
YEARS = range(2000, 2201)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One month of the calendar on the walls there."""

    year: int
    number: int
    """1 to 12."""

    @staticmethod
    def parse(text: str) -> Month:
        """From `2026-11`; BadInput says what is wrong with anything else."""
        found = _FORM.fullmatch(text)
        if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) not in YEARS:
            raise BadInput(
                f"`--month` is `{text[:40]}`, expected a month such as 2026-11", hint="Write year and month: YYYY-MM."
            )
        return Month(int(found[1]), int(found[2]))

    @staticmethod
    def holding(moment: datetime) -> Month:
        """The month in which a moment lies."""
        there = Instant(moment).to_tz(ZONE)
        return Month(there.year, there.month)

    @staticmethod
    def holding_ms(moment_ms: int) -> Month:
        """The same, of milliseconds since 1970."""
        there = Instant.from_timestamp(moment_ms, unit="millisecond").to_tz(ZONE)
        return Month(there.year, there.month)

    @property
    def begin(self) -> datetime:
        """Its first moment, in UTC."""
        return midnight(date(self.year, self.number, 1))

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return self.next.begin

    @property
    def begin_ms(self) -> int:
        """Its first moment, in milliseconds since 1970."""
        return int(self.begin.timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        """The first moment after it."""
        return self.next.begin_ms

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


def midnight(day: date) -> datetime:
    """Its first moment there, in UTC."""
    return PlainDateTime(day.year, day.month, day.day).assume_tz(ZONE).to_instant().to_stdlib()
