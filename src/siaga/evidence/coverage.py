"""How much of the evidence is witnessed, and what that says of the clause SUM (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

INTERVAL_S = 60.0
"""A checkpoint so often, while anything is recorded."""

UNWITNESSED_INTERVALS_MAX = 3

PART = "evidence"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known at one moment; ages by a clock that can't be set."""

    records: int
    witnessed: int
    """So many of them, from the first on, are under a checkpoint that the witness cosigned."""
    uncovered_s: float
    """How long the oldest record above those has waited; 0 when there is none."""
    away_s: float
    """For how long the witness has not answered; 0 when it just did."""
    refused: str = ""
    """What the witness has against the log, or we against the witness; empty when nothing."""
    trouble: str = ""
    """Why the last pass did not end; empty when it did."""
    not_copied: str = ""
    """Why the last checkpoint has no copy elsewhere; empty when it has, or needs none."""


def due(coverage: Coverage, *, since_signed_s: float) -> bool:
    """Whether a checkpoint wants signing: something is new, or was refused and may be better now."""
    return since_signed_s >= INTERVAL_S and (coverage.records != coverage.witnessed or bool(coverage.refused))


def standing(coverage: Coverage, observed_at: datetime | None, *, valid_s: float) -> Standing:
    """The part "evidence" of SUM, as it was seen then; None when nobody has looked yet."""
    adherence, why = _judged(coverage)
    return Standing(
        ClauseId.SUM,
        adherence,
        figure=f"{coverage.witnessed} of {coverage.records} records witnessed",
        limit=f"all but those of the newest {UNWITNESSED_INTERVALS_MAX * INTERVAL_S:g} s witnessed, none refused",
        why=why,
        observed_at=observed_at,
        part=PART,
        valid_s=valid_s,
    )


def _judged(coverage: Coverage) -> tuple[Adherence, str]:
    limit_s = UNWITNESSED_INTERVALS_MAX * INTERVAL_S
    because = f": {coverage.trouble}" if coverage.trouble else ""
    if coverage.refused:
        return Adherence.BROKEN, coverage.refused
    if coverage.away_s > limit_s:
        return Adherence.AT_RISK, f"no answer from the witness for {coverage.away_s:.0f} s{because}"
    if coverage.uncovered_s > limit_s:
        count = coverage.records - coverage.witnessed
        return Adherence.AT_RISK, f"{count} records not witnessed, the oldest for {coverage.uncovered_s:.0f} s{because}"
    if coverage.not_copied:
        return Adherence.AT_RISK, coverage.not_copied
    if coverage.witnessed == 0:
        return Adherence.NOT_MEASURED, "no checkpoint was witnessed yet"
    return Adherence.HOLDS, "the witness has cosigned what is due, and has refused nothing"
