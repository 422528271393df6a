"""Reads change freezes out of an iCalendar file (RFC 5545): whole days, time zones, repetitions (pure).

Whatever is not understood makes the whole calendar unreadable, and an unreadable calendar holds every change: an
event that was left out could be the very freeze.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr  # type: ignore[import-untyped]
from icalendar import Calendar, Event

from siaga.errors import BadInput
from siaga.runbooks.freezes import Freeze
from siaga.site.wording import shown
from siaga.sop.clauses import ClauseId

BYTES_MAX = 1 << 20
REPETITIONS_MAX = 20_000
YEAR_MIN = 2000
"""Repetitions are counted from their beginning; one that begins in the year 1 would be counted for seconds."""

HINT = "Put the calendar's file right; until then nothing is changed by itself."
_FREQUENCIES = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_TOO_FINE = ("BYHOUR", "BYMINUTE", "BYSECOND")


@dataclass(frozen=True, slots=True)
class Horizon:
    """From when to when freezes are wanted, and the zone of what names none."""

    since: datetime
    until: datetime
    zone: str


def freezes_in(content: bytes, horizon: Horizon, *, source: str, runbooks: Collection[str] = ()) -> tuple[Freeze, ...]:
    """Every freeze that touches the horizon; BadInput names the event that is not understood.

    Categories that are clauses, or names of `runbooks`, narrow a freeze to them; others say nothing.
    """
    if len(content) > BYTES_MAX:
        raise BadInput(f"{source}: more than {BYTES_MAX} bytes, expected a calendar of changes", hint=HINT)
    try:
        calendar = Calendar.from_ical(content)
        events = [event for event in calendar.walk("VEVENT") if isinstance(event, Event)]
        moved = _moved(events, horizon)
        found = [f for event in events for f in _freezes(event, moved, horizon, source, frozenset(runbooks))]
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 (a parser of foreign text may fail in any way; each means: not understood)
        raise BadInput(f"{source}: not a calendar that is understood: {shown(str(error))}", hint=HINT) from error
    return tuple(sorted(found, key=lambda freeze: (freeze.begin, freeze.key)))


@dataclass(frozen=True, slots=True)
class _Span:
    """One event's first time: on whole days, or at a time in a zone."""

    first: datetime
    """Without a zone: as the clock on the wall there shows it."""
    length: timedelta
    zone: tzinfo
    whole_days: bool

    def at(self, wall: datetime) -> tuple[datetime, datetime]:
        """When it lasts if it begins at that time on the wall; whole days follow the wall, hours do not."""
        begin = wall.replace(tzinfo=self.zone).astimezone(UTC)
        if self.whole_days:
            return begin, (wall + self.length).replace(tzinfo=self.zone).astimezone(UTC)
        return begin, begin + self.length

    def wall(self, moment: date | datetime) -> datetime:
        """A time of the file as that clock shows it."""
        if not isinstance(moment, datetime):
            return datetime(moment.year, moment.month, moment.day)
        return moment if moment.tzinfo is None else moment.astimezone(self.zone).replace(tzinfo=None)


def _freezes(
    event: Event, moved: set[tuple[str, datetime]], horizon: Horizon, source: str, runbooks: frozenset[str]
) -> Iterator[Freeze]:
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return
    name = shown(str(event.get("SUMMARY", "") or event.get("UID", "") or "an event without a name"))
    span = _span(event, horizon, f"{source}: {name}")
    named = _categories(event)
    uid, instance = str(event.get("UID", "")), "RECURRENCE-ID" in event
    for begin, end in _times(event, span, horizon, f"{source}: {name}"):
        replaced = not instance and (uid, begin) in moved
        if not replaced and begin < horizon.until and horizon.since < end:
            yield Freeze(
                begin=begin,
                end=end,
                reason=str(event.get("SUMMARY", "")) or "no reason given",
                source=source,
                runbooks=named & runbooks,
                clauses=frozenset(clause for clause in ClauseId if clause in named),
            )


def _span(event: Event, horizon: Horizon, where: str) -> _Span:
    if event.errors:
        name, why = event.errors[0]
        raise BadInput(f"{where}: {name} is not understood: {shown(why)}", hint=HINT)
    if "DTSTART" not in event:
        raise BadInput(f"{where}: no DTSTART, expected one", hint=HINT)
    begin, end = event.start, event.end
    tzid = event["DTSTART"].params.get("TZID")
    zone: tzinfo = ZoneInfo(horizon.zone)
    if isinstance(begin, datetime) and begin.tzinfo is not None:
        zone = begin.tzinfo
    elif tzid is not None:
        raise BadInput(
            f"{where}: time zone {shown(str(tzid))} is not known, expected one such as Asia/Jakarta", hint=HINT
        )
    whole_days = not isinstance(begin, datetime)
    span = _Span(datetime.min, timedelta(0), zone, whole_days)
    first, last = span.wall(begin), span.wall(end)
    length = last - first if whole_days else last.replace(tzinfo=zone).astimezone(UTC) - span.at(first)[0]
    if length <= timedelta(0):
        raise BadInput(f"{where}: ends {end}, expected an end after its begin {begin}", hint=HINT)
    if first.year < YEAR_MIN:
        raise BadInput(f"{where}: begins in {first.year}, expected {YEAR_MIN} or later", hint=HINT)
    return _Span(first, length, zone, whole_days)


