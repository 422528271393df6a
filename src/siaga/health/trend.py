"""How fast a value grows, told from noise (pure): Theil-Sen slope with Sen's confidence interval.

The median of the slopes between all pairs of points: up to 29 % of them may be wild without moving it (Sen, 1968,
Journal of the American Statistical Association 63, 1379-1389). A slope counts only where its whole 95 % interval
is above zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from siaga.health.model import Point

HOUR_S = 3600.0
DAY_S = 86_400.0
DAYS = 28
DAYS_MIN = 5
HOURS = 24
HOURS_MIN = 6
_Z_95_PERCENT = 1.96


@dataclass(frozen=True, slots=True)
class Slope:
    """Units a day, with the interval it lies in at 95 %."""

    per_day: float
    low: float
    high: float

    @property
    def rises(self) -> bool:
        """Whether it is above zero beyond doubt."""
        return self.low > 0

    @property
    def clear(self) -> bool:
        """Whether its direction is beyond doubt."""
        return self.low > 0 or self.high < 0


def over_days(points: Iterable[Point], now_s: float) -> Slope | None:
    """The slope of the last weeks' daily medians, so that a day's own ups and downs do not count."""
    return _slope(_medians(points, DAY_S, now_s, DAYS), DAYS_MIN)


def over_hours(points: Iterable[Point], now_s: float) -> Slope | None:
    """The slope of the last day's hourly medians."""
    return _slope(_medians(points, HOUR_S, now_s, HOURS), HOURS_MIN)


def _medians(points: Iterable[Point], width_s: float, now_s: float, count: int) -> list[Point]:
    """One point a stretch of `width_s`, counted back from now; points after now come from a clock that moved."""
    stretches: dict[int, list[Point]] = {}
    for point in points:
        age = (now_s - point.at_s) / width_s
        if 0 <= age < count:
            stretches.setdefault(int(age), []).append(point)
    return [Point(median(p.at_s for p in stretch), median(p.value for p in stretch)) for stretch in stretches.values()]


def _slope(points: Sequence[Point], points_min: int) -> Slope | None:
    if len(points) < points_min:
        return None
    slopes = sorted(
        (b.value - a.value) / (b.at_s - a.at_s) * DAY_S for a, b in combinations(points, 2) if a.at_s != b.at_s
    )
    n, pairs = len(points), len(slopes)
    spread = _Z_95_PERCENT * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((pairs - spread) / 2))
    high = min(pairs - 1, math.ceil((pairs + spread) / 2))
    return Slope(median(slopes), slopes[low], slopes[high])
