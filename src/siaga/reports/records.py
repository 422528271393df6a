"""What the records of a month say: windows, runs, drills, diversions, incidents, and what people did (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from siaga.evidence.document import iso
from siaga.evidence.index import PROOF
from siaga.reports import standings
from siaga.reports.model import Act, Drill, Expected, Incident, Run
from siaga.runbooks.appointments import expected as occurrences
from siaga.runbooks.calendar import TERMINAL, Facts, RunSeen, judge
from siaga.runbooks.calendar_memory import recall
from siaga.runbooks.model import Manner
from siaga.runbooks.run import Outcome
from siaga.sop.month import Month

Document = Mapping[str, Any]

_DIVERSIONS = ("traffic.drain", "traffic.hold")
_STARTED, _ENDED, _BREACHED = "runbooks.started", "runbooks.ended", "runbooks.clock-breached"
_ACTS = ("lever.", "approval.", "fence.")
_ACT_KINDS = frozenset(
    {
        "calendar.allowed", "calendar.freeze", "evidence.continued", "evidence.key_rotated", "evidence.pruned",
        "evidence.refusal_acknowledged", "evidence.tail_cut", "evidence.witness_key_rotated",
        "evidence.witness_pinned", "evidence.clock_set",
    }
)  # fmt: skip
_OF_INTEREST = frozenset({*_DIVERSIONS, _STARTED, _ENDED, _BREACHED, PROOF, standings.KIND, *_ACT_KINDS})
_OF_ANY_TIME = (b'"kind":"calendar.', b'"kind":"incident.')


@dataclass
class MonthRecords:
    """Folds the log, line by line from its beginning, down to what a report needs."""

    month: Month
    began_at: datetime
    """The time of the first record that is left."""
    witnessed: int = 0
    """So many records of the log are under a witnessed checkpoint."""
    known_until: datetime | None = None
    """The time of the last record before one that does not hold; None where all of them do."""
    count: int = 0
    first: int | None = None
    last: int | None = None
    waiting_since: datetime | None = None
    """The time of the month's oldest record that no witnessed checkpoint covers yet."""
    by_clause: Counter[str] = field(default_factory=Counter)
    calendar: list[Document] = field(default_factory=list)
    """All of the calendar's, whatever their time: what was expected follows from them."""
    incidents: list[Document] = field(default_factory=list)
    """All of them, whatever their time: one may begin before the month and end after it."""
    standings: list[Document] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    """The others of the month that a report is made of."""

    def __post_init__(self) -> None:
        """As records write their time: texts compare as the moments do."""
        self._begin, self._end = iso(self.month.begin), iso(self.month.end)
        self._standings_from = iso(self.month.begin - standings.AT_LEAST_EVERY)

    def may_matter(self, line: bytes) -> bool:
        """Quickly: False where it certainly does not."""
        time = line[-26:-2].decode(errors="replace")
        return self._standings_from <= time < self._end or any(mark in line for mark in _OF_ANY_TIME)

    def take(self, record: Document) -> None:
        """One more record."""
        time, kind = record["time"], record["kind"]
        if kind == standings.KIND and self._standings_from <= time < self._end:
            self.standings.append(record)
        if kind.startswith("calendar."):
            self.calendar.append(record)
        if kind.startswith("incident."):
            self.incidents.append(record)
        if not self._begin <= time < self._end:
            return
        self.count += 1
        self.first = record["number"] if self.first is None else self.first
        self.last = record["number"]
        if self.last >= self.witnessed and self.waiting_since is None:
            self.waiting_since = datetime.fromisoformat(time)
        self.by_clause[record["clause"]] += 1
        if kind in _OF_INTEREST or kind.startswith(_ACTS):
            self.documents.append(record)


def windows(found: MonthRecords, now: datetime) -> tuple[Expected, ...]:
    """Every window that begins in the month; what is in no record was MISSED, once it is over."""
    memory = recall(found.calendar)
    facts = Facts(settled=memory.settled, held=memory.held, runs=tuple(_seen(found.documents)))
    verdicts = judge(occurrences(memory.tenures, found.month.begin, found.month.end), facts, now)
    return tuple(
        Expected(
            id=verdict.occurrence.id,
            clause=verdict.occurrence.appointment.clause,
            begin=verdict.occurrence.opening.begin,
            end=verdict.occurrence.opening.end,
            state=str(verdict.state),
            reason=verdict.reason,
            run=verdict.run,
            compensating=verdict.compensating,
        )
        for verdict in verdicts
    )


SETTLED = frozenset(map(str, TERMINAL))


