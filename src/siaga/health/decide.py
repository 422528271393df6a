"""What a reading asks for (pure): the value against its limit, and the days that its trend leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from siaga.health import trend
from siaga.health.model import FILLS, VARIES, Kind, Observation, Point, Reading, Verdict
from siaga.site.health import HealthLimits, Limit

DAYS_LEFT_MAX = 3650.0
"""Further ahead a trend says nothing."""


def judge(observation: Observation, history: Sequence[Point], limits: HealthLimits, now: datetime) -> Reading:
    """Judge one observation; `history` holds its past values, in any order."""
    kind, value = observation.kind, observation.value
    limit: Limit = getattr(limits, kind.value)
    if value is None:
        verdict = Verdict.NOT_MEASURED if observation.applicable else Verdict.NOT_APPLICABLE
        return Reading(observation, verdict, limit, None, None, now, observation.why)
    slope, days_left = _course(kind, value, limit, (*history, Point(now.timestamp(), value)), now.timestamp())
    verdict = _against_limit(kind, value, limit)
    if not kind.counts_down and days_left is not None:
        verdict = _worse(verdict, _of_days_left(days_left, limits.days_left))
    per_day = slope.per_day if slope is not None and slope.clear else None
    why = _in_words(observation, limit, per_day, days_left)
    return Reading(observation, verdict, limit, per_day, days_left, now, why)


def _against_limit(kind: Kind, value: float, limit: Limit) -> Verdict:
    if value <= limit.now if kind.counts_down else value >= limit.now:
        return Verdict.ACT_NOW
    if value <= limit.soon if kind.counts_down else value >= limit.soon:
        return Verdict.ACT_SOON
    return Verdict.OK


def _of_days_left(days_left: float, limit: Limit) -> Verdict:
    if days_left <= limit.now:
        return Verdict.ACT_NOW
    return Verdict.ACT_SOON if days_left <= limit.soon else Verdict.OK


def _worse(one: Verdict, other: Verdict) -> Verdict:
    return max(one, other, key=(Verdict.OK, Verdict.ACT_SOON, Verdict.ACT_NOW).index)


def _course(
    kind: Kind, value: float, limit: Limit, points: Sequence[Point], now_s: float
) -> tuple[trend.Slope | None, float | None]:
    """The slope to show, and the days left; of two slopes the one that leaves fewer days."""
    if kind.counts_down:
        return None, value
    if kind not in FILLS and kind not in VARIES:
        return None, None
    slopes = [trend.over_days(points, now_s)]
    if kind in FILLS:
        slopes.append(trend.over_hours(points, now_s))
    rising = [slope for slope in slopes if slope is not None and slope.rises]
    if not rising:
        return slopes[0], None
    steepest = max(rising, key=lambda slope: slope.per_day)
    days_left = max(0.0, limit.now - value) / steepest.per_day
    return steepest, days_left if days_left <= DAYS_LEFT_MAX else None


def _in_words(observation: Observation, limit: Limit, per_day: float | None, days_left: float | None) -> str:
    kind, value = observation.kind, observation.value
    if kind.counts_down:
        said = f"{value:.0f} days left, act soon from {limit.soon:g} and now from {limit.now:g}"
    else:
        unit = f" {kind.unit}" if kind.unit else ""
        said = f"{value:.4g}{unit}, act soon from {limit.soon:g} and now from {limit.now:g}{unit}"
    if per_day is not None:
        said += f"; {per_day:+.3g} a day"
    if days_left is not None and not kind.counts_down:
        said += f", {days_left:.1f} days left at that pace"
    return f"{said}; {observation.why}" if observation.why else said
