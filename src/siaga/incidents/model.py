"""The nouns of incidents (ZDT-1): facts that come in, and the incident they make (pure).

Everybody else's worst level is number 1; the SOP's is Level 3. So a level is always shown as number and word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType

from siaga.sop.clauses import ClauseId

CONTROLLER = "controller"
"""The actor of whatever no person did."""


class Level(IntEnum):
    """How bad; higher is worse."""

    MINOR = 1
    MAJOR = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """Number and word, as it is shown everywhere."""
        return f"Level {self.value} · {self.name.capitalize()}"


class FactKind(StrEnum):
    """What a fact is about."""

    OUTAGE = "outage"
    """Users got errors or no answer: a bad slice."""
    BURN = "burn"
    """The month's error budget is being used up too fast."""
    REDUNDANCY = "redundancy"
    """Something that users did not notice, since another took over."""
    DEGRADATION = "degradation"
    """Slower or less than usual, within every limit."""
    INTEGRITY = "integrity"
    """A balance, the ledger or the evidence is in doubt."""
    KEY_COMPROMISED = "key-compromised"
    CLAUSE_AT_RISK = "clause-at-risk"
    ALERT = "alert"
    """Somebody else's: Alertmanager."""


class Family(StrEnum):
    """Facts of one family may be of one cause; a compromised key is never part of an outage."""

    SERVICE = "service"
    MAINTENANCE = "maintenance"
    """What wears out: due within days or weeks, and no part of any outage."""
    INTEGRITY = "integrity"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that lasts, or has ended."""

    key: str
    """What it is about, stable: `outage`, `redundancy:valkey-2`, `alert:<fingerprint>`."""
    kind: FactKind
    since: datetime
    """When it began, or ended."""
    present: bool
    subject: str
    """In words."""
    clause: str = ""
    share: float | None = None
    """Of the users, those who get errors or no answer, 0 to 1; None where nobody knows. Any at all is Level 3."""
    level: Level | None = None
    """What its sender calls it (alerts); it can raise a level, never lower one."""

    def __post_init__(self) -> None:
        """Refuse a time without a zone: it would be hours off."""
        if self.since.tzinfo is None:
            raise ValueError("since has no time zone")

    @property
    def family(self) -> Family:
        """Which facts it may share an incident with."""
        if self.kind is FactKind.INTEGRITY:
            return Family.INTEGRITY
        if self.kind is FactKind.KEY_COMPROMISED:
            return Family.KEY
        return Family.MAINTENANCE if self.clause.startswith(ClauseId.PMT) else Family.SERVICE


@dataclass(frozen=True, slots=True)
class Cause:
    """A fact within an incident."""

    fact: Fact
    level: Level
    rule: str
    """Why that level."""
    noted_at: datetime
    seen_at: datetime
    """When it was last said to last."""
    ended_at: datetime | None = None
    begun: int = 1
    """How often it began."""

    @property
    def lasts(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class LevelChange:
    """When which level was set, by whom, and why."""

    at: datetime
    level: Level
    actor: str
    reason: str


class State(StrEnum):
    """How far an incident is."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"


