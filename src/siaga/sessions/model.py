"""What is observed of the session cluster, and what is said about it (ZDT-1.1b)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

SLOTS = 16384
"""Hash slots of a Valkey cluster (valkey.io, cluster specification)."""

SlotRange = tuple[int, int]
"""First and last slot, both included."""

Ranges = tuple[tuple[SlotRange, str], ...]
"""Ranges in slot order, each with its owner; empty where nobody owns it."""


class Answer(StrEnum):
    """What became of asking a server."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """Its host says that nobody listens: the process is gone."""
    HUNG = "hung"
    """No answer within the deadline: a stopped process, a stopped host, or a network that drops."""
    DENIED = "denied"
    """It lives, but not for our credentials."""
    FAILED = "failed"
    """It answered something that cannot be judged."""


class Role(StrEnum):
    """What a server says it is. ROLE, never PING: a demoted or restarted server answers PING just as well."""

    PRIMARY = "primary"
    REPLICA = "replica"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Member:
    """One line of a server's own view of the cluster."""

    node_id: str
    address: str
    failed: bool
    """A majority of the cluster's primaries agreed that it is gone."""
    primary_id: str
    epoch: int
    slots: tuple[SlotRange, ...]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server, as it was found."""

    name: str
    address: str
    answer: Answer
    observed_at: datetime
    why: str = ""
    """What went wrong; empty for a server that answered."""
    timeouts: int = 0
    """Deadlines missed in a row, this one included."""
    role: Role = Role.UNKNOWN
    node_id: str = ""
    """Kept from earlier answers, so that a silent server is still recognised in the others' views."""
    primary_id: str = ""
    link_up: bool = False
    """A replica's stream from its primary flows."""
    offset: int = 0
    serving: bool = False
    """`cluster_state:ok`: it accepts reads and writes of its slots."""
    members: tuple[Member, ...] = ()
    process_id: int = 0
    run_id: str = ""

    @property
    def slots(self) -> tuple[SlotRange, ...]:
        """The slots that it says it owns itself."""
        return next((m.slots for m in self.members if m.node_id == self.node_id), ())

    @property
    def epoch(self) -> int:
        """The configuration epoch of its own claim: of two claims the higher one is the newer."""
        return next((m.epoch for m in self.members if m.node_id == self.node_id), -1)


class Coverage(StrEnum):
    """Whether the sessions of a shard can be read and written."""

    SERVED = "served"
    UNCOVERED = "uncovered"
    UNSEEN = "unseen"
    """Its primary may well serve: we could not look."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Slots that share a primary."""

    slots: tuple[SlotRange, ...]
    primary: str
    """Server name; its address where the site does not know it; empty where nobody owns the slots."""
    coverage: Coverage
    replicas: tuple[str, ...]
    """Names of the replicas whose link is up."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed between two looks."""

    kind: str
    reason: str
    clause: ClauseId
    at: datetime


@dataclass(frozen=True, slots=True)
class SessionVerdict:
    """How the session cluster stands, and what it was judged from."""

    adherence: Adherence
    figure: str
    limit: str
    why: str
    observed_at: datetime | None
    shards: tuple[Shard, ...]
    slots_served: int
    servers: tuple[ServerFacts, ...]
    owners: Ranges
    """Who last served each range; remembered while nobody does, so that the next owner is seen as a failover."""
    events: tuple[Event, ...] = ()

    def standing(self, valid_s: float) -> Standing:
        """Its part of ZDT-1.1b."""
        return Standing(
            clause=ClauseId.ZDT_1_1B,
            adherence=self.adherence,
            figure=self.figure,
            limit=self.limit,
            why=self.why,
            observed_at=self.observed_at,
            part="session cluster",
            valid_s=valid_s,
        )
