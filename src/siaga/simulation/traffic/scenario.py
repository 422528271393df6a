"""The fault catalogue of traffic, and a world with its faults drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What can go wrong."""

    CRASH = "crash"
    HANG = "hang"
    LATENCY = "latency"
    GRAY = "gray"
    ERRORS = "errors"
    FLAPPING = "flapping"
    SLOW_START = "slow start"
    UNDER_LOAD = "under load"
    """Looks healthy until it gets a real share of the users."""
    REGION_LOSS = "region loss"
    BLIP = "blip"
    """A pause for garbage collection: no fault, and never a reason to drain."""
    SHARED_SLOW = "shared slow"
    SHARED_OUTAGE = "shared outage"
    VANTAGE_BLIND = "vantage blind"
    VANTAGE_LIES = "vantage lies"
    PROXY_BLIND = "proxy blind"
    PAUSE = "pause"
    CLOCK_BACK = "clock back"
    RESTART = "restart"
    OPERATOR = "operator"


class Mode(StrEnum):
    """How a bad request ends, or what a lying vantage point reports."""

    NONE = ""
    ERROR = "error"
    HANG = "hang"
    SLOW = "slow"
    GOOD = "good"


AILMENTS = frozenset(
    {
        Kind.CRASH,
        Kind.HANG,
        Kind.LATENCY,
        Kind.GRAY,
        Kind.ERRORS,
        Kind.FLAPPING,
        Kind.SLOW_START,
        Kind.UNDER_LOAD,
        Kind.REGION_LOSS,
        Kind.BLIP,
        Kind.SHARED_SLOW,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault from its begin to its end."""

    kind: Kind
    begin_s: float
    end_s: float
    nodes: frozenset[str] = frozenset()
    vantage: str = ""
    mode: Mode = Mode.NONE
    share: float = 1.0
    extra_ms: float = 0.0
    period_s: float = 0.0
    duty: float = 1.0
    is_livez_clean: bool = False
    cold_s: float = 0.0
    """After the end, so much time of serving is slow."""

    def bad_at(self, at_s: float) -> bool:
        """In its bad phase at that moment."""
        if not self.begin_s <= at_s < self.end_s:
            return False
        return self.period_s == 0.0 or (at_s - self.begin_s) % self.period_s < self.duty * self.period_s

    def is_quick_at(self, at_s: float) -> bool:
        """Comes and goes between two looks."""
        return self.begin_s <= at_s < self.end_s and 0.0 < self.period_s <= 3.0

    def bad_until_s(self, at_s: float) -> float:
        """End of the bad phase that holds `at_s`."""
        if self.period_s == 0.0:
            return self.end_s
        into_s = (at_s - self.begin_s) % self.period_s
        return min(self.end_s, at_s - into_s + self.duty * self.period_s)

    @property
    def is_clear(self) -> bool:
        """Every request suffers all the time."""
        return self.share == 1.0 and self.period_s == 0.0 and self.kind not in (Kind.BLIP, Kind.UNDER_LOAD)

    @property
    def must_leave(self) -> bool:
        """Bad enough that users must be taken off the node within the clause's limit."""
        return self.share >= 0.3 and self.kind not in (Kind.BLIP, Kind.SHARED_SLOW)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One world: regions with nodes, users, and what befalls them."""

    seed: int
    regions: dict[str, str]
    """Region of every node."""
    users_per_s: float
    """Requests per second in each region; 0: nobody is there, so the data plane sees nothing."""
    faults: tuple[Fault, ...]
    end_s: float

    @property
    def region_names(self) -> tuple[str, ...]:
        """Regions in order."""
        return tuple(dict.fromkeys(self.regions.values()))

    @property
    def vantages(self) -> tuple[str, ...]:
        """One vantage point a region, and the controller's own."""
        return (*self.region_names, "controller")


MEAN_GAPS_S = (90.0, 900.0, 7200.0, 21600.0)
"""Stormy, busy, calm and quiet worlds: mean time between two faults."""

_WEIGHTED_KINDS: tuple[tuple[Kind, int], ...] = (
    (Kind.CRASH, 10),
    (Kind.HANG, 8),
    (Kind.LATENCY, 8),
    (Kind.GRAY, 10),
    (Kind.ERRORS, 8),
    (Kind.FLAPPING, 8),
    (Kind.SLOW_START, 4),
    (Kind.UNDER_LOAD, 2),
    (Kind.REGION_LOSS, 6),
    (Kind.BLIP, 8),
    (Kind.SHARED_SLOW, 4),
    (Kind.SHARED_OUTAGE, 4),
    (Kind.VANTAGE_BLIND, 5),
    (Kind.VANTAGE_LIES, 8),
    (Kind.PROXY_BLIND, 3),
    (Kind.PAUSE, 3),
    (Kind.CLOCK_BACK, 2),
    (Kind.RESTART, 3),
    (Kind.OPERATOR, 3),
)


def scenario(seed: int, *, faults: int = 40, mean_gap_s: float | None = None) -> Scenario:
    """The world of a seed, long enough for that many faults."""
    rng = Random(seed)  # noqa: S311 a simulation must replay
    regions = _regions(rng)
    gap_s = mean_gap_s if mean_gap_s is not None else MEAN_GAPS_S[seed % len(MEAN_GAPS_S)]
    names = tuple(dict.fromkeys(regions.values()))
    drawn: list[Fault] = []
    at_s = 30.0
    for _ in range(faults):
        at_s += _round(rng.expovariate(1 / gap_s))
        drawn.append(_fault(rng, at_s, regions, names))
    users_per_s = rng.choice((0.0, 40.0, 150.0, 150.0))
    end_s = max(f.end_s for f in drawn) + 1.0
    return Scenario(seed, regions, users_per_s, tuple(drawn), end_s)


def _regions(rng: Random) -> dict[str, str]:
    names = ("sgp", "fra", "iad", "nrt", "gru")[: rng.choice((1, 2, 2, 2, 3, 3, 4, 5))]
    widest = 8 if len(names) <= 2 else 3
    same = rng.randint(1, widest)
    counts = {name: same if rng.random() < 0.7 else rng.randint(1, widest) for name in names}
    if sum(counts.values()) == 1:
        counts[names[0]] = 2
    return {f"{name}-{n}": name for name in names for n in range(1, counts[name] + 1)}


def _fault(rng: Random, begin_s: float, regions: dict[str, str], names: tuple[str, ...]) -> Fault:
    kinds, weights = zip(*_WEIGHTED_KINDS, strict=True)
    kind = rng.choices(kinds, weights)[0]
    end_s = begin_s + _round(rng.choice((rng.uniform(2, 12), rng.uniform(12, 40), rng.uniform(40, 120))))
    node = frozenset({rng.choice(list(regions))})
    everybody = frozenset(regions)
    clean = rng.random() < 0.4
    if kind in AILMENTS:
        return _ailment(rng, kind, begin_s, end_s, node, regions, clean)
    vantage = rng.choice((*names, "controller"))
    if kind is Kind.VANTAGE_LIES:
        mode = rng.choice((Mode.ERROR, Mode.ERROR, Mode.SLOW, Mode.GOOD))
        about = everybody if mode is Mode.GOOD or rng.random() < 0.5 else node
        return Fault(kind, begin_s, end_s, about, vantage, mode)
    if kind in (Kind.CLOCK_BACK, Kind.RESTART):
        end_s = begin_s + 0.5
    if kind is Kind.PAUSE:
        end_s = begin_s + _round(rng.uniform(1, 60))
    if kind is Kind.OPERATOR:
        return Fault(kind, begin_s, begin_s + _round(rng.uniform(30, 900)), node)
    return Fault(kind, begin_s, end_s, everybody, vantage)


def _ailment(
    rng: Random, kind: Kind, begin_s: float, end_s: float, node: frozenset[str], regions: dict[str, str], clean: bool
) -> Fault:
    bad = rng.choice((Mode.ERROR, Mode.HANG, Mode.SLOW))
    extra_ms = rng.choice((700.0, 800.0, 1500.0, 3000.0))
    if kind is Kind.CRASH:
        return Fault(kind, begin_s, end_s, node, mode=Mode.ERROR)
    if kind is Kind.HANG:
        return Fault(kind, begin_s, end_s, node, mode=Mode.HANG)
    if kind is Kind.LATENCY:
        return Fault(kind, begin_s, end_s, node, mode=Mode.SLOW, extra_ms=extra_ms, is_livez_clean=clean)
    if kind in (Kind.GRAY, Kind.ERRORS):
        share = rng.choice((0.1, 0.3, 0.3, 0.5)) if kind is Kind.GRAY else rng.choice((0.3, 0.6, 1.0, 1.0))
        mode = Mode.SLOW if kind is Kind.GRAY else Mode.ERROR
        return Fault(kind, begin_s, end_s, node, mode=mode, share=share, extra_ms=extra_ms, is_livez_clean=True)
    if kind is Kind.FLAPPING:
        period_s, duty = rng.choice((0.7, 2.0, 3.0, 6.0, 11.0, 25.0, 45.0)), rng.choice((0.2, 0.4, 0.5, 0.7))
        end_s = begin_s + max(end_s - begin_s, 3 * period_s)
        return Fault(
            kind, begin_s, end_s, node, mode=bad, extra_ms=extra_ms, period_s=period_s, duty=duty, is_livez_clean=clean
        )
    if kind is Kind.SLOW_START:
        return Fault(kind, begin_s, end_s, node, mode=Mode.ERROR, extra_ms=extra_ms, cold_s=_round(rng.uniform(1, 8)))
    if kind is Kind.UNDER_LOAD:
        end_s = begin_s + _round(rng.uniform(600, 5400))
        return Fault(kind, begin_s, end_s, node, mode=Mode.SLOW, extra_ms=extra_ms, is_livez_clean=True)
    if kind is Kind.REGION_LOSS:
        region = rng.choice(list(regions.values()))
        lost = frozenset(n for n, r in regions.items() if r == region)
        return Fault(kind, begin_s, end_s, lost, mode=bad, extra_ms=extra_ms, is_livez_clean=bad is Mode.SLOW and clean)
    if kind is Kind.BLIP:
        return Fault(kind, begin_s, begin_s + rng.uniform(0.1, 0.8), node, mode=Mode.HANG)
    share = rng.choice((1.0, 1.0, 0.4))
    return Fault(
        kind, begin_s, end_s, frozenset(regions), mode=Mode.SLOW, share=share, extra_ms=extra_ms, is_livez_clean=True
    )


def _round(seconds: float) -> float:
    return round(seconds * 16) / 16
