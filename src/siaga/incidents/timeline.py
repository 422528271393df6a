"""The timeline of an incident: facts, decisions and acts, as the evidence has them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from siaga.incidents.model import Incident

DOMAINS = frozenset(
    {"traffic", "sessions", "runbooks", "run", "lever", "approval", "fence", "drill", "uptime", "ledger", "journal"}
)
"""Whose records belong to a timeline, beside those that name the incident itself."""
BEFORE = timedelta(minutes=2)
"""What was done just before the onset may be its cause."""
AFTER = timedelta(minutes=10)
ENTRIES_MAX = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    at: datetime
    kind: str
    actor: str
    reason: str
    record: int
    """Its number in the evidence."""


def timeline(incident: Incident, records: Iterable[Mapping[str, Any]], now: datetime) -> tuple[Entry, ...]:
    """Everything of the incident itself, and what others did while it lasted; oldest first.

    Of more than 500 lines the first and the last are kept, and one says how many are left out.
    """
    begin, end = begins(incident), (incident.resolved_at or now) + AFTER
    found = []
    for record in records:
        at = _moment(record)
        own = record["figures"].get("incident") == incident.id
        of_others = record["kind"].partition(".")[0] in DOMAINS and begin <= at <= end
        if own or of_others:
            found.append(Entry(at, record["kind"], record["actor"], record["reason"], record["number"]))
    found.sort(key=lambda entry: (entry.at, entry.record))
    if len(found) <= ENTRIES_MAX:
        return tuple(found)
    half = ENTRIES_MAX // 2
    gap = Entry(found[half].at, "…", "", f"{len(found) - 2 * half} records are left out", found[half].record)
    return (*found[:half], gap, *found[-half:])


def begins(incident: Incident) -> datetime:
    """From when on records may belong to it."""
    return min(incident.onset, incident.declared_at) - BEFORE


def _moment(record: Mapping[str, Any]) -> datetime:
    # An act exempt from waiting for its record happened before it, and a change of an incident may have waited.
    text = record.get("exempt_at") or record["figures"].get("at") or record["time"]
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        found = datetime.fromisoformat(record["time"])
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
