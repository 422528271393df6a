"""A regulator's clock: by when an authority has to be told, and a form drafted from the record (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from siaga.incidents.model import Incident, Level
from siaga.site.notifications import Regulator

BLANK = "________ (a person fills this in)"


@dataclass(frozen=True, slots=True)
class Clock:
    """How long is left."""

    regulator: str
    due_at: datetime
    left_s: float
    """Below 0 when it is over."""


def clock(incident: Incident, regulator: Regulator | None, now: datetime) -> Clock | None:
    """The clock of an incident; None where nobody has to be told. A downgrade does not stop it."""
    if regulator is None or incident.highest.level < Level(regulator.level_min):
        return None
    due_at = incident.detected_at + timedelta(hours=regulator.hours)
    return Clock(regulator.name, due_at, (due_at - now).total_seconds())


def draft(incident: Incident, found: Clock, site: str) -> str:
    """The form in Markdown, for a person to complete and to send: nothing leaves by itself."""
    share = f"{incident.share:.1%} of the users" if incident.share is not None else "not measured"
    rows = (
        ("To", found.regulator),
        ("Platform", site),
        ("Reference", incident.id),
        ("Due", f"{found.due_at:%Y-%m-%d %H:%M} UTC"),
        ("Classification", incident.highest.level.label),
        ("What happened", incident.subject),
        ("Began", f"{incident.onset:%Y-%m-%d %H:%M:%S} UTC"),
        ("Detected", f"{incident.detected_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Mitigated", f"{incident.mitigated_at:%Y-%m-%d %H:%M:%S} UTC" if incident.mitigated_at else "it lasts"),
        ("Users affected", share),
        ("Clauses concerned", ", ".join(incident.clauses) or "none"),
        ("Money or data at risk", BLANK),
        ("Measures taken", BLANK),
        ("Contact", BLANK),
    )
    lines = "\n".join(f"| {name} | {value} |" for name, value in ((n, v.replace("|", "\\|")) for n, v in rows))
    return f"# Notification of an incident (draft)\n\n| | |\n|---|---|\n{lines}\n"
