"""Whether traffic is at its low, as measured over the last weeks and now; never assumed (PMT-2.1, pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import fmean
from typing import Any

from whenever import Instant

from siaga.runbooks.windows import Opening

WEEKS_LOOKED_BACK = 4
WEEKS_MIN = 2
"""Fewer measured weeks of the window's own hours say nothing about a habit."""
HOURS_OF_WEEK_MIN = 134
"""80 % of the 168: lows that nobody measured may be lower."""
CLEARLY_LOWER = 0.8
"""An hour with less than this share of the window's requests counts as lower; the rest is noise."""
LOWER_SHARE_MAX = 0.10
"""The window is at the low as long as no more of the week's hours are clearly lower."""
SURGE = 2.0
"""So much more than usual right now is not the low, whatever the weeks before say."""
SURGE_PER_HOUR_MIN = 600
"""Ten a minute: below it a doubling is chance."""


class Level(StrEnum):
    """What was found."""

    LOW = "low"
    NOT_LOW = "not low"
    UNKNOWN = "unknown"
    """Not low either: a person has to allow what needs the low."""


@dataclass(frozen=True, slots=True)
class HourCount:
    """The requests of one hour that was measured from beginning to end."""

    begin: datetime
    requests: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """The answer, with what it rests on."""

    level: Level
    reason: str
    figures: Mapping[str, Any]


def traffic_at(
    opening: Opening, zone: str, hours: Iterable[HourCount], per_hour_now: float | None, now: datetime
) -> Traffic:
    """Compare the window's hours of the week with all others, and the requests of now with both.

    `hours` may hold more than is looked at; `per_hour_now` is the rate of the last minutes, None if not measured.
    """
    since = now - timedelta(weeks=WEEKS_LOOKED_BACK)
    slots = _by_hour_of_week((h for h in hours if since <= h.begin < now), zone)
    window = _slots_of(opening, zone)
    weeks = min((len(slots.get(slot, ())) for slot in window), default=0)
    figures: dict[str, Any] = {"weeks_measured": weeks, "hours_of_week_measured": len(slots)}
    if weeks < WEEKS_MIN:
        return _unknown(f"the window's hours were measured in {weeks} weeks, {WEEKS_MIN} wanted", figures)
    if len(slots) < HOURS_OF_WEEK_MIN:
        return _unknown(f"{len(slots)} of the week's 168 hours were measured, {HOURS_OF_WEEK_MIN} wanted", figures)
    if per_hour_now is None:
        return _unknown("nobody measures the requests of now", figures)
    means = {slot: fmean(counts) for slot, counts in slots.items()}
    usual = max(means[slot] for slot in window)
    lower = sum(mean < CLEARLY_LOWER * usual for mean in means.values()) / len(means)
    figures |= {
        "requests_per_hour_usual": round(usual),
        "requests_per_hour_lowest": round(min(means.values())),
        "requests_per_hour_now": round(per_hour_now),
        "hours_of_week_lower_percent": round(100 * lower, 1),
    }
    return _judge(usual, lower, per_hour_now, figures)


def _judge(usual: float, lower: float, per_hour_now: float, figures: Mapping[str, Any]) -> Traffic:
    if lower > LOWER_SHARE_MAX:
        words = f"{lower:.0%} of the week's hours have clearly less traffic, at most {LOWER_SHARE_MAX:.0%} wanted"
        return Traffic(Level.NOT_LOW, words, figures)
    if per_hour_now > max(SURGE * usual, SURGE_PER_HOUR_MIN):
        words = f"{per_hour_now:.0f} requests an hour now, usual at this time are {usual:.0f}"
        return Traffic(Level.NOT_LOW, words, figures)
    words = f"{usual:.0f} requests an hour at this time, {lower:.0%} of the week's hours have clearly less"
    return Traffic(Level.LOW, words, figures)


def _unknown(why: str, figures: Mapping[str, Any]) -> Traffic:
    return Traffic(Level.UNKNOWN, why, figures)


def _by_hour_of_week(hours: Iterable[HourCount], zone: str) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for hour in hours:
        found[_slot(hour.begin, zone)].append(hour.requests)
    return found


def _slots_of(opening: Opening, zone: str) -> set[tuple[int, int]]:
    slots, moment = set(), opening.begin
    while moment < opening.end:
        slots.add(_slot(moment, zone))
        moment += timedelta(minutes=15)
    return slots


def _slot(moment: datetime, zone: str) -> tuple[int, int]:
    """Weekday and hour on the wall there: the habits of people follow it, also over a change to summer time."""
    there = Instant(moment).to_tz(zone)
    return there.date().day_of_week().value, there.hour
