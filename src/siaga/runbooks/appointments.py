"""What is expected of the calendar: each appointment, and each day on which it falls (pure).

The population is complete by construction: whoever asks gets one occurrence a window, whether or not anything ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from siaga.runbooks.windows import Opening, Window
from siaga.sop.clauses import ClauseId


@dataclass(frozen=True, slots=True)
class Appointment:
    """A runbook that is expected in every window."""

    name: str
    """`update-database`; the first half of the id of each occurrence."""
    runbook: str
    clause: ClauseId
    window: Window
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The choices that each run is given."""
    only_at_low_traffic: bool = False
    """Whether measured traffic has to be at its low (PMT-2.1)."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """For how long an appointment was in force: a site that moves its window leaves the past as it was."""

    appointment: Appointment
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One expected run."""

    appointment: Appointment
    opening: Opening

    @property
    def id(self) -> str:
        """The same whoever computes it, so that nothing runs twice: `update-database/2026-11-25`."""
        return f"{self.appointment.name}/{self.opening.day.isoformat()}"


def expected(tenures: Iterable[Tenure], since: datetime, until: datetime) -> tuple[Occurrence, ...]:
    """Every occurrence that begins at or after `since` and before `until`, oldest first, each id once.

    What begins before an appointment was made is not expected: the past before the site existed is not missed.
    """
    found: dict[str, Occurrence] = {}
    for tenure in tenures:
        for occurrence in _during(tenure, since, until):
            # A window moved on its very day (03:00 to 03:10 at 03:05): the one that began first stays.
            found.setdefault(occurrence.id, occurrence)
    return tuple(sorted(found.values(), key=lambda o: (o.opening.begin, o.id)))


def _during(tenure: Tenure, since: datetime, until: datetime) -> Iterator[Occurrence]:
    last = until if tenure.until is None else min(until, tenure.until)
    for opening in tenure.appointment.window.openings(max(since, tenure.since), last):
        yield Occurrence(tenure.appointment, opening)


def to_document(appointment: Appointment) -> dict[str, Any]:
    """As plain JSON, for the evidence."""
    window = appointment.window
    return {
        "name": appointment.name,
        "runbook": appointment.runbook,
        "clause": str(appointment.clause),
        "weekdays": sorted(window.weekdays),
        "begin": window.begin.isoformat(),
        "end": window.end.isoformat(),
        "zone": window.zone,
        "last_start_before_end_s": int(window.last_start_before_end.total_seconds()),
        "hard_stop_before_end_s": int(window.hard_stop_before_end.total_seconds()),
        "parameters": dict(appointment.parameters),
        "only_at_low_traffic": appointment.only_at_low_traffic,
    }


def from_document(document: Mapping[str, Any]) -> Appointment:
    """What `to_document` gave; KeyError or ValueError where it is something else."""
    return Appointment(
        name=document["name"],
        runbook=document["runbook"],
        clause=ClauseId(document["clause"]),
        window=Window(
            weekdays=frozenset(document["weekdays"]),
            begin=time.fromisoformat(document["begin"]),
            end=time.fromisoformat(document["end"]),
            zone=document["zone"],
            last_start_before_end=timedelta(seconds=document["last_start_before_end_s"]),
            hard_stop_before_end=timedelta(seconds=document["hard_stop_before_end_s"]),
        ),
        parameters=document["parameters"],
        only_at_low_traffic=document["only_at_low_traffic"],
    )
