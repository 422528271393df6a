"""Planted faults in the judgement: an invariant that never fires proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from siaga.simulation.traffic.scenario import Fault, Kind, Mode, Scenario
from siaga.simulation.traffic.world import Judge, World
from siaga.traffic.decide import decide
from siaga.traffic.model import Action, Decision, Facts, NodeState, Phase, States, TrafficPolicy, Verdict

POLICY = TrafficPolicy()
REGIONS = {"sgp-1": "sgp", "sgp-2": "sgp", "fra-1": "fra", "fra-2": "fra"}
SGP_1 = frozenset({"sgp-1"})
EVERYBODY = frozenset(REGIONS)


def world(*faults: Fault) -> Scenario:
    return Scenario(7, REGIONS, 150.0, faults, max(f.end_s for f in faults) + 1.0)


CRASH = world(Fault(Kind.CRASH, 30.0, 90.0, SGP_1, mode=Mode.ERROR))
LIE = world(Fault(Kind.VANTAGE_LIES, 30.0, 90.0, SGP_1, "controller", Mode.ERROR))
UNDER_LOAD = world(Fault(Kind.UNDER_LOAD, 30.0, 3700.0, SGP_1, mode=Mode.SLOW, extra_ms=800.0, is_livez_clean=True))
ALL_SLOW = world(Fault(Kind.SHARED_SLOW, 30.0, 90.0, EVERYBODY, mode=Mode.SLOW, extra_ms=800.0, is_livez_clean=True))


def broken(scenario: Scenario, judge: Judge = decide, policy: TrafficPolicy = POLICY) -> list[str]:
    report = World(scenario, policy, judge=judge, expected=POLICY).run()
    return [breach.what for breach in report.breaches]


def believing_one_vantage(
    facts: Facts, states: States, policy: TrafficPolicy, now_s: float
) -> tuple[States, tuple[Decision, ...]]:
    """Majority off: what the controller sees is taken for all."""
    seen = tuple(p for p in facts.probes if p.vantage == "controller")
    twice = (*seen, *(replace(p, vantage="echo") for p in seen))
    return decide(replace(facts, probes=twice, views=()), states, policy, now_s)


def draining_whatever_is_bad(
    facts: Facts, states: States, policy: TrafficPolicy, now_s: float
) -> tuple[States, tuple[Decision, ...]]:
    """No last node, no correlated failure: every hold becomes a drain."""
    after, decisions = decide(facts, states, policy, now_s)
    drained = {n: s for n, s in after.nodes.items() if s.serves and s.verdict in (Verdict.BAD, Verdict.CORRELATED)}
    out = NodeState(phase=Phase.DRAINED, weight_percent=0, hold_left_s=10.0)
    return replace(after, nodes={**after.nodes, **dict.fromkeys(drained, out)}), (
        *decisions,
        *(Decision(n, Action.DRAIN, 0, "planted") for n in drained),
    )


def never_draining(
    facts: Facts, states: States, policy: TrafficPolicy, now_s: float
) -> tuple[States, tuple[Decision, ...]]:
    """Watches and does nothing."""
    return decide(replace(facts, probes=(), views=()), states, policy, now_s)


def never_returning(
    facts: Facts, states: States, policy: TrafficPolicy, now_s: float
) -> tuple[States, tuple[Decision, ...]]:
    """Holds have no end."""
    after, decisions = decide(facts, states, policy, now_s)
    stuck = {n: replace(s, hold_left_s=100.0) if s.phase is Phase.DRAINED else s for n, s in after.nodes.items()}
    return replace(after, nodes=stuck), decisions


@pytest.mark.parametrize("scenario", [CRASH, LIE, UNDER_LOAD, ALL_SLOW], ids=["crash", "lie", "under load", "all slow"])
def test_the_real_judgement_breaks_nothing_here(scenario: Scenario) -> None:
    """So what is broken below is broken by the plant."""
    assert broken(scenario) == []


def test_a_judgement_without_a_majority_is_caught() -> None:
    """A lying vantage point drains a healthy node."""
    assert any("without a fault" in what for what in broken(LIE, believing_one_vantage))


def test_a_judgement_that_drains_the_last_node_is_caught() -> None:
    """Everything is slow, so everything goes."""
    assert any("no node serves" in what for what in broken(ALL_SLOW, draining_whatever_is_bad))


def test_a_hold_without_growth_is_caught() -> None:
    """A node that is bad only under load would come and go every half minute."""
    assert any("flaps" in what for what in broken(UNDER_LOAD, policy=replace(POLICY, hold_growth=1.0)))


def test_a_judgement_that_never_drains_is_caught() -> None:
    """Users stay on the crashed node."""
    assert any("still gets users" in what for what in broken(CRASH, never_draining))


def test_a_judgement_too_slow_for_the_clause_is_caught() -> None:
    """A clear fault that must last 12 s is beyond the 10 s of ZDT-1.1a."""
    slow = replace(POLICY, bad_s_min=12.0, gray_span_s_min=12.0, window_s=20.0, recent_s=13.0)
    assert any("still gets users" in what for what in broken(CRASH, policy=slow))


def test_a_judgement_that_never_lets_a_node_return_is_caught() -> None:
    """Capacity would melt away, one fault at a time."""
    assert any("after every fault has ended" in what for what in broken(CRASH, never_returning))
