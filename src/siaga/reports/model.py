"""The nouns of a month's report (SUM): what was expected, what was done, and the proof under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from siaga.reports.period import Stage
from siaga.sop.adherence import WORST_FIRST, Adherence, Standing
from siaga.sop.clauses import ClauseId
from siaga.sop.month import Month


@dataclass(frozen=True, slots=True)
class Outage:
    """One stretch of time in which users were not served."""

    begin: datetime
    end: datetime
    share_percent: float
    """The largest share of all users that was affected."""
    regions: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class DayUptime:
    """What a day lost."""

    date: date
    bad_ms: int
    unknown_ms: int
    """Not measured, of the part of the day that is over."""


@dataclass(frozen=True, slots=True)
class UptimeMonth:
    """What the uptime domain says of a month (ZDT-1), of its part that is over."""

    budget_ms: int
    bad_ms: int
    unknown_ms: int
    raw_percent: str
    """Of the time that was measured, to four decimals, maintenance included."""
    coverage_percent: str
    """The share of the time that was measured."""
    weighted_percent: str
    """As raw uptime, weighted by the users affected: beside the verdict, never part of it (decision 20)."""
    verdict: Adherence
    why: str
    outages: tuple[Outage, ...] = ()
    days: tuple[DayUptime, ...] = ()
    reclassified: tuple[str, ...] = ()
    """What people said about stretches of it, each in words with its record."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, timed from its onset."""

    id: str
    level: int
    """The highest that it had: 3 Critical, 2 Major, 1 Minor."""
    subject: str
    onset: datetime
    detected_s: float | None = None
    declared_s: float | None = None
    acknowledged_s: float | None = None
    mitigated_s: float | None = None
    resolved_s: float | None = None
    """None while it is open."""
    ended_as: str = ""
    """What was said when it was resolved."""
    users_percent: float | None = None

    @property
    def words(self) -> str:
        """`Level 3 · Critical`: always number and word."""
        return f"Level {self.level} · {LEVELS.get(self.level, 'unknown')}"


LEVELS = {3: "Critical", 2: "Major", 1: "Minor"}


@dataclass(frozen=True, slots=True)
class Expected:
    """One window in which something was expected, and what came of it."""

    id: str
    clause: ClauseId
    begin: datetime
    end: datetime
    state: str
    """As `siaga calendar` names it: done, undone, skipped, MISSED, expected, …"""
    reason: str
    run: str = ""
    compensating: date | None = None


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill that was judged."""

    name: str
    clauses: tuple[str, ...]
    where: str
    """`embedded` or `site`; never shown as one (decision 22)."""
    holds: bool
    at: datetime
    record: int


@dataclass(frozen=True, slots=True)
class Run:
    """One real run of a runbook that ended, or began and has not ended."""

    id: str
    runbook: str
    clause: str
    began_at: datetime | None
    """None when it began before the month."""
    ended_at: datetime | None
    outcome: str
    breached: tuple[str, ...] = ()
    """What is said of each of its clocks (RTO) that ran out."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did, or that changed what is allowed: levers, approvals, modes, keys."""

    at: datetime
    kind: str
    actor: str
    clause: str
    reason: str
    record: int


@dataclass(frozen=True, slots=True)
class Seal:
    """What the month's figures rest on: the evidence, and the checkpoint that holds it fast."""

    origin: str
    records: int
    """Of the month."""
    first: int | None
    last: int | None
    verdict: str
    """`proven`, `intact, not all of it witnessed` or `does not hold`."""
    faults: tuple[str, ...] = ()
    removed: int = 0
    """Older records that retention has removed."""
    size: int = 0
    """Of the checkpoint: how many records it counts. 0 when there is none."""
    root: str = ""
    """Of the tree over those, base64, as the checkpoint's note has it."""
    chain: str = ""
    witnessed_at: datetime | None = None
    waiting_since: datetime | None = None
    """The time of the oldest record that is not under it."""
    log_key: str = ""
    witness_key: str = ""
    witness: str = ""
    """What the witness itself remembers, or why it was not asked."""

    @property
    def covers_all(self) -> bool:
        """Whether every record of the month is under the checkpoint."""
        return self.last is None or self.last < self.size


@dataclass(frozen=True, slots=True)
class ClauseMonth:
    """One clause over the month."""

    standing: Standing
    expected: tuple[Expected, ...] = ()
    records: int = 0
    """How many records are evidence for it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The month, all clauses."""

    site: str
    embedded: bool
    month: Month
    stage: Stage
    made_at: datetime
    made_by: str
    version: str
    """Of Siaga."""
    began_at: datetime
    """The first record that there is."""
    clauses: tuple[ClauseMonth, ...]
    uptime: UptimeMonth | None
    uptime_missing: str
    """Why there are no figures of uptime; empty when there are."""
    incidents: tuple[Incident, ...]
    runs: tuple[Run, ...]
    drills: tuple[Drill, ...]
    acts: tuple[Act, ...]
    seal: Seal
    recorded: str = ""
    """Whether this report is to be in the evidence, in words."""

    @property
    def measured(self) -> bool:
        """Whether there is anything at all from this month."""
        return self.seal.records > 0 or self.uptime is not None

    @property
    def verdict(self) -> Adherence:
        """The whole: as bad as the worst clause."""
        found = {clause.standing.adherence for clause in self.clauses}
        return next(state for state in WORST_FIRST if state in found)

    def count(self, adherence: Adherence) -> int:
        """How many clauses stand so."""
        return sum(clause.standing.adherence is adherence for clause in self.clauses)
