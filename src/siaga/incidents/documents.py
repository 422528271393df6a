"""An incident as JSON: kept, shown, and read back (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from siaga.incidents.model import Cause, Fact, FactKind, Family, Incident, Level, LevelChange

Document = Mapping[str, Any]


def to_document(incident: Incident) -> dict[str, Any]:
    """Everything of it, with what follows from it for whoever reads."""
    return {
        "id": incident.id,
        "subject": incident.subject,
        "family": str(incident.family),
        "level": int(incident.level),
        "label": incident.level.label,
        "state": str(incident.state),
        "levels": [
            {"at": _text(c.at), "level": int(c.level), "actor": c.actor, "reason": c.reason} for c in incident.levels
        ],
        "causes": [_cause_document(cause) for cause in incident.causes.values()],
        "alerts_more": incident.alerts_more,
        "accepted": sorted(incident.accepted),
        "onset": _text(incident.onset),
        "detected_at": _text(incident.detected_at),
        "declared_at": _text(incident.declared_at),
        "notified_at": _text(incident.notified_at),
        "notified_by": incident.notified_by,
        "acknowledged_at": _text(incident.acknowledged_at),
        "acknowledged_by": incident.acknowledged_by,
        "mitigated_at": _text(incident.mitigated_at),
        "resolved_at": _text(incident.resolved_at),
        "resolved_by": incident.resolved_by,
        "resolved_reason": incident.resolved_reason,
        "figures": incident.figures(),
        "share": incident.share,
        "clauses": list(incident.clauses),
        "recurrence_of": incident.recurrence_of,
        "flaps": incident.flaps,
    }


def from_document(document: Document) -> Incident:
    """Read back what `to_document` gave; KeyError, ValueError or TypeError where it is something else."""
    causes = [_cause(found) for found in document["causes"]]
    levels = tuple(
        LevelChange(datetime.fromisoformat(c["at"]), Level(c["level"]), c["actor"], c["reason"])
        for c in document["levels"]
    )
    if not levels:
        raise ValueError("an incident without a level")
    return Incident(
        id=document["id"],
        subject=document["subject"],
        family=Family(document["family"]),
        levels=levels,
        causes={cause.fact.key: cause for cause in causes},
        alerts_more=document["alerts_more"],
        accepted=frozenset(document["accepted"]),
        acknowledged_at=moment(document["acknowledged_at"]),
        acknowledged_by=document["acknowledged_by"],
        mitigated_at=moment(document["mitigated_at"]),
        resolved_at=moment(document["resolved_at"]),
        resolved_by=document["resolved_by"],
        resolved_reason=document["resolved_reason"],
        notified_at=moment(document["notified_at"]),
        notified_by=document["notified_by"],
        recurrence_of=document["recurrence_of"],
        flaps=document["flaps"],
    )


def moment(text: str | None) -> datetime | None:
    """A time that was written down, or that there is none."""
    return datetime.fromisoformat(text) if text else None


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _cause_document(cause: Cause) -> dict[str, Any]:
    fact = cause.fact
    return {
        "key": fact.key,
        "kind": str(fact.kind),
        "since": _text(fact.since),
        "subject": fact.subject,
        "clause": fact.clause,
        "share": fact.share,
        "asked_level": int(fact.level) if fact.level is not None else None,
        "level": int(cause.level),
        "rule": cause.rule,
        "noted_at": _text(cause.noted_at),
        "seen_at": _text(cause.seen_at),
        "ended_at": _text(cause.ended_at),
        "begun": cause.begun,
    }


def _cause(document: Document) -> Cause:
    asked = document["asked_level"]
    fact = Fact(
        key=document["key"],
        kind=FactKind(document["kind"]),
        since=datetime.fromisoformat(document["since"]),
        present=True,
        subject=document["subject"],
        clause=document["clause"],
        share=document["share"],
        level=Level(asked) if asked is not None else None,
    )
    return Cause(
        fact,
        Level(document["level"]),
        document["rule"],
        noted_at=datetime.fromisoformat(document["noted_at"]),
        seen_at=datetime.fromisoformat(document["seen_at"]),
        ended_at=moment(document["ended_at"]),
        begun=document["begun"],
    )
