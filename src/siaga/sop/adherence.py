"""Does each clause hold, and why: what `siaga sop` prints.

Nothing here is ever assumed: a clause holds only if every part of it was measured, recently, and found within
its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from siaga.sop.clauses import CLAUSES, ClauseId


class Adherence(StrEnum):
    """How a clause, or a part of one, stands."""

    HOLDS = "holds"
    AT_RISK = "at risk"
    BROKEN = "broken"
    NOT_MEASURED = "not measured"


WORST_FIRST = (Adherence.BROKEN, Adherence.AT_RISK, Adherence.NOT_MEASURED, Adherence.HOLDS)
"""The order in which parts decide about the whole: trouble that was seen outweighs what nobody looked at."""

NOT_BUILT_YET = frozenset(ClauseId) - {
    ClauseId.ZDT_1,
    ClauseId.ZDT_1_1A,
    ClauseId.ZDT_1_1B,
    ClauseId.PMT,
    ClauseId.DRP_3_2B,
    ClauseId.SUM,
}
"""Clauses that nothing in this version measures; tests/unit/sop/test_traceability.py keeps the list honest."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a clause stood when it was last looked at."""

    clause: ClauseId
    adherence: Adherence
    figure: str
    """What was measured, with its unit; empty where nothing was."""
    limit: str
    why: str
    observed_at: datetime | None = None
    parts: tuple[Standing, ...] = ()
    part: str = ""
    """What this is a part of the clause for; empty for a whole clause."""
    valid_s: float | None = None
    """How long a measurement speaks for the present; None where it does not age."""

    def __post_init__(self) -> None:
        """Refuse a time without a zone: ages across machines would be off by hours."""
        if self.observed_at is not None and self.observed_at.tzinfo is None:
            raise ValueError("observed_at has no time zone")


def combine(clause: ClauseId, parts: Sequence[Standing]) -> Standing:
    """Judge a whole clause by its parts: as bad as the worst, and only as recent as the oldest."""
    if not parts:
        return _not_measured(clause, "nothing measured yet")
    adherence = min((p.adherence for p in parts), key=WORST_FIRST.index)
    deciding = [p for p in parts if p.adherence is adherence]
    times = [p.observed_at for p in parts if p.observed_at is not None]
    return Standing(
        clause=clause,
        adherence=adherence,
        figure=_joined(p.figure for p in deciding),
        limit=_joined(p.limit for p in deciding),
        why=_joined(f"{p.part}: {p.why}" if p.part else p.why for p in deciding),
        observed_at=min(times, default=None),
        parts=tuple(parts),
    )


def aged(standing: Standing, now: datetime) -> Standing:
    """Return the standing as it speaks at `now`: a measurement past its time is no measurement."""
    if standing.parts:
        parts = tuple(aged(part, now) for part in standing.parts)
        return standing if parts == standing.parts else replace(combine(standing.clause, parts), part=standing.part)
    if standing.valid_s is None or standing.observed_at is None or standing.adherence is Adherence.NOT_MEASURED:
        return standing
    age_s = (now - standing.observed_at).total_seconds()
    if abs(age_s) <= standing.valid_s:
        return standing
    # A measurement from the future means that a clock moved: its true age is unknown.
    when = f"last measured {age_s:.0f} s ago" if age_s > 0 else f"measured {-age_s:.0f} s ahead of this clock"
    return replace(
        standing,
        adherence=Adherence.NOT_MEASURED,
        why=f"{when}, valid for {standing.valid_s:g} s; it said {standing.adherence} then",
    )


def standings(measured: Iterable[Standing], now: datetime) -> tuple[Standing, ...]:
    """Every clause in the order of the document, as it stands at `now`."""
    found: dict[ClauseId, list[Standing]] = {clause_id: [] for clause_id in CLAUSES}
    for standing in measured:
        found[standing.clause].append(aged(standing, now))
    return tuple(_whole(clause_id, parts) for clause_id, parts in found.items())


def to_document(standing: Standing) -> dict[str, Any]:
    """Give the standing as a JSON document, for `--json` and the state directory."""
    return {
        "clause": str(standing.clause),
        "title": CLAUSES[standing.clause].title,
        "part": standing.part,
        "adherence": str(standing.adherence),
        "figure": standing.figure,
        "limit": standing.limit,
        "why": standing.why,
        "observed_at": standing.observed_at.isoformat() if standing.observed_at else None,
        "valid_s": standing.valid_s,
        "parts": [to_document(part) for part in standing.parts],
    }


def from_document(document: Mapping[str, Any]) -> Standing:
    """Read back what `to_document` gave; KeyError or ValueError where it is something else."""
    observed_at = document["observed_at"]
    return Standing(
        clause=ClauseId(document["clause"]),
        adherence=Adherence(document["adherence"]),
        figure=document["figure"],
        limit=document["limit"],
        why=document["why"],
        observed_at=datetime.fromisoformat(observed_at) if observed_at else None,
        parts=tuple(from_document(part) for part in document["parts"]),
        part=document["part"],
        valid_s=document["valid_s"],
    )


def _whole(clause_id: ClauseId, parts: list[Standing]) -> Standing:
    if len(parts) == 1:
        return parts[0]
    if not parts and clause_id in NOT_BUILT_YET:
        return _not_measured(clause_id, "machinery not built yet")
    return combine(clause_id, parts)


def _not_measured(clause_id: ClauseId, why: str) -> Standing:
    return Standing(clause_id, Adherence.NOT_MEASURED, figure="", limit=CLAUSES[clause_id].numbers, why=why)


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
