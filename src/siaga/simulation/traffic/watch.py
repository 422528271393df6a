"""The invariants of ZDT-1.1a, checked after every pass against the truth that only the simulation knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from siaga.simulation.traffic.nodes import Nodes
from siaga.simulation.traffic.proxy import Proxy
from siaga.simulation.traffic.scenario import Fault, Kind, Scenario
from siaga.traffic.model import Action, Decision, Phase, States, TrafficPolicy

_HOUR_S = 3600.0
_PROOF_S = 4.0
"""Beyond a full window: how long a node must have been well so that the judgement can have proof of it."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that did not hold."""

    at_s: float
    what: str


@dataclass(slots=True)
class Report:
    """What one world showed."""

    seed: int
    breaches: list[Breach] = field(default_factory=list)
    divert_clear_s: list[float] = field(default_factory=list)
    """From the onset of a clear fault to weight 0."""
    divert_gray_s: list[float] = field(default_factory=list)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    faults: int = 0
    passes: int = 0
    simulated_s: float = 0.0

    @property
    def drains(self) -> int:
        """Drains decided by the controller."""
        return sum(d.action is Action.DRAIN for _, d in self.decisions)


def drains_per_hour_max(policy: TrafficPolicy) -> int:
    """How often growing holds let one node be drained within an hour, were it bad at each return."""
    left_s, count = _HOUR_S, 0
    while left_s > 0:
        count += 1
        left_s -= policy.hold_s(count)
    return count + 1


