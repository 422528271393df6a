"""A change of an incident as a record of the evidence (pure)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from siaga.evidence.model import Record
from siaga.incidents.levels import RULES_VERSION
from siaga.incidents.model import Change, ChangeKind
from siaga.sop.clauses import ClauseId

KEYS_MAX = 20
UNRECORDED_MAX = 1000
FLAPS_RECORDED = 50
_COMING_AND_GOING = frozenset({ChangeKind.CAUSES, ChangeKind.RECURRED, ChangeKind.MITIGATED})


def worth_recording(change: Change, waiting: int) -> bool:
    """Whether it is recorded by itself. Coming and going within an incident is not, once it flaps without an end or
    a thousand records wait for a closed evidence: the incident's figures have the count.
    """
    endless = waiting >= UNRECORDED_MAX or change.incident.flaps > FLAPS_RECORDED
    return not (endless and change.kind in _COMING_AND_GOING)


def record_of(change: Change, at: datetime) -> Record:
    """What is recorded; its reason names the incident, its level by number and word, and why."""
    incident = change.incident
    figures: dict[str, Any] = {
        "incident": incident.id,
        "at": at.isoformat(timespec="milliseconds"),
        "level": int(incident.level),
        "state": str(incident.state),
        "rules": RULES_VERSION,
        "onset": incident.onset.isoformat(timespec="milliseconds"),
        "causes": len(incident.causes),
        "lasting": [cause.fact.key for cause in incident.lasting][:KEYS_MAX],
        "alerts_more": incident.alerts_more,
        "flaps": incident.flaps,
        **{name: value for name, value in incident.figures().items() if value is not None},
    }
    if incident.share is not None:
        figures["share"] = incident.share
    if change.kind is ChangeKind.LEVEL:
        figures["level_before"] = int(incident.levels[-2].level)
    clause = incident.clauses[0] if incident.clauses else str(ClauseId.ZDT_1)
    reason = f"{incident.id} {change.kind}, {incident.level.label}: {change.reason}"
    return Record(f"incident.{change.kind}", change.actor, clause, reason, figures)