_NO_CAUSES: Mapping[str, Cause] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause's worth of trouble."""

    id: str
    subject: str
    family: Family
    levels: tuple[LevelChange, ...]
    """Never empty; the last is the present one."""
    causes: Mapping[str, Cause] = field(default_factory=lambda: _NO_CAUSES)
    alerts_more: int = 0
    """Alerts beyond those that are named in `causes`."""
    accepted: frozenset[str] = frozenset()
    """Causes that a person has judged lower; they raise the level again only when they begin again or get worse."""
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    mitigated_at: datetime | None = None
    """When the last cause ended."""
    resolved_at: datetime | None = None
    resolved_by: str = ""
    resolved_reason: str = ""
    notified_at: datetime | None = None
    """When somebody was first told of its highest level: the route accepted it."""
    notified_by: str = ""
    recurrence_of: str = ""
    flaps: int = 0
    """How often it came back after its last cause had ended."""

    @property
    def level(self) -> Level:
        """The present one."""
        return self.levels[-1].level

    @property
    def highest(self) -> LevelChange:
        """When it was first declared at the highest level that it ever had."""
        worst = max(change.level for change in self.levels)
        return next(change for change in self.levels if change.level is worst)

    @property
    def lasting(self) -> tuple[Cause, ...]:
        """The causes that go on."""
        return tuple(cause for cause in self.causes.values() if cause.lasts)

    @property
    def holding(self) -> tuple[Cause, ...]:
        """Those that keep it open: what an outage did to the month's budget lasts for days, and users are served."""
        if all(cause.fact.kind is FactKind.BURN for cause in self.causes.values()):
            return self.lasting
        return tuple(cause for cause in self.lasting if cause.fact.kind is not FactKind.BURN)

    @property
    def state(self) -> State:
        """How far it is."""
        if self.resolved_at is not None:
            return State.RESOLVED
        if self.mitigated_at is not None:
            return State.MITIGATED
        return State.ACKNOWLEDGED if self.acknowledged_at is not None else State.OPEN

    @property
    def declared_at(self) -> datetime:
        """When it was opened."""
        return self.levels[0].at

    @property
    def deciding(self) -> tuple[Cause, ...]:
        """The causes that speak for its highest level; empty where a person declared it."""
        return tuple(cause for cause in self.causes.values() if cause.level >= self.highest.level)

    @property
    def onset(self) -> datetime:
        """When what made it this bad began: an outage's first bad slice, not an older warning's (decision 16)."""
        return min((min(c.fact.since, c.noted_at) for c in self.deciding), default=self.highest.at)

    @property
    def detected_at(self) -> datetime:
        """When that was first noted."""
        return min((cause.noted_at for cause in self.deciding), default=self.highest.at)

    @property
    def last_at(self) -> datetime:
        """The newest moment in it: a clock that was set back must not turn its order round."""
        own = (self.levels[-1].at, self.acknowledged_at, self.mitigated_at, self.resolved_at)
        noted = (cause.noted_at for cause in self.causes.values())
        return max(moment for moment in (*own, *noted) if moment is not None)

    @property
    def share(self) -> float | None:
        """The largest share of users that was affected; None where nobody knows."""
        return max((c.fact.share for c in self.causes.values() if c.fact.share is not None), default=None)

    @property
    def clauses(self) -> tuple[str, ...]:
        """Every clause it is about."""
        return tuple(sorted({c.fact.clause for c in self.causes.values() if c.fact.clause}))

    def figures(self) -> dict[str, float | None]:
        """Seconds from the onset to each later moment; None for what has not happened."""
        moments = {
            "detected_s": self.detected_at,
            "declared_s": self.highest.at,
            "notified_s": self.notified_at,
            "acknowledged_s": self.acknowledged_at,
            "mitigated_s": self.mitigated_at,
            "resolved_s": self.resolved_at,
        }
        onset = self.onset
        return {name: round((at - onset).total_seconds(), 3) if at else None for name, at in moments.items()}


class ChangeKind(StrEnum):
    """What has become of an incident; `incident.<kind>` in the evidence."""

    OPENED = "opened"
    LEVEL = "level"
    CAUSES = "causes"
    RECURRED = "recurred"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Change:
    """A change to be recorded, with the incident as it is after it."""

    kind: ChangeKind
    incident: Incident
    actor: str
    reason: str


CLOSED_KEPT = 200


@dataclass(frozen=True, slots=True)
class Book:
    """Every open incident, and the last ones that were resolved."""

    open: Mapping[str, Incident] = field(default_factory=dict)
    closed: tuple[Incident, ...] = ()
    """Oldest first."""

    def find(self, id_: str) -> Incident | None:
        """The incident of this id, open or lately resolved."""
        return self.open.get(id_) or next((one for one in self.closed if one.id == id_), None)

    def having(self, incident: Incident) -> Book:
        """The book with this incident in the place of its older self."""
        if incident.state is not State.RESOLVED:
            return replace(self, open={**self.open, incident.id: incident})
        others = {id_: one for id_, one in self.open.items() if id_ != incident.id}
        closed = (*(one for one in self.closed if one.id != incident.id), incident)
        return replace(self, open=others, closed=closed[-CLOSED_KEPT:])
