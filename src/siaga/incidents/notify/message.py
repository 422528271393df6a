"""What people are told (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from siaga.incidents.model import Incident, Level

SUBJECT_MAX = 200


class Event(StrEnum):
    """Why somebody is told."""

    OPENED = "opened"
    RAISED = "raised"
    LOWERED = "lowered"
    RETURNED = "returned"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell one route."""

    incident: str
    dedup_key: str
    """The same for everything about one incident, whatever is sent twice."""
    event: Event
    level: Level
    subject: str
    text: str
    at: datetime
    onset: datetime

    @property
    def title(self) -> str:
        """The first line: level by number and word, then what."""
        event = "" if self.event is Event.OPENED else f" {self.event}"
        return f"{self.level.label}{event}: {self.subject}"


def compose(incident: Incident, event: Event, site: str, at: datetime) -> Message:
    """Put it into words."""
    return Message(
        incident=incident.id,
        dedup_key=dedup_key(site, incident.id),
        event=event,
        level=incident.level,
        subject=incident.subject[:SUBJECT_MAX],
        text="\n".join(_lines(incident, event, site)),
        at=at,
        onset=incident.onset,
    )


def dedup_key(site: str, incident: str) -> str:
    """One an incident; it comes back in webhooks."""
    return f"siaga/{site}/{incident}"


def _lines(incident: Incident, event: Event, site: str) -> list[str]:
    lasting = incident.lasting
    said = {
        Event.ACKNOWLEDGED: f"{incident.acknowledged_by} looks after it.",
        Event.RESOLVED: f"Resolved by {incident.resolved_by}: {incident.resolved_reason}",
        Event.RETURNED: f"It had ended and is back, time {incident.flaps}.",
        Event.REMINDER: "Nobody has acknowledged it yet.",
    }
    lines = [
        f"{incident.id} on {site}, since {incident.onset:%Y-%m-%d %H:%M:%S} UTC.",
        said.get(event, f"Why this level: {incident.levels[-1].reason}"),
    ]
    if incident.share is not None:
        lines.append(f"Share of users affected: {incident.share:.1%}.")
    if incident.clauses:
        lines.append(f"Clauses: {', '.join(incident.clauses)}.")
    if lasting and event is not Event.RESOLVED:
        more = len(lasting) - 5
        named = "; ".join(cause.fact.subject for cause in lasting[:5])
        lines.append(f"Lasting: {named}{f'; {more} more' if more > 0 else ''}.")
    if incident.alerts_more:
        lines.append(f"{incident.alerts_more} further alerts are counted with it.")
    lines.append(f"siaga incidents show {incident.id}")
    return lines
