"""How long each clause was in which state, from records of its standing (pure).

`siaga sop` shows how the clauses stand now. For a month that is over somebody has to have written it down: a record
holds how all of them stand, at every change and at least every hour, and speaks for no longer than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any

from siaga.evidence.model import Record
from siaga.reports.period import local
from siaga.sop.adherence import WORST_FIRST, Adherence, Standing
from siaga.sop.clauses import CLAUSES, ClauseId
from siaga.sop.month import Month

KIND = "sop.standings"
AT_LEAST_EVERY = timedelta(hours=1)
AT_MOST_EVERY = timedelta(seconds=10)
"""A clause that goes to and fro shall not fill the evidence; the worst of what was seen meanwhile is recorded."""
LATE = timedelta(minutes=2)
"""So much later than due the next record may come before the time between counts as not measured."""

States = Mapping[ClauseId, Adherence]


def record(states: States) -> Record:
    """How all clauses stand, as the evidence keeps it."""
    words = ", ".join(f"{sum(s is state for s in states.values())} {state}" for state in Adherence)
    return Record(
        KIND,
        "controller",
        ClauseId.SUM,
        f"the clauses stand: {words}",
        {"clauses": {str(clause): str(state) for clause, state in states.items()}},
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """What was recorded last, and what was seen since: decides whether it is time for a record."""

    recorded: States = field(default_factory=dict)
    recorded_at: datetime | None = None
    seen: States = field(default_factory=dict)
    """The worst of each clause since then, where it is not what was recorded."""

    def seeing(self, standings: Iterable[Standing]) -> Pace:
        """With how the clauses stand now; all of them, each once."""
        now = {standing.clause: standing.adherence for standing in standings}
        worst = {
            clause: min(state, self.seen.get(clause, state), key=WORST_FIRST.index) for clause, state in now.items()
        }
        return Pace(self.recorded, self.recorded_at, worst)

    def due(self, now: datetime) -> bool:
        """Whether what was seen wants recording; a clock that was set back makes it due."""
        if self.recorded_at is None or now < self.recorded_at:
            return bool(self.seen)
        age = now - self.recorded_at
        return bool(self.seen) and (age >= AT_LEAST_EVERY or (self.seen != self.recorded and age >= AT_MOST_EVERY))

    def done(self, now: datetime) -> Pace:
        """After the record was written: what is seen from now on counts anew."""
        return Pace(self.seen, now)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a clause was in which state, of the part of a month that is over."""

    elapsed: timedelta
    spent: Mapping[Adherence, timedelta]
    """What nobody recorded is under `not measured`."""
    broken: tuple[tuple[datetime, datetime], ...] = ()
    """When it was broken, from and until."""

    def percent(self, state: Adherence) -> float:
        """The share of the time that is over; 0 where none is."""
        return 100 * (self.spent.get(state, timedelta(0)) / self.elapsed) if self.elapsed else 0.0


def kept(
    documents: Iterable[Mapping[str, Any]], month: Month, *, began_at: datetime, now: datetime
) -> dict[ClauseId, Kept]:
    """Fold the records of `KIND`; one from before the month's begin may be among them.

    Counted is from the month's begin, or from the site's (`began_at`), until the month's end or `now`.
    """
    since, until = max(month.begin, began_at), min(month.end, now)
    elapsed = max(until - since, timedelta(0))
    spent: dict[ClauseId, dict[Adherence, timedelta]] = {clause: {} for clause in CLAUSES}
    broken: dict[ClauseId, list[tuple[datetime, datetime]]] = {clause: [] for clause in CLAUSES}
    # By their times: a clock that was set back lets the log's order differ, and no moment counts twice.
    found = sorted(((datetime.fromisoformat(d["time"]), _states(d)) for d in documents), key=itemgetter(0))
    for (at, states), (following, _) in pairwise([*found, (until, {})]):
        begin, end = max(at, since), min(following, at + AT_LEAST_EVERY + LATE, until)
        if end <= begin:
            continue
        for clause, state in states.items():
            spent[clause][state] = spent[clause].get(state, timedelta(0)) + (end - begin)
            if state is Adherence.BROKEN:
                _extend(broken[clause], begin, end)
    return {clause: _whole(spent[clause], elapsed, broken[clause]) for clause in CLAUSES}


def span(of: tuple[datetime, datetime]) -> str:
    """`2026-11-25 03:40:07 for 12 s`."""
    return f"{local(of[0])} for {(of[1] - of[0]).total_seconds():.0f} s"


def _states(document: Mapping[str, Any]) -> dict[ClauseId, Adherence]:
    """Those that this version knows: a newer one may have more clauses or states."""
    known_clauses, known_states = set(ClauseId), set(Adherence)
    found = document["figures"].get("clauses", {})
    return {ClauseId(c): Adherence(s) for c, s in found.items() if c in known_clauses and s in known_states}


def _extend(spans: list[tuple[datetime, datetime]], begin: datetime, end: datetime) -> None:
    if spans and spans[-1][1] == begin:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((begin, end))


def _whole(spent: dict[Adherence, timedelta], elapsed: timedelta, broken: list[tuple[datetime, datetime]]) -> Kept:
    measured = sum((t for s, t in spent.items() if s is not Adherence.NOT_MEASURED), timedelta(0))
    return Kept(elapsed, {**spent, Adherence.NOT_MEASURED: elapsed - measured}, tuple(broken))
