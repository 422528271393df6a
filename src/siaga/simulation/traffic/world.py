"""The world in a box for traffic: a virtual clock, nodes, faults, and the real judgement in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

from siaga.errors import Refused
from siaga.simulation.traffic.nodes import Nodes
from siaga.simulation.traffic.prober import Prober, shifted
from siaga.simulation.traffic.proxy import Proxy, shifted_view
from siaga.simulation.traffic.scenario import Fault, Kind, Scenario
from siaga.simulation.traffic.watch import Report, Watch
from siaga.traffic.commands import drain_by_operator, restore_by_operator
from siaga.traffic.decide import decide, elapse, probe_interval_s
from siaga.traffic.memory import from_document, to_document
from siaga.traffic.model import Decision, Facts, Phase, States, TrafficPolicy, Verdict, Window

PASS_S = 0.5
_LINGER_S = 1.0
"""A fault stays in sight so long after its end: probes of the last pass were sent during it."""
_SKIP_S_MIN = 5.0

Judge = Callable[[Facts, States, TrafficPolicy, float], tuple[States, tuple[Decision, ...]]]


class World:
    """One scenario from its first pass until every fault is over and all has settled.

    A broken `judge` or `policy` can be planted; the invariants go by `expected`.
    """

    def __init__(
        self,
        scenario: Scenario,
        policy: TrafficPolicy,
        *,
        judge: Judge = decide,
        expected: TrafficPolicy | None = None,
        skips_quiet: bool = True,
    ) -> None:
        rng = Random(scenario.seed)  # noqa: S311 a simulation must replay
        self._scenario, self._policy, self._judge, self._skips_quiet = scenario, policy, judge, skips_quiet
        self._rng = rng
        self._nodes = Nodes(scenario, rng)
        self._proxy = Proxy(self._nodes, rng)
        self._prober = Prober(self._nodes, policy, rng)
        self._watch = Watch(scenario, self._nodes, self._proxy, expected or policy)
        self._states = States()
        self._now_s = 0.0
        self._shift_s = 0.0
        """The controller's clock less the world's: it restarts, and may go backwards."""
        self._coming = sorted(scenario.faults, key=lambda f: f.begin_s)
        self._present: list[Fault] = []

    def run(self) -> Report:
        """Live through all of it."""
        while self._now_s < self._scenario.end_s or self._present or self._nodes.is_cold:
            self._pass()
        deadline_s = self._now_s + self._policy.return_s_max + self._policy.window_s
        while self._now_s < deadline_s and any(s.phase is not Phase.SERVING for s in self._states.nodes.values()):
            self._pass()
        self._watch.settled(self._now_s, self._states)
        report = self._watch.report
        report.simulated_s = self._now_s
        return report

    def _pass(self) -> None:
        if self._skips_quiet:
            self._skip_quiet()
        begin_s = self._now_s
        self._now_s = begin_s + PASS_S
        self._enter_faults()
        self._nodes.advance(self._present, self._now_s, PASS_S)
        views = self._proxy.observe(begin_s, self._now_s)
        if any(f.kind is Kind.PROXY_BLIND and f.bad_at(self._now_s) for f in self._present):
            views = []
        probes = self._prober.collect(self._present, begin_s, self._now_s, self._interval_s)
        if self._shift_s:
            probes = [shifted(p, self._shift_s) for p in probes]
            views = [shifted_view(v, self._shift_s) for v in views]
        facts = Facts(self._scenario.regions, tuple(probes), tuple(views))
        before = self._states
        self._states, decisions = self._judge(facts, before, self._policy, self._now_s + self._shift_s)
        self._nodes.weights = self._states.weights
        self._watch.report.passes += 1
        self._watch.step(self._now_s, PASS_S, before, self._states, decisions, self._present)

    def _interval_s(self, node: str) -> float:
        return probe_interval_s(self._states, node, self._policy)

    def _enter_faults(self) -> None:
        over = [f for f in self._present if f.end_s + self._linger_s(f) <= self._now_s]
        self._present = [f for f in self._present if f not in over]
        for fault in over:
            self._leave(fault)
        while self._coming and self._coming[0].begin_s <= self._now_s:
            fault = self._coming.pop(0)
            self._present.append(fault)
            self._enter(fault)

    def _linger_s(self, fault: Fault) -> float:
        return self._policy.window_s + self._policy.recent_s if fault.kind is Kind.VANTAGE_LIES else _LINGER_S

    def _enter(self, fault: Fault) -> None:
        if fault.kind is Kind.OPERATOR:
            (node,) = fault.nodes
            try:
                self._states, _ = drain_by_operator(self._states, node, "ana")
            except Refused:
                return
        elif fault.kind is Kind.PAUSE:
            self._pause(fault.end_s)
        elif fault.kind is Kind.CLOCK_BACK:
            self._shift_s -= self._rng.uniform(0.5, 7200.0)
            self._watch.interrupted()
        elif fault.kind is Kind.RESTART:
            document = json.loads(json.dumps(to_document(self._states)))
            self._states = from_document(document, self._policy)
            self._shift_s = self._rng.uniform(-1e6, 1e6)
            self._watch.interrupted()

    def _leave(self, fault: Fault) -> None:
        if fault.kind is Kind.OPERATOR:
            (node,) = fault.nodes
            if self._states.nodes[node].operator:
                self._states, _ = restore_by_operator(self._states, node, "ana", self._policy)

    def _pause(self, until_s: float) -> None:
        """The controller's machine stands still; the world and its users go on."""
        while self._now_s < until_s:
            begin_s, self._now_s = self._now_s, self._now_s + PASS_S
            self._nodes.advance(self._present, self._now_s, PASS_S)
            self._proxy.observe(begin_s, self._now_s)
        self._prober.interrupt(self._now_s)
        self._watch.interrupted()

    def _skip_quiet(self) -> None:
        """Jump to just before the next event where every pass until then would change nothing but clocks."""
        if not self._is_quiet():
            return
        ends_s = [f.end_s - self._now_s for f in self._present]
        if self._coming:
            ends_s.append(self._coming[0].begin_s - self._now_s)
        for state in self._states.nodes.values():
            if state.hold_left_s:
                ends_s.append(state.hold_left_s)
            elif state.offences:
                ends_s.append(self._policy.offence_decay_s - state.good_s)
        skip_s = (int(min(ends_s, default=0.0) / PASS_S) - 2) * PASS_S
        if skip_s < _SKIP_S_MIN:
            return
        self._now_s += skip_s
        self._states = _carry(self._states, self._policy, skip_s)
        self._prober.carry(skip_s)

    def _is_quiet(self) -> bool:
        sleeping = (Kind.OPERATOR, Kind.UNDER_LOAD)
        return (
            all(f.kind in sleeping and f.end_s > self._now_s for f in self._present)
            and all(self._nodes.is_quiet(name) for name in self._nodes.names)
            and self._proxy.is_quiet(self._now_s)
            and self._prober.is_quiet
            and all(_is_calm(s.phase, s.hold_left_s, s.operator, s.verdict) for s in self._states.nodes.values())
            and not any(w.bad for windows in self._states.windows.values() for w in windows.values())
            and bool(self._states.nodes)
        )


def _is_calm(phase: Phase, hold_left_s: float, operator: str, verdict: Verdict) -> bool:
    if verdict is not Verdict.HEALTHY:
        return False
    return phase is Phase.SERVING or (phase is Phase.DRAINED and (hold_left_s > 0 or bool(operator)))


def _carry(states: States, policy: TrafficPolicy, skip_s: float) -> States:
    """The states as the skipped passes would have left them: only clocks and dates differ."""
    windows = {
        node: {
            vantage: Window(
                tuple(s._replace(at_s=s.at_s + skip_s, sent_s=s.sent_s + skip_s) for s in window.samples), window.bad
            )
            for vantage, window in by_vantage.items()
        }
        for node, by_vantage in states.windows.items()
    }
    views = {node: tuple(shifted_view(v, skip_s) for v in views) for node, views in states.views.items()}
    return replace(
        states,
        nodes={name: elapse(state, policy, skip_s) for name, state in states.nodes.items()},
        windows=windows,
        views=views,
        last_s=None if states.last_s is None else states.last_s + skip_s,
    )
