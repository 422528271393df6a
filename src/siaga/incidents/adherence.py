"""How incidents stand for ZDT-1: every service failure is one of Level 3, and somebody knows (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from siaga.incidents.model import Incident, Level
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

VALID_S = 10.0
TOLD_WITHIN_S = 60.0
"""Practice: a critical incident is sent within a minute."""


def standing(incidents: Sequence[Incident], *, routes: int, failing: Mapping[str, str], now: datetime) -> Standing:
    """The part "incidents"; at risk while one of Level 3 is open or has reached nobody."""
    worst = max((incident.level for incident in incidents), default=None)
    untold = [
        one
        for one in incidents
        if one.level is Level.CRITICAL
        and one.notified_at is None
        and (now - one.declared_at).total_seconds() > TOLD_WITHIN_S
    ]
    why = "no incident is open" if worst is None else f"the worst is {worst.label}"
    if untold:
        told = "no route is configured" if not routes else "; ".join(f"{r}: {w}" for r, w in failing.items())
        why = f"nobody was told of {untold[0].id}{f' ({told})' if told else ''}"
    elif failing:
        why += f"; routes that fail: {', '.join(sorted(failing))}"
    elif not routes:
        why += "; no route is configured, nobody would be told"
    return Standing(
        clause=ClauseId.ZDT_1,
        adherence=Adherence.AT_RISK if worst is Level.CRITICAL or failing else Adherence.HOLDS,
        figure=f"{len(incidents)} open",
        limit="any service failure is an incident of Level 3",
        why=why,
        observed_at=now,
        part="incidents",
        valid_s=VALID_S,
    )
