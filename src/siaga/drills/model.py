"""The nouns of drills: what users saw, and whether the clause held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Figure = int | float | None
RATE_PER_S = 120.0
"""Requests over all regions. Two cores that also run the platform, its journal, witness and controller are half busy
with that; a fault costs retries and hedges, and a machine without CPU left shows nothing but that."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its user saw it."""

    sent_s: float
    """Scheduled send, on the drill's monotonic clock."""
    latency_ms: float
    """From the scheduled send, so that waiting behind a slow one counts."""
    retried_safely: bool
    """Safe or keyed: the front door may try it on another node."""
    failed: bool
    """No answer, or a 5xx that is not a declared outage."""
    outage: bool
    """A declared outage of the database or the session store (decision 23)."""
    logged_out: bool
    """401 although logged in."""
    tried_bad: bool
    """The faulty node was among those tried."""
    bad_first: bool
    """The faulty node was the first choice."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the drill, in seconds from the injection."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit."""

    figure: str
    value: Figure
    limit: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a drill found."""

    drill: str
    clauses: tuple[str, ...]
    figures: Mapping[str, Figure]
    control: Mapping[str, Figure]
    checks: tuple[Check, ...]
    timeline: tuple[Event, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Every figure is within its limit."""
        return all(check.holds for check in self.checks)
