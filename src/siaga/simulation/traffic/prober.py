"""Simulated probes: every node from every vantage point, some of which are blind or lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from siaga.simulation.traffic.nodes import REMOTE_MS, Nodes
from siaga.simulation.traffic.scenario import Fault, Kind, Mode
from siaga.traffic.model import Outcome, Probe, TrafficPolicy

_OUTCOMES = {Mode.GOOD: Outcome.OK, Mode.NONE: Outcome.OUTAGE, Mode.ERROR: Outcome.ERROR}


@dataclass(frozen=True, slots=True)
class _Route:
    node: str
    vantage: str
    distance_ms: float
    phase: float
    """Where in its interval this probe is sent."""


class Prober:
    """Sends on its own phase for each node and vantage point; late answers arrive in a later pass."""

    def __init__(self, nodes: Nodes, policy: TrafficPolicy, rng: Random) -> None:
        self._nodes = nodes
        self._policy = policy
        regions = nodes.scenario.regions
        home = {v: v for v in nodes.scenario.region_names} | {"controller": nodes.scenario.region_names[0]}
        self._routes = [
            _Route(n, v, 0.0 if home[v] == regions[n] else REMOTE_MS, rng.randrange(1, 64) / 64)
            for n in nodes.names
            for v in nodes.scenario.vantages
        ]
        self.pending: list[Probe] = []

    def collect(
        self, present: list[Fault], begin_s: float, end_s: float, interval_s: Callable[[str], float]
    ) -> list[Probe]:
        """Probes that ended by `end_s`, sent since `begin_s` or still under way then."""
        blind = {f.vantage for f in present if f.kind is Kind.VANTAGE_BLIND and f.bad_at(end_s)}
        lies = {f.vantage: f for f in present if f.kind is Kind.VANTAGE_LIES and f.bad_at(end_s)}
        ended = [p for p in self.pending if p.at_s <= end_s]
        pending = [p for p in self.pending if p.at_s > end_s]
        for route in self._routes:
            every_s = interval_s(route.node)
            sent_s = begin_s + route.phase * every_s
            while sent_s < end_s:
                probe = self._probe(route, sent_s, route.vantage in blind, lies.get(route.vantage))
                (ended if probe.at_s <= end_s else pending).append(probe)
                sent_s += every_s
        self.pending = pending
        ended.sort(key=_ended_s)
        return ended

    def _probe(self, route: _Route, sent_s: float, is_blind: bool, lie: Fault | None) -> Probe:
        if is_blind:
            return Probe(route.node, route.vantage, sent_s, Outcome.UNKNOWN, 0.0, route.distance_ms)
        mode, latency_ms = self._nodes.answer(route.node, sent_s)
        if lie is not None and route.node in lie.nodes:
            mode, latency_ms = _lied(lie.mode)
        outcome = _OUTCOMES[mode]
        if latency_ms > self._policy.probe_timeout_ms:
            outcome, latency_ms = Outcome.TIMEOUT, self._policy.probe_timeout_ms
        latency_ms += route.distance_ms
        return Probe(route.node, route.vantage, sent_s + latency_ms / 1000, outcome, latency_ms, route.distance_ms)

    @property
    def is_quiet(self) -> bool:
        """Nothing is under way but plain answers."""
        return all(p.outcome is Outcome.OK for p in self.pending)

    def carry(self, skip_s: float) -> None:
        """Move what is under way along with a skipped stretch."""
        self.pending = [shifted(p, skip_s) for p in self.pending]

    def interrupt(self, resumed_s: float) -> None:
        """The controller was paused: whatever was under way looks like a time-out now."""
        self.pending = [
            replace(p, at_s=resumed_s, outcome=Outcome.TIMEOUT, latency_ms=p.latency_ms + (resumed_s - p.at_s) * 1000)
            for p in self.pending
        ]


def shifted(probe: Probe, shift_s: float) -> Probe:
    """The same probe dated otherwise."""
    return Probe(probe.node, probe.vantage, probe.at_s + shift_s, probe.outcome, probe.latency_ms, probe.distance_ms)


def _lied(mode: Mode) -> tuple[Mode, float]:
    if mode is Mode.ERROR:
        return Mode.ERROR, 1.0
    return Mode.GOOD, 20.0 if mode is Mode.GOOD else 900.0


def _ended_s(probe: Probe) -> float:
    return probe.at_s