def _times(event: Event, span: _Span, horizon: Horizon, where: str) -> Iterator[tuple[datetime, datetime]]:
    """When it lasts, each time: the first, the repetitions, the dates added, without the dates taken out."""
    walls = {span.first}
    until = span.wall(horizon.until)
    for rule in _listed(event.get("RRULE")):
        walls |= set(_repetitions(rule, span, until, where))
    periods = []
    for moment in _dates(event, "RDATE"):
        if isinstance(moment, tuple):
            periods.append(_period(moment, span))
        else:
            walls.add(span.wall(moment))
    for wall in sorted(walls - _taken_out(event, span, walls)):
        yield span.at(wall)
    yield from periods


def _repetitions(rule: Any, span: _Span, until: datetime, where: str) -> Iterator[datetime]:
    parts = {str(key).upper(): list(value) for key, value in rule.items()}
    frequency, interval = str(parts["FREQ"][0]).upper(), int(parts.get("INTERVAL", [1])[0])
    fine = [part for part in _TOO_FINE if part in parts]
    if frequency not in _FREQUENCIES or interval < 1 or fine or not _comes_true(parts):
        found = shown(rule.to_ical().decode())
        raise BadInput(f"{where}: repeats by {found}, expected days, weeks, months or years that come", hint=HINT)
    count = int(parts.pop("COUNT", [REPETITIONS_MAX + 1])[0])
    ends = [_last(moment, span) for moment in parts.pop("UNTIL", [])]
    last = min([until, *ends])
    plain = type(rule)(parts).to_ical().decode()
    # A last day for every rule: one without an end is asked for no more than the horizon.
    found_at = rrulestr(f"RRULE:{plain};UNTIL={last:%Y%m%dT%H%M%S}", dtstart=span.first)
    for number, wall in enumerate(islice(found_at, count)):
        if number >= REPETITIONS_MAX:
            raise BadInput(f"{where}: more than {REPETITIONS_MAX} repetitions", hint=HINT)
        yield wall


def _comes_true(parts: Mapping[str, list[Any]]) -> bool:
    """Whether such a day exists in any year: the 30th of February would be searched until the year 9999."""
    days = [abs(int(day)) for day in parts.get("BYMONTHDAY", [1])]
    months = [int(month) for month in parts.get("BYMONTH", range(1, 13))]
    return any(min(days) <= monthrange(2024, month)[1] for month in months)


def _last(moment: date | datetime, span: _Span) -> datetime:
    """A bare date as the last one includes that day."""
    return span.wall(moment) + (timedelta(0) if isinstance(moment, datetime) else timedelta(hours=23, minutes=59))


def _taken_out(event: Event, span: _Span, walls: set[datetime]) -> set[datetime]:
    out = set()
    for moment in _dates(event, "EXDATE"):
        if isinstance(moment, datetime):
            out.add(span.wall(moment))
        else:
            # A bare date takes out whatever begins on it.
            out |= {wall for wall in walls if wall.date() == moment}
    return out


def _moved(events: list[Event], horizon: Horizon) -> set[tuple[str, datetime]]:
    """The repetitions that have an event of their own, by the moment at which they would have begun."""
    found = set()
    for event in events:
        moment = event.get("RECURRENCE-ID")
        if moment is None:
            continue
        if "RANGE" in moment.params:
            raise BadInput(
                f"{shown(str(event.get('UID', '')))}: RECURRENCE-ID with a RANGE is not understood", hint=HINT
            )
        span = _Span(datetime.min, timedelta(0), getattr(moment.dt, "tzinfo", None) or ZoneInfo(horizon.zone), False)
        found.add((str(event.get("UID", "")), span.at(span.wall(moment.dt))[0]))
    return found


def _period(moment: tuple[datetime, datetime | timedelta], span: _Span) -> tuple[datetime, datetime]:
    begin = span.at(span.wall(moment[0]))[0]
    return begin, begin + moment[1] if isinstance(moment[1], timedelta) else span.at(span.wall(moment[1]))[0]


def _dates(event: Event, name: str) -> Iterator[Any]:
    for entry in _listed(event.get(name)):
        for moment in entry.dts:
            yield moment.dt


def _categories(event: Event) -> frozenset[str]:
    return frozenset(str(name).strip() for entry in _listed(event.get("CATEGORIES")) for name in entry.cats)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
