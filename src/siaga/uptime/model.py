"""The nouns of uptime (ZDT-1): what was tried, what it says about a stretch of time, and what others are told.

Every moment is a whole number of milliseconds since 1970. A stretch that nobody measured is in no slice at all: it is
unknown, and never up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

WHOLE_PPM = 1_000_000


class State(StrEnum):
    """Whether users were served."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


class Step(StrEnum):
    """What a user does on a journey, in this order."""

    LOG_IN = "log in"
    BALANCE = "balance"
    TRANSFER = "transfer"


class Source(StrEnum):
    """Who says that a slice was bad."""

    JOURNEYS = "journeys"
    TRAFFIC = "traffic"


class Outcome(StrEnum):
    """How a trip ended."""

    OK = "ok"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """It says nothing about the platform: our own account, our own machine."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One synthetic journey through a region's front door, as seen from one vantage point."""

    region: str
    vantage: str
    begin_ms: int
    end_ms: int
    outcome: Outcome
    step: Step | None = None
    """The step that failed."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """What real users got through a region's front door in a short stretch, by the proxy's own counters."""

    region: str
    begin_ms: int
    end_ms: int
    answered: int
    """Requests that got any answer of HTTP."""
    failed: int
    """Of these, the answers 5xx: the platform's fault, not the user's."""


@dataclass(frozen=True, slots=True)
class Blind:
    """A stretch in which the monitor itself did not run."""

    begin_ms: int
    end_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What one vantage point says of a stretch."""

    begin_ms: int
    end_ms: int
    state: State
    confirmed: bool = False
    step: Step | None = None
    why: str = ""

    @property
    def said(self) -> tuple[object, ...]:
        """All but its time; of bad stretches in a row the first keeps its words: what failed first."""
        why = "" if self.state is State.BAD else self.why
        return self.state, self.confirmed, self.step, why


@dataclass(frozen=True, slots=True)
class RegionSlice:
    """How one region's users were served for a while."""

    begin_ms: int
    end_ms: int
    state: State
    share_ppm: int = 0
    """Of the region's own users, how many were affected; 0 unless bad."""
    confirmed: bool = False
    """More than one failed journey says so, or the users' own requests."""
    steps: tuple[Step, ...] = ()
    sources: tuple[Source, ...] = ()
    why: str = ""

    @property
    def said(self) -> tuple[object, ...]:
        """All but its time; of bad stretches in a row the first keeps its words: what failed first."""
        why = "" if self.state is State.BAD else self.why
        return self.state, self.share_ppm, self.confirmed, self.steps, self.sources, why


@dataclass(frozen=True, slots=True)
class Slice:
    """How the site's users were served for a while."""

    begin_ms: int
    end_ms: int
    state: State
    share_ppm: int = 0
    """Of all users, in millionths; 0 unless bad."""
    confirmed: bool = False
    """More than one failed journey says so, or the users' own requests."""
    regions: tuple[str, ...] = ()
    """Those that were not good."""
    steps: tuple[Step, ...] = ()
    sources: tuple[Source, ...] = ()
    why: str = ""

    @property
    def said(self) -> tuple[object, ...]:
        """All but its time; of bad stretches in a row the first keeps its words: what failed first."""
        why = "" if self.state is State.BAD else self.why
        return self.state, self.share_ppm, self.confirmed, self.regions, self.steps, self.sources, why

    @property
    def length_ms(self) -> int:
        """How long it lasted."""
        return self.end_ms - self.begin_ms


@dataclass(frozen=True, slots=True)
class Reclassification:
    """A person's word about the past, with the reason; the slices as measured stay."""

    begin_ms: int
    end_ms: int
    state: State
    actor: str
    reason: str
    record: int
    """Its number in the evidence."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Users were not served, confirmed: told at once, and again whenever something about it changes.

    A single journey that failed once is bad time of its month, and no outage that is told.
    """

    onset_ms: int
    ended_ms: int | None
    """None while it lasts."""
    hard_down: bool
    """It has been confirmed for so long that it is no blip; never taken back."""
    regions: tuple[str, ...]
    share_ppm: int
    """The largest share of users affected so far, in millionths."""
    journeys: tuple[Step, ...]
    first_failure: str
    """What failed first, in words."""
    bad_until_ms: int
    """The last moment known to be bad; it alone is no change worth telling."""

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "journeys": [str(step) for step in self.journeys], "regions": list(self.regions)}


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """The month's budget is being used up too fast, over a long and a short window at once."""

    rate: float
    """The threshold: how many times faster than the budget allows."""
    long_s: int
    short_s: int
    severity: str
    """`page` or `ticket`."""
    measured_long: float
    measured_short: float
    begun_ms: int
    ended_ms: int | None
    """None while it burns."""

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


Change = Outage | BurnAlert
"""What `on_change` is told."""

Shares = Mapping[str, int]
"""Of all users, how many arrive in each region, in millionths; the values add up to WHOLE_PPM."""