class Watch:
    """Compares what was decided with what was true."""

    def __init__(self, scenario: Scenario, nodes: Nodes, proxy: Proxy, policy: TrafficPolicy) -> None:
        self.report = Report(scenario.seed, faults=len(scenario.faults))
        self._scenario, self._nodes, self._proxy, self._policy = scenario, nodes, proxy, policy
        self._exposed_s = dict.fromkeys(nodes.names, 0.0)
        self._starved_s = 0.0
        self._onset: dict[str, tuple[float, bool, bool]] = {}
        """Since when a serving node hurts users with no excuse to leave it; whether by a clear, by a steady fault."""
        self._drains: dict[str, deque[float]] = {name: deque() for name in nodes.names}
        self._recalls: dict[str, deque[float]] = {name: deque() for name in nodes.names}
        self._proxy_blind_s = -1e9
        self._shared_s = -1e9
        self._shared_part_s = -1e9
        self._unlucky: deque[float] = deque(maxlen=64)

    def interrupted(self) -> None:
        """The controller was away: the clock of a diversion starts anew."""
        self._exposed_s = dict.fromkeys(self._exposed_s, 0.0)
        self._starved_s = 0.0
        self._onset.clear()

    def step(
        self,
        now_s: float,
        step_s: float,
        before: States,
        after: States,
        decisions: Sequence[Decision],
        present: list[Fault],
    ) -> None:
        """Check one pass."""
        self._remember(now_s, present)
        for decision in decisions:
            self._check_decision(now_s, decision, before, after)
        self.report.decisions += [(now_s, d) for d in decisions]
        if not any(s.serves for s in after.nodes.values()):
            self._breach(now_s, "no node serves")
        for name in self._nodes.names:
            if name in self._nodes.ailing or self._exposed_s[name] or name in self._onset:
                self._check_exposure(name, now_s, step_s, after, present)
        self._check_starvation(now_s, step_s, after, present)

    def settled(self, now_s: float, states: States) -> None:
        """Every fault is over for long enough: all must serve in full."""
        for name, state in states.nodes.items():
            if state.phase is not Phase.SERVING:
                self._breach(now_s, f"{name} is still {state.phase} after every fault has ended")

    def _breach(self, now_s: float, what: str) -> None:
        self.report.breaches.append(Breach(now_s, what))

    def _remember(self, now_s: float, present: list[Fault]) -> None:
        for fault in present:
            if fault.kind is Kind.PROXY_BLIND and fault.bad_at(now_s):
                self._proxy_blind_s = now_s
            if fault.kind is Kind.SHARED_SLOW and fault.bad_at(now_s):
                self._shared_s = now_s
                self._shared_part_s = now_s if fault.share < 1.0 else self._shared_part_s

    # --- decisions ---

    def _check_decision(self, now_s: float, decision: Decision, before: States, after: States) -> None:
        name = decision.node
        if decision.action is Action.SET_WEIGHT and "recalled" in decision.reason:
            self._recalls[name].append(now_s)
        if decision.action is not Action.DRAIN:
            return
        if not (self._deserved(name, now_s) or self._by_chance(now_s)):
            self._breach(now_s, f"{name} was drained without a fault: {decision.reason}")
        drains = self._drains[name]
        drains.append(now_s)
        for seen in (drains, self._recalls[name]):
            while seen and seen[0] < now_s - _HOUR_S:
                seen.popleft()
        if len(drains) > drains_per_hour_max(self._policy) + len(self._recalls[name]):
            self._breach(now_s, f"{name} flaps: drained {len(drains)} times within an hour")
        if before.nodes[name].operator:
            self._breach(now_s, f"{name} was drained over an operator's drain")
        region = self._scenario.regions[name]
        empty = not any(s.serves for n, s in after.nodes.items() if self._scenario.regions[n] == region)
        if empty and now_s - self._proxy_blind_s < 0.5:
            self._breach(now_s, f"region {region} was emptied without a second witness")

    def _deserved(self, name: str, now_s: float) -> bool:
        """A fault of its own explains the drain; one blip does not, and neither does what all others suffer too."""
        since_s = now_s - self._policy.window_s - 1.5
        return (
            self._nodes.ailed_last_s[name] >= since_s or sum(f.end_s >= since_s for f in self._nodes.blips[name]) >= 2
        )

    def _by_chance(self, now_s: float) -> bool:
        """When something shared fails part of the time, the first seconds may single a node out; a third at most."""
        if now_s - self._shared_part_s > self._policy.window_s:
            return False
        self._unlucky.append(now_s)
        lately = sum(at_s > now_s - self._policy.hold_s_min for at_s in self._unlucky)
        return lately <= max(1, len(self._nodes.names) // 3)

    # --- users ---

    def _check_exposure(self, name: str, now_s: float, step_s: float, after: States, present: list[Fault]) -> None:
        bad = [f for f in self._nodes.suffers(name, now_s) if f.must_leave]
        if bad and after.nodes[name].serves and self._has_proof(name, now_s, after, present):
            begin_s = max(min(f.begin_s for f in bad), now_s - step_s)
            is_steady = any(f.period_s == 0.0 for f in bad)
            self._onset.setdefault(name, (begin_s, any(f.is_clear for f in bad), is_steady))
            self._exposed_s[name] += step_s
            if self._exposed_s[name] > self._policy.divert_s_max:
                self._breach(
                    now_s, f"{name} is bad ({bad[0].kind}) since {self._onset[name][0]:.1f} s and still gets users"
                )
                self._exposed_s[name] = 0.0
            return
        if name in self._onset:
            onset_s, is_clear, is_steady = self._onset.pop(name)
            if not after.nodes[name].serves and is_steady:
                (self.report.divert_clear_s if is_clear else self.report.divert_gray_s).append(now_s - onset_s)
        self._exposed_s[name] = 0.0

    def _check_starvation(self, now_s: float, step_s: float, after: States, present: list[Fault]) -> None:
        """Users stay on bad nodes while a healthy one stands idle."""
        if not self._nodes.ailing and not self._starved_s:
            return
        serving = [n for n, s in after.nodes.items() if s.serves]
        suffering = all(
            any(f.must_leave and f.is_clear and f.bad_at(now_s) for f in self._nodes.ailing.get(n, ())) for n in serving
        )
        idle = [n for n, s in after.nodes.items() if not s.serves and not s.operator and self._proven(n, now_s)]
        if not (suffering and idle and self._has_proof(serving[0], now_s, after, present)):
            self._starved_s = 0.0
            return
        self._starved_s += step_s
        if self._starved_s > self._policy.divert_s_max:
            self._breach(now_s, f"every serving node is bad while {idle[0]} is healthy and idle")
            self._starved_s = 0.0

    def _proven(self, name: str, now_s: float) -> bool:
        return now_s - self._nodes.well_since_s[name] > self._policy.window_s + _PROOF_S

    def _has_proof(self, name: str, now_s: float, after: States, present: list[Fault]) -> bool:
        """Enough honest voices, a node that can be known to be healthy, and a second witness where one is asked for."""
        if now_s - self._shared_s < self._policy.window_s + _PROOF_S:
            return False
        honest, lying = self._voices(present, now_s)
        others = {n: s for n, s in after.nodes.items() if n != name and not s.operator and self._proven(n, now_s)}
        refuges = [
            n for n, s in others.items() if self._is_majority(honest + (s.serves and self._sees_users(n, now_s)), lying)
        ]
        if not refuges:
            return False
        witnessed = self._is_witnessed(name, now_s, after)
        region = self._scenario.regions[name]
        lonely = not any(s.serves and n != name and self._scenario.regions[n] == region for n, s in after.nodes.items())
        ailing = sum(n in self._nodes.ailing for n in self._nodes.names)
        if (lonely or 2 * ailing > len(after.nodes)) and not witnessed:
            return False
        return self._is_majority(honest + witnessed, lying)

    def _is_majority(self, honest: int, lying: int) -> bool:
        return honest >= self._policy.votes_min and honest > lying

    def _sees_users(self, name: str, now_s: float) -> bool:
        """The data plane sends users there and tells how they fare."""
        is_blind = now_s - self._proxy_blind_s < self._policy.recent_s
        return self._scenario.users_per_s > 0 and not is_blind and not self._proxy.is_out(name, now_s)

    def _is_witnessed(self, name: str, now_s: float, after: States) -> bool:
        """The data plane sees that this node is bad and that a peer is not."""
        if now_s - self._proxy_blind_s < self._policy.recent_s:
            return False
        peers = [n for n, s in after.nodes.items() if n != name and s.serves]
        well = [n for n in peers if self._proven(n, now_s) and self._sees_users(n, now_s)]
        return bool(well) or (self._nodes.fails_livez(name, now_s) and any(self._proven(n, now_s) for n in peers))

    def _voices(self, present: list[Fault], now_s: float) -> tuple[int, int]:
        """Vantage points that see and tell the truth, and those that lie."""
        recent_s = now_s - self._policy.recent_s
        blind = {f.vantage for f in present if f.kind is Kind.VANTAGE_BLIND and f.end_s > recent_s}
        liars = {
            f.vantage for f in present if f.kind is Kind.VANTAGE_LIES and f.end_s > recent_s - self._policy.window_s
        }
        seeing = set(self._scenario.vantages) - blind
        return len(seeing - liars), len(seeing & liars)
