"""What the journal means for DRP-3.2b: without it nothing outside the database can tell what is missing (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

LAG_S_MAX = 10.0
VALID_S = 30.0
LIMIT = f"no gap, at most {LAG_S_MAX:g} s behind the database"


def standing(status: Mapping[str, Any]) -> Standing:
    """From what the consumer last said of itself."""
    adherence, why = _judge(status)
    lag_s = status.get("lag_s")
    return Standing(
        clause=ClauseId.DRP_3_2B,
        adherence=adherence,
        figure="" if lag_s is None else f"{lag_s:g} s behind, {len(status.get('gaps', ()))} gaps",
        limit=LIMIT,
        why=why,
        observed_at=datetime.fromtimestamp(status["time_s"], UTC) if "time_s" in status else None,
        part="journal",
        valid_s=VALID_S,
    )


def cross_check() -> Standing:
    """The part that only a recovery exercises."""
    return Standing(
        clause=ClauseId.DRP_3_2B,
        adherence=Adherence.NOT_MEASURED,
        figure="",
        limit="100 % of accounts before service is announced",
        why="no recovery yet; `siaga ledger check` compares every account at any time",
        part="cross-check after a recovery",
    )


def _judge(status: Mapping[str, Any]) -> tuple[Adherence, str]:
    state = status["state"]
    if state == "not measured":
        return Adherence.NOT_MEASURED, str(status["why"])
    gaps = status.get("gaps", ())
    if gaps:
        return Adherence.BROKEN, f"{len(gaps)} gaps, the last one: {gaps[-1]['why']}"
    if state != "streaming":
        return Adherence.AT_RISK, f"{state}: {status['why']}" if status["why"] else str(state)
    lag_s = float(status.get("lag_s") or 0.0)
    if lag_s > LAG_S_MAX:
        return Adherence.AT_RISK, f"{lag_s:g} s behind the database"
    return Adherence.HOLDS, "every entry is kept outside the database"
