"""A calendar month in Asia/Jakarta: its budget, what was used of it, and whether it held (ZDT-1, pure).

Whole milliseconds inside, exact decimals outside, rounded so that they never flatter: uptime and coverage down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any

from siaga.sop.limits import UptimeLimits
from siaga.sop.month import ZONE, Month
from siaga.uptime.model import WHOLE_PPM, Outage, Reclassification, Slice, State
from siaga.uptime.outages import listed
from siaga.uptime.timeline import clipped, filled, reclassified

_FOUR_PLACES = Decimal("0.0001")


class Verdict(StrEnum):
    """Whether the month held."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_DETERMINED = "not determined"


def budget_ms(month: Month, limits: UptimeLimits) -> int:
    """How long users may go unserved: the smaller of the fixed time and the share of this very month."""
    share = (100 - Decimal(str(limits.uptime_percent_min))) / 100 * (month.end_ms - month.begin_ms)
    fixed = Decimal(str(limits.downtime_s_max)) * 1000
    return int(min(share, fixed).to_integral_value(ROUND_FLOOR))


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """A month in figures; the running one up to now, the first one since the site exists."""

    month: Month
    begin_ms: int
    end_ms: int
    """Both as far as they were looked at; equal where there is nothing to look at."""
    running: bool
    budget_ms: int
    good_ms: int
    bad_ms: int
    unknown_ms: int
    weighted_bad_ms: int
    """Bad time by the share of users affected: beside the verdict, never part of it."""
    measured_bad_ms: int
    measured_unknown_ms: int
    """Both before anybody re-classified anything."""
    verdict: Verdict
    why: str
    outages: tuple[Outage, ...]
    reclassifications: tuple[Reclassification, ...]

    @property
    def uptime_percent(self) -> Decimal | None:
        """Raw uptime, of the time that was measured; None where nothing was."""
        return _percent(self.good_ms, self.good_ms + self.bad_ms)

    @property
    def covered_percent(self) -> Decimal | None:
        """How much of the time was measured; None where there was no time."""
        return _percent(self.good_ms + self.bad_ms, self.end_ms - self.begin_ms)

    @property
    def weighted_uptime_percent(self) -> Decimal | None:
        """As raw uptime, by the share of users affected."""
        measured_ms = self.good_ms + self.bad_ms
        return _percent(measured_ms - self.weighted_bad_ms, measured_ms)

    def to_document(self) -> dict[str, Any]:
        """As JSON; percents are decimals in quotes, so that no reader rounds them."""
        return {
            "month": str(self.month),
            "zone": ZONE,
            "begin": iso(self.begin_ms),
            "end": iso(self.end_ms),
            "running": self.running,
            "verdict": str(self.verdict),
            "why": self.why,
            "budget_ms": self.budget_ms,
            "budget_left_ms": self.budget_ms - self.bad_ms,
            "good_ms": self.good_ms,
            "bad_ms": self.bad_ms,
            "unknown_ms": self.unknown_ms,
            "weighted_bad_ms": self.weighted_bad_ms,
            "measured_bad_ms": self.measured_bad_ms,
            "measured_unknown_ms": self.measured_unknown_ms,
            "uptime_percent": _text(self.uptime_percent),
            "covered_percent": _text(self.covered_percent),
            "weighted_uptime_percent": _text(self.weighted_uptime_percent),
            "outages": [
                {**each.to_document(), "onset": iso(each.onset_ms), "ended": iso(each.ended_ms or self.end_ms)}
                for each in self.outages
            ],
            "reclassifications": [
                {
                    "begin": iso(each.begin_ms),
                    "end": iso(each.end_ms),
                    "as": str(each.state),
                    "actor": each.actor,
                    "reason": each.reason,
                    "record": each.record,
                }
                for each in self.reclassifications
            ],
        }


def figures(
    month: Month,
    slices: Sequence[Slice],
    words: Sequence[Reclassification],
    *,
    began_ms: int | None,
    now_ms: int,
    limits: UptimeLimits,
) -> MonthFigures:
    """Count the month; `slices` hold it, in order, and `began_ms` is when the site was first served (None: never yet).

    Only what lies behind `now_ms` counts, and nothing of the time before the site existed.
    """
    begin_ms = month.begin_ms if began_ms is None else max(month.begin_ms, began_ms)
    end_ms = min(month.end_ms, now_ms)
    end_ms = max(begin_ms, end_ms) if began_ms is not None else begin_ms
    measured = filled(slices, begin_ms, end_ms)
    concerned = tuple(word for word in words if word.begin_ms < end_ms and word.end_ms > begin_ms)
    said = reclassified(measured, concerned)
    bad_ms, unknown_ms = _total_ms(said, State.BAD), _total_ms(said, State.UNKNOWN)
    allowed_ms = budget_ms(month, limits)
    running = month.begin_ms <= now_ms < month.end_ms
    verdict, why = _judge(bad_ms, unknown_ms, allowed_ms, running=running)
    if begin_ms == end_ms:
        verdict = Verdict.NOT_DETERMINED
        why = "the site was not served yet" if began_ms is None or began_ms >= month.end_ms else "nothing was measured"
    return MonthFigures(
        month=month,
        begin_ms=begin_ms,
        end_ms=end_ms,
        running=running,
        budget_ms=allowed_ms,
        good_ms=_total_ms(said, State.GOOD),
        bad_ms=bad_ms,
        unknown_ms=unknown_ms,
        weighted_bad_ms=sum(each.length_ms * each.share_ppm for each in said) // WHOLE_PPM,
        measured_bad_ms=_total_ms(measured, State.BAD),
        measured_unknown_ms=_total_ms(measured, State.UNKNOWN),
        verdict=verdict,
        why=why,
        outages=listed(clipped(said, begin_ms, end_ms)),
        reclassifications=concerned,
    )


def iso(moment_ms: int) -> str:
    """A moment as evidence has it."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _judge(bad_ms: int, unknown_ms: int, allowed_ms: int, *, running: bool) -> tuple[Verdict, str]:
    used = f"{bad_ms / 1000:.1f} s bad and {unknown_ms / 1000:.1f} s unknown of {allowed_ms / 1000:.1f} s"
    if bad_ms > allowed_ms:
        return Verdict.DOES_NOT_HOLD, used
    if bad_ms + unknown_ms > allowed_ms:
        return Verdict.NOT_DETERMINED, f"{used}: too much of the time was not measured"
    return Verdict.HOLDS, f"{used}, so far" if running else used


def _total_ms(slices: Iterable[Slice], state: State) -> int:
    return sum(each.length_ms for each in slices if each.state is state)


def _percent(part_ms: int, whole_ms: int) -> Decimal | None:
    if whole_ms <= 0:
        return None
    return (Decimal(part_ms) * 100 / Decimal(whole_ms)).quantize(_FOUR_PLACES, ROUND_FLOOR)


def _text(percent: Decimal | None) -> str | None:
    return None if percent is None else str(percent)
