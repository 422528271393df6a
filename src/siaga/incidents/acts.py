"""What people do with incidents: declare, acknowledge, downgrade, resolve (pure).

The controller raises levels; only a person lowers one, with a reason, and nobody closes what still goes on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from siaga.errors import BadInput, Refused
from siaga.incidents.decide import new_id
from siaga.incidents.model import (
    Book,
    Change,
    ChangeKind,
    FactKind,
    Family,
    Incident,
    Level,
    LevelChange,
    State,
)

Done = tuple[Book, tuple[Change, ...]]


def declare(book: Book, level: Level, actor: str, reason: str, now: datetime) -> Done:
    """Open one that no measurement has shown."""
    reason = _stated(reason)
    declared = Incident(
        id=new_id(book, now),
        subject=reason,
        family=Family.SERVICE,
        levels=(LevelChange(now, level, actor, reason),),
    )
    return book.having(declared), (Change(ChangeKind.OPENED, declared, actor, reason),)


def acknowledge(book: Book, id_: str, actor: str, now: datetime) -> Done:
    """Somebody looks after it. The first one counts; saying it again changes nothing."""
    incident = _open(book, id_)
    if incident.acknowledged_at is not None:
        return book, ()
    done = replace(incident, acknowledged_at=max(now, incident.declared_at), acknowledged_by=actor)
    return book.having(done), (Change(ChangeKind.ACKNOWLEDGED, done, actor, f"{actor} looks after it"),)


def downgrade(book: Book, id_: str, to: Level, actor: str, reason: str, now: datetime) -> Done:
    """A person's judgement; what it is about raises the level again once it begins again or gets worse."""
    incident, reason = _open(book, id_), _stated(reason)
    if to >= incident.level:
        raise Refused(
            f"incident {id_} is {incident.level.label}, {to.label} is not lower",
            hint="The controller raises levels by itself; `siaga incidents declare` opens one that it does not see.",
        )
    outage = next((cause for cause in incident.lasting if cause.fact.kind is FactKind.OUTAGE), None)
    if outage is not None:
        raise Refused(
            f"incident {id_} stays {incident.level.label}: {outage.fact.subject} still lasts, and any service failure "
            f"is {Level.CRITICAL.label} (ZDT-1)",
            hint="End the outage first. A measurement that is wrong is re-classified with a reason: `siaga uptime`.",
        )
    change = LevelChange(max(now, incident.last_at), to, actor, reason)
    done = replace(incident, levels=(*incident.levels, change), accepted=frozenset(incident.causes))
    return book.having(done), (Change(ChangeKind.LEVEL, done, actor, reason),)


def resolve(book: Book, id_: str, actor: str, reason: str, now: datetime) -> Done:
    """Close it. Refused while a cause lasts; closing what is closed changes nothing."""
    reason = _stated(reason)
    known = book.find(id_)
    if known is not None and known.state is State.RESOLVED:
        return book, ()
    incident = _open(book, id_)
    if incident.holding:
        raise Refused(
            f"incident {id_} can't be resolved: {_lasting(incident)}",
            hint="It is resolved by itself once its causes have ended. `siaga incidents acknowledge` says that "
            "somebody looks after it.",
        )
    at = max(now, incident.last_at)
    done = replace(
        incident,
        mitigated_at=incident.mitigated_at or at,
        resolved_at=at,
        resolved_by=actor,
        resolved_reason=reason,
    )
    return book.having(done), (Change(ChangeKind.RESOLVED, done, actor, reason),)


def _lasting(incident: Incident) -> str:
    subjects = [cause.fact.subject for cause in incident.holding]
    more = f" and {len(subjects) - 3} more" if len(subjects) > 3 else ""
    return f"{', '.join(subjects[:3])}{more} still {'lasts' if len(subjects) == 1 else 'last'}"


def _stated(reason: str) -> str:
    text = " ".join(reason.split())
    if not text:
        raise BadInput("the reason is empty, expected words", hint="It goes into the evidence: say why.")
    return text[:500]


def _open(book: Book, id_: str) -> Incident:
    incident = book.find(id_)
    if incident is None:
        raise BadInput(
            f"there is no incident `{id_[:60]}`", hint="`siaga incidents list` shows the open ones and the last closed."
        )
    if incident.state is State.RESOLVED:
        raise Refused(
            f"incident {id_} was resolved by {incident.resolved_by}: {incident.resolved_reason}",
            hint="What goes on opens a new incident by itself; `siaga incidents declare` opens one by hand.",
        )
    return incident
