"""The nouns of traffic (ZDT-1.1a): what is observed of a node, how it stands, what is decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

CLAUSE = "ZDT-1.1a"

# How fast each part of the judgement may be is derived from the clause's `divert_s_max`; below these
# floors half-second probes carry too little evidence to tell a fault from a blip.
_WINDOW_S_FLOOR = 4.0
_RECENT_S_FLOOR = 2.5


class Outcome(StrEnum):
    """How one probe ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    OUTAGE = "outage"
    """The answer carried the outage header: something behind the node is missing (decision 23)."""
    UNKNOWN = "unknown"
    """The vantage point itself could not act, so nothing is known about the node."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of one node from one vantage point."""

    node: str
    vantage: str
    at_s: float
    """When it ended, on the controller's monotonic clock."""
    outcome: Outcome
    latency_ms: float
    """From sending to its end, network distance included; for a time-out the time waited."""
    distance_ms: float = 0.0
    """Configured network round trip between the vantage point and the node."""


@dataclass(frozen=True, slots=True)
class ProxyView:
    """What the data plane says about a node: a witness with another path and another process (decision 4)."""

    node: str
    at_s: float
    ejected: bool
    healthy: bool
    """The proxy's active health check passes."""
    requests: int
    """Requests of real users since the view before."""
    failures: int
    """Those of them that failed or missed the per-try time-out."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything new since the last pass, and which nodes there are."""

    regions: Mapping[str, str]
    """Region of every node."""
    probes: tuple[Probe, ...] = ()
    views: tuple[ProxyView, ...] = ()


class Phase(StrEnum):
    """How a node takes part."""

    SERVING = "serving"
    DRAINED = "drained"
    RETURNING = "returning"


class Verdict(StrEnum):
    """What the evidence of one pass says about a node."""

    HEALTHY = "healthy"
    """Proven: a majority of the vantage points that see it call it good."""
    BAD = "bad"
    """Proven: a majority calls it bad, and worse than the pool."""
    CORRELATED = "correlated"
    """Bad, but the rest of the pool fails alike: not this node's doing."""
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class NodeState:
    """Where a node stands. Durations only, no points in time: it survives a restart and any clock."""

    phase: Phase = Phase.SERVING
    weight_percent: int = 100
    operator: str = ""
    """Who drained it by hand; such a node stays drained until an operator restores it."""
    reason: str = ""
    offences: int = 0
    hold_left_s: float = 0.0
    step_s: float = 0.0
    """Good time in the present step of the ramp."""
    good_s: float = 0.0
    """Good serving time towards forgetting one offence."""
    held: str = ""
    """Why a bad node was not drained; empty when it is not bad."""
    verdict: Verdict = Verdict.UNCLEAR
    excused_s: float = 0.0
    """After a correlated failure: so long its traces in the window are not held against the node."""

    @property
    def serves(self) -> bool:
        """Takes new users."""
        return self.weight_percent > 0


class Sample(NamedTuple):
    """A probe as the judgement keeps it."""

    at_s: float
    sent_s: float
    latency_ms: float
    """Network distance subtracted."""
    bad: bool
    failed: bool
    """Bad by error or time-out rather than by a slow answer."""


class Window(NamedTuple):
    """The latest samples of one node from one vantage point, and how many of them are bad."""

    samples: tuple[Sample, ...]
    bad: int


@dataclass(frozen=True, slots=True)
class States:
    """Everything the judgement remembers between two passes. Only `nodes` is persisted."""

    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    windows: Mapping[str, Mapping[str, Window]] = field(default_factory=dict)
    """By node, by vantage point."""
    views: Mapping[str, tuple[ProxyView, ...]] = field(default_factory=dict)
    suspects: frozenset[str] = frozenset()
    """Nodes worth a closer look: see `probe_interval_s`."""
    last_s: float | None = None
    watching_since_s: float | None = None
    """Probes sent before this moment are not believed: the controller was paused or its clock jumped."""

    @property
    def weights(self) -> dict[str, int]:
        """Weight in percent of every node, as the data plane should have it."""
        return {name: state.weight_percent for name, state in self.nodes.items()}

    def with_node(self, name: str, state: NodeState) -> States:
        """The same, with one node changed."""
        return replace(self, nodes={**self.nodes, name: state})


