"""What the running month means for ZDT-1 (pure)."""

from __future__ import annotations

from datetime import UTC, datetime

from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId
from siaga.uptime.model import Outage
from siaga.uptime.months import MonthFigures, Verdict

VALID_S = 30.0
BUDGET_USED_PERCENT_MAX = 50
"""With more of it used the month is at risk: no chaos runs, maintenance in drained regions only."""


def standing(found: MonthFigures | None, outage: Outage | None, trouble: str) -> Standing:
    """From the month's figures, the outage that goes on, and what keeps the figures from being kept (or "")."""
    adherence, why = _judge(found, outage, trouble)
    figure, limit, observed_at = "", "uptime >= 99.99 % a month, at most 4.38 min", None
    if found is not None:
        observed_at = datetime.fromtimestamp(found.end_ms / 1000, UTC)
        limit = f"{found.budget_ms / 1000:.1f} s bad and unknown in {found.month}"
        if found.uptime_percent is not None:
            figure = (
                f"{found.uptime_percent} % up, {found.covered_percent} % covered, "
                f"{found.bad_ms / 1000:.1f} s bad, {found.unknown_ms / 1000:.1f} s unknown"
            )
    return Standing(ClauseId.ZDT_1, adherence, figure, limit, why, observed_at, valid_s=VALID_S)


def _judge(found: MonthFigures | None, outage: Outage | None, trouble: str) -> tuple[Adherence, str]:
    if found is None or found.uptime_percent is None:
        return Adherence.NOT_MEASURED, trouble or "nothing was measured this month"
    if found.verdict is Verdict.DOES_NOT_HOLD:
        return Adherence.BROKEN, found.why
    if outage is not None and outage.ended_ms is None:
        return Adherence.AT_RISK, f"users are not served in {', '.join(outage.regions)}: {outage.first_failure}"
    if found.verdict is Verdict.NOT_DETERMINED:
        return Adherence.NOT_MEASURED, found.why
    if trouble:
        return Adherence.AT_RISK, trouble
    if found.bad_ms * 100 > found.budget_ms * BUDGET_USED_PERCENT_MAX:
        return Adherence.AT_RISK, f"more than {BUDGET_USED_PERCENT_MAX} % of the budget is used: {found.why}"
    return Adherence.HOLDS, found.why