def _seen(documents: Sequence[Document]) -> Iterator[RunSeen]:
    """Real runs, for windows whose ending nobody has recorded yet."""
    for run in runs(documents):
        if run.began_at is not None:
            yield RunSeen(
                run.id, run.runbook, run.began_at, run.ended_at, done=run.outcome == Outcome.DONE, outcome=run.outcome
            )


def runs(documents: Iterable[Document]) -> tuple[Run, ...]:
    """Real runs that began or ended in the month, in the order in which they are first named."""
    found: dict[str, Run] = {}
    for document in documents:
        kind, figures = document["kind"], document["figures"]
        if kind not in (_STARTED, _ENDED, _BREACHED) or figures.get("manner") != Manner.REAL:
            continue
        run = found.get(document["run"]) or Run(
            document["run"], figures.get("runbook", ""), document["clause"], None, None, "running"
        )
        found[run.id] = _further(run, kind, document)
    return tuple(found.values())


def _further(run: Run, kind: str, document: Document) -> Run:
    at, figures = datetime.fromisoformat(document["time"]), document["figures"]
    began_at, ended_at, outcome, breached = run.began_at, run.ended_at, run.outcome, run.breached
    if kind == _STARTED:
        began_at = at
    elif kind == _ENDED:
        ended_at, outcome = at, str(figures.get("outcome", ""))
    else:
        breached = (*breached, f"{figures['clock']}: {figures['elapsed_s']:g} s of {figures['limit_s']:g} s")
    return Run(run.id, run.runbook, run.clause, began_at, ended_at, outcome, breached)


def drills(documents: Iterable[Document]) -> tuple[Drill, ...]:
    """Every drill that was judged, oldest first."""
    return tuple(
        Drill(
            name=d["figures"]["drill"],
            clauses=tuple(d["figures"]["clauses"]),
            where=d["figures"]["where"],
            holds=bool(d["figures"]["holds"]),
            at=datetime.fromisoformat(d["time"]),
            record=d["number"],
        )
        for d in documents
        if d["kind"] == PROOF
    )


def incidents(documents: Iterable[Document], month: Month) -> tuple[Incident, ...]:
    """Every incident that lasted for a while in the month, by its onset; told as far as it has got since."""
    found: dict[str, Incident] = {}
    for document in documents:
        incident = found.get(document["figures"]["incident"])
        incident = _incident(incident, document)
        found[incident.id] = incident
    within = [one for one in found.values() if _lasted_within(one, month)]
    return tuple(sorted(within, key=lambda one: (one.onset, one.id)))


def _incident(known: Incident | None, document: Document) -> Incident:
    figures = document["figures"]
    share, level = figures.get("share"), int(figures["level"])
    words = document["reason"].partition(": ")[2]
    resolved_s = figures.get("resolved_s")
    return Incident(
        id=figures["incident"],
        level=max(level, known.level if known else level),
        subject=known.subject if known else words,
        onset=datetime.fromisoformat(figures["onset"]),
        detected_s=figures.get("detected_s"),
        declared_s=figures.get("declared_s"),
        acknowledged_s=figures.get("acknowledged_s"),
        mitigated_s=figures.get("mitigated_s"),
        resolved_s=resolved_s,
        ended_as=words if resolved_s is not None else "",
        users_percent=None if share is None else 100 * float(share),
    )


def _lasted_within(incident: Incident, month: Month) -> bool:
    if incident.resolved_s is None:
        return incident.onset < month.end
    return incident.onset < month.end and incident.onset + timedelta(seconds=incident.resolved_s) >= month.begin


@dataclass(frozen=True, slots=True)
class Diversions:
    """How often traffic was taken from a failing node, and after how long at most (ZDT-1.1a)."""

    drains: int
    over_s_max: float
    """From the first bad answer to the diversion, the longest."""
    held: int
    """How often a bad node kept its traffic, since none that is better was left."""


def diversions(documents: Iterable[Document]) -> Diversions:
    """Of the controller's own; people's drains are no failures."""
    over_s: list[float] = []
    held = 0
    for document in documents:
        if document["kind"] == "traffic.drain" and "over_s" in document["figures"]:
            over_s.append(float(document["figures"]["over_s"]))
        held += document["kind"] == "traffic.hold"
    return Diversions(len(over_s), max(over_s, default=0.0), held)


def acts(documents: Iterable[Document]) -> tuple[Act, ...]:
    """What people did, and what changed what is allowed, oldest first."""
    return tuple(
        Act(datetime.fromisoformat(d["time"]), d["kind"], d["actor"], d["clause"], d["reason"], d["number"])
        for d in documents
        if d["kind"] in _ACT_KINDS or d["kind"].startswith(_ACTS)
    )
