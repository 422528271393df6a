"""How fast the budget is being used up: burn rates over two windows at once (ZDT-1, pure).

The windows are those of the SRE workbook: the long one says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from siaga.sop.limits import UptimeLimits
from siaga.uptime.model import BurnAlert, Slice, State
from siaga.uptime.timeline import clipped


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Alert when the budget burns this many times too fast over both windows."""

    rate: float
    long_s: int
    short_s: int
    severity: str


RULES = (
    BurnRule(14.4, 3_600, 300, "page"),
    BurnRule(6.0, 21_600, 1_800, "page"),
    BurnRule(1.0, 259_200, 21_600, "ticket"),
)
WINDOWS_S = tuple(sorted({window for rule in RULES for window in (rule.long_s, rule.short_s)}))
LOOK_BACK_S = max(rule.long_s for rule in RULES)


def burn_rate(slices: Iterable[Slice], now_ms: int, window_s: int, limits: UptimeLimits) -> float:
    """How many times faster than allowed; 1.0 uses up exactly the budget.

    The window counts in full even where it was not measured: an extrapolation from a minute would cry wolf, and what
    was not measured has a figure of its own (coverage).
    """
    bad = clipped((each for each in slices if each.state is State.BAD), now_ms - window_s * 1000, now_ms)
    bad_share = sum(each.length_ms for each in bad) / (window_s * 1000)
    allowed_share = float((100 - Decimal(str(limits.uptime_percent_min))) / 100)
    # A site that wants 100 % has no budget: any bad moment burns it without end.
    return bad_share / allowed_share if allowed_share else (float("inf") if bad_share else 0.0)


def named(window_s: int) -> str:
    """As Prometheus writes it: 5m, 1h, 3d."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if window_s % unit_s == 0:
            return f"{window_s // unit_s}{unit}"
    return f"{window_s}s"


def judge(
    burning: Mapping[float, BurnAlert], slices: Sequence[Slice], now_ms: int, limits: UptimeLimits
) -> dict[float, BurnAlert]:
    """Every alert that burns or has just ended, by its rate; `burning` is what burned at the last look."""
    found: dict[float, BurnAlert] = {}
    for rule in RULES:
        long = burn_rate(slices, now_ms, rule.long_s, limits)
        short = burn_rate(slices, now_ms, rule.short_s, limits)
        before = burning.get(rule.rate)
        if long >= rule.rate and short >= rule.rate:
            begun_ms = before.begun_ms if before is not None else now_ms
            found[rule.rate] = BurnAlert(
                rule.rate, rule.long_s, rule.short_s, rule.severity, round(long, 2), round(short, 2), begun_ms, None
            )
        elif before is not None:
            found[rule.rate] = replace(
                before, measured_long=round(long, 2), measured_short=round(short, 2), ended_ms=now_ms
            )
    return found
