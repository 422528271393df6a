"""When work is allowed: windows in a time zone, and each of their openings as instants (pure).

A window is always written with a zone, never with an offset: Wednesday 03:00 in Asia/Jakarta is Tuesday 20:00 UTC,
and a zone with summer time moves. Where clocks change inside a window it becomes shorter, never longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from whenever import PlainDateTime

LAST_START_BEFORE_END = timedelta(minutes=20)
"""Not started by then, it would not be done in time: 03:40 of 03:00-04:00 (research, control-plane section 5)."""
HARD_STOP_BEFORE_END = timedelta(minutes=5)
"""Not past its point of no return by then, a run goes back: 03:55 of 03:00-04:00."""


@dataclass(frozen=True, slots=True)
class Window:
    """Certain hours of certain weekdays, as the clocks on the wall of one time zone show them."""

    weekdays: frozenset[int]
    """1 (Monday) to 7 (Sunday), of the day on which it begins."""
    begin: time
    end: time
    """Of the next day where it is not after `begin`: 23:00-01:00 crosses midnight."""
    zone: str
    """An IANA time zone."""
    last_start_before_end: timedelta = LAST_START_BEFORE_END
    hard_stop_before_end: timedelta = HARD_STOP_BEFORE_END

    def __post_init__(self) -> None:
        """Refuse what could never be started: no weekday, or no time left between begin and last start."""
        if not self.weekdays or not self.weekdays <= set(range(1, 8)):
            raise ValueError(f"weekdays are {sorted(self.weekdays)}, expected some of 1 to 7")
        if not timedelta(0) <= self.hard_stop_before_end <= self.last_start_before_end < self.length:
            raise ValueError(
                f"a last start {_minutes(self.last_start_before_end)} and a hard stop "
                f"{_minutes(self.hard_stop_before_end)} before the end do not fit into a window of "
                f"{_minutes(self.length)}: expected begin < last start <= hard stop <= end"
            )

    @property
    def length(self) -> timedelta:
        """By the clock on the wall, on a day on which clocks do not change."""
        length = datetime.combine(date.min, self.end) - datetime.combine(date.min, self.begin)
        return length if length > timedelta(0) else length + timedelta(days=1)

    def opening(self, day: date) -> Opening:
        """The opening that begins on `day`, whatever its weekday."""
        return _opening(self, day)

    def openings(self, since: datetime, until: datetime) -> Iterator[Opening]:
        """Every opening that begins at or after `since` and before `until`, in order."""
        # A day more at both ends: the date in the window's zone may differ from the date in UTC by one.
        day = since.astimezone(UTC).date() - timedelta(days=1)
        last = until.astimezone(UTC).date() + timedelta(days=1)
        while day <= last:
            if day.isoweekday() in self.weekdays:
                opening = self.opening(day)
                if since <= opening.begin < until:
                    yield opening
            day += timedelta(days=1)

    def __str__(self) -> str:
        """`Wednesday 03:00-04:00 Asia/Jakarta`."""
        days = ", ".join(WEEKDAYS[number - 1] for number in sorted(self.weekdays))
        return f"{days} {self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening of a window, in UTC."""

    day: date
    """The date on which it begins, in the window's zone."""
    begin: datetime
    last_start: datetime
    """Nothing starts after it."""
    hard_stop: datetime
    """What runs still, and can go back, goes back."""
    end: datetime

    @property
    def startable(self) -> bool:
        """Whether clocks that were set forward left any time to start."""
        return self.begin <= self.last_start


@lru_cache(maxsize=4096)
def _opening(window: Window, day: date) -> Opening:
    begin = _instant(day, window.begin, window.zone)
    last_day = day if window.begin < window.end else day + timedelta(days=1)
    # A repeated hour (clocks set back) would make it longer than people were told.
    end = min(_instant(last_day, window.end, window.zone), begin + window.length)
    return Opening(
        day=day,
        begin=begin,
        last_start=end - window.last_start_before_end,
        hard_stop=end - window.hard_stop_before_end,
        end=end,
    )


def _instant(day: date, at: time, zone: str) -> datetime:
    # In a skipped hour "compatible" is that much later, in a repeated one the first: begins late rather than early.
    local = PlainDateTime(day.year, day.month, day.day, at.hour, at.minute, at.second)
    return local.assume_tz(zone, disambiguation="compatible").to_instant().to_stdlib()


def _minutes(length: timedelta) -> str:
    return f"{length.total_seconds() / 60:g} min"