class Action(StrEnum):
    """What to do with a node."""

    DRAIN = "drain"
    SET_WEIGHT = "set weight"
    HOLD = "hold"
    """It looks bad and is left alone all the same; a person should look."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision is a value with its reason and its clause."""

    node: str
    action: Action
    weight_percent: int
    reason: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    clause: str = CLAUSE
    urgent: bool = False
    """Stops the bleeding: done even when the evidence can't be written (decision 21)."""

    @property
    def alarm(self) -> bool:
        """A person should look now."""
        return self.action is Action.HOLD


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """How the judgement weighs its evidence. `within` derives it from the clause's limits."""

    latency_ms_max: float = 500.0
    divert_s_max: float = 10.0
    window_s: float = 8.0
    """How far back evidence counts: long enough for a node that is bad only now and then."""
    recent_s: float = 3.0
    """What is older says nothing about now."""
    bad_s_min: float = 0.9
    """Unbroken bad time that makes a clear fault; a pause for garbage collection is shorter."""
    gray_span_s_min: float = 2.0
    """First to last bad probe of a gray fault: one blip is shorter."""
    gray_share_min: float = 0.15
    """Half of a 30 % fault: the smallest share that 10 s of probes tell from 30 % with certainty."""
    gray_samples_min: int = 8
    good_share_max: float = 0.05
    good_samples_min: int = 4
    votes_min: int = 2
    latency_factor_min: float = 2.0
    latency_delta_ms_min: float = 100.0
    share_factor_min: float = 4.0
    """Where the typical peer fails a fifth of the probes too, no node stands out."""
    share_delta_min: float = 0.1
    proxy_requests_min: int = 10
    proxy_share_min: float = 0.2
    hold_s_min: float = 10.0
    hold_s_max: float = 300.0
    hold_growth: float = 2.0
    offence_decay_s: float = 600.0
    ramp_percent: tuple[int, ...] = (1, 10, 50, 100)
    ramp_step_s: float = 4.0
    pass_gap_s_max: float = 2.5
    """A longer gap between two passes means that the controller was paused: nothing seen before counts."""
    probe_interval_s: float = 0.5
    probe_closer_interval_s: float = 0.1
    probe_timeout_ms: float = 550.0
    """Beyond the distance. Just over the limit: a longer wait would only delay what is known by then."""

    @classmethod
    def within(cls, *, latency_ms_max: float, divert_s_max: float) -> TrafficPolicy:
        """The defaults, tightened as far as a site's stricter limits ask and the evidence allows."""
        return cls(
            latency_ms_max=latency_ms_max,
            divert_s_max=divert_s_max,
            window_s=max(_WINDOW_S_FLOOR, 0.8 * divert_s_max),
            recent_s=max(_RECENT_S_FLOOR, 0.3 * divert_s_max),
            probe_timeout_ms=latency_ms_max + 50.0,
        )

    def hold_s(self, offences: int) -> float:
        """How long a node stays out after its n-th offence."""
        hold_s = self.hold_s_min
        for _ in range(1, offences):
            hold_s = min(self.hold_s_max, hold_s * self.hold_growth)
        return hold_s

    @property
    def offences_max(self) -> int:
        """More are not counted: the hold does not grow any further."""
        count = 1
        while self.hold_growth > 1 and self.hold_s(count) < self.hold_s_max:
            count += 1
        return count

    @property
    def return_s_max(self) -> float:
        """From the end of every fault to full weight, at the longest."""
        return self.hold_s_max + self.window_s + self.ramp_step_s * len(self.ramp_percent)
