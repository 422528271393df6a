"""The judgement of traffic, one behaviour at a time; the simulation tests what they make together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from time import process_time
from typing import Any

import pytest

from siaga.traffic.commands import restore_by_operator
from siaga.traffic.decide import decide, probe_interval_s
from siaga.traffic.model import (
    Action,
    Decision,
    Facts,
    NodeState,
    Outcome,
    Phase,
    Probe,
    ProxyView,
    States,
    TrafficPolicy,
    Verdict,
)

POLICY = TrafficPolicy()
TWO_BY_TWO = {"sgp-1": "sgp", "sgp-2": "sgp", "fra-1": "fra", "fra-2": "fra"}
VANTAGES = ("sgp", "fra", "controller")

Answer = tuple[Outcome, float]
FINE: Answer = (Outcome.OK, 41.0)
SLOW: Answer = (Outcome.OK, 812.0)
REFUSED: Answer = (Outcome.ERROR, 1.0)
HUNG: Answer = (Outcome.TIMEOUT, 550.0)
OUTAGE: Answer = (Outcome.OUTAGE, 150.0)
BLIND: Answer = (Outcome.UNKNOWN, 0.0)


@dataclass
class Platform:
    """Nodes that answer as told, probed twice a second from every vantage point."""

    regions: Mapping[str, str] = field(default_factory=lambda: TWO_BY_TWO)
    vantages: tuple[str, ...] = VANTAGES
    policy: TrafficPolicy = POLICY
    now_s: float = 1000.0
    states: States = States()
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    proxy: dict[str, tuple[bool, bool, int, int]] = field(default_factory=dict)
    """By node: ejected, healthy, requests, failures."""

    def run(self, seconds: float, answers: Mapping[Any, Answer] | None = None) -> Platform:
        """Half a second a pass; answers by node, or by (node, vantage point)."""
        answers = answers or {}
        for _ in range(round(seconds * 2)):
            self.now_s += 0.5
            probes = tuple(
                Probe(n, v, self.now_s - 0.01, *answers.get((n, v), answers.get(n, FINE)))
                for n in self.regions
                for v in self.vantages
            )
            views = tuple(ProxyView(n, self.now_s, *view) for n, view in self.proxy.items())
            self.pass_with(Facts(self.regions, probes, views))
        return self

    def pass_with(self, facts: Facts) -> None:
        self.states, decided = decide(facts, self.states, self.policy, self.now_s)
        self.decisions += [(self.now_s, d) for d in decided]

    def drained(self) -> list[str]:
        return [d.node for _, d in self.decisions if d.action is Action.DRAIN]

    def held(self) -> list[str]:
        return [d.reason for _, d in self.decisions if d.action is Action.HOLD]


@pytest.mark.clause("ZDT-1.1a")
@pytest.mark.parametrize("answer", [SLOW, REFUSED, HUNG], ids=["slow", "refused", "hung"])
def test_a_node_that_is_plainly_bad_is_drained_within_two_seconds(answer: Answer) -> None:
    platform = Platform().run(8)
    onset_s = platform.now_s
    platform.run(2, {"sgp-1": answer})
    assert platform.drained() == ["sgp-1"]
    assert platform.decisions[0][0] - onset_s <= 2.0
    assert platform.states.weights == {"sgp-1": 0, "sgp-2": 100, "fra-1": 100, "fra-2": 100}


@pytest.mark.clause("ZDT-1.1a")
def test_a_node_with_every_third_answer_slow_is_drained_within_eight_seconds() -> None:
    platform = Platform().run(8)
    for n in range(16):
        platform.run(0.5, {"fra-1": SLOW if n % 3 == 0 else FINE})
    assert platform.drained() == ["fra-1"]


def test_a_drain_gives_its_reason_its_figures_and_its_clause() -> None:
    platform = Platform().run(8).run(2, {"sgp-1": SLOW})
    (_, decision) = platform.decisions[0]
    assert decision.reason.startswith("sgp-1 drained: p50 of 812 ms over ")
    assert "from 3 of 3 vantage points against a pool median of 41 ms, limit 500 ms" in decision.reason
    assert (decision.clause, decision.figures["p50_ms"], decision.figures["limit_ms"]) == ("ZDT-1.1a", 812, 500)


@pytest.mark.parametrize("bad_passes", [1, 2])
def test_a_blip_never_drains(bad_passes: int) -> None:
    platform = Platform().run(8).run(bad_passes / 2, {"sgp-1": REFUSED}).run(20)
    assert platform.decisions == []


@pytest.mark.parametrize("lie", [REFUSED, HUNG, SLOW])
def test_one_lying_vantage_point_never_drains(lie: Answer) -> None:
    platform = Platform().run(8).run(60, {("sgp-1", "fra"): lie})
    assert platform.drained() == []


def test_one_vantage_point_that_calls_everything_bad_does_not_hide_a_bad_node() -> None:
    everything = {(n, "fra"): REFUSED for n in TWO_BY_TWO}
    platform = Platform().run(8).run(20, everything).run(3, {**everything, "sgp-1": REFUSED})
    assert platform.drained() == ["sgp-1"]


def test_a_single_vantage_point_that_sees_is_not_enough() -> None:
    blind = {(n, v): BLIND for n in TWO_BY_TWO for v in ("sgp", "fra")}
    platform = Platform().run(8).run(20, {**blind, ("sgp-1", "controller"): REFUSED})
    assert platform.decisions == []


def test_the_data_plane_is_a_vantage_point_too() -> None:
    blind = {(n, v): BLIND for n in TWO_BY_TWO for v in ("sgp", "fra")}
    platform = Platform(proxy=dict.fromkeys(TWO_BY_TWO, (False, True, 40, 0))).run(8, blind)
    platform.proxy["sgp-1"] = (True, True, 0, 0)
    platform.run(3, {**blind, ("sgp-1", "controller"): REFUSED})
    assert platform.drained() == ["sgp-1"]


def test_the_network_distance_is_not_held_against_a_node() -> None:
    platform = Platform()
    for _ in range(40):
        platform.now_s += 0.5
        far = tuple(Probe(n, v, platform.now_s, Outcome.OK, 600.0, 160.0) for n in TWO_BY_TWO for v in VANTAGES)
        platform.pass_with(Facts(TWO_BY_TWO, far))
    assert {s.verdict for s in platform.states.nodes.values()} == {Verdict.HEALTHY}


def test_a_node_just_over_the_limit_in_a_slow_pool_is_left_alone() -> None:
    pool = dict.fromkeys(TWO_BY_TWO, (Outcome.OK, 440.0))
    platform = Platform().run(8, pool).run(20, {**pool, "sgp-1": (Outcome.OK, 540.0)})
    assert platform.drained() == []


@pytest.mark.parametrize("answer", [SLOW, REFUSED, HUNG])
def test_when_all_fail_alike_all_stay_and_a_person_is_called(answer: Answer) -> None:
    platform = Platform().run(8).run(30, dict.fromkeys(TWO_BY_TWO, answer))
    assert platform.drained() == []
    assert len(platform.held()) == len(TWO_BY_TWO)
    assert all("correlated failure" in reason for reason in platform.held())


def test_an_outage_behind_the_nodes_is_no_nodes_fault() -> None:
    platform = Platform().run(8).run(30, dict.fromkeys(TWO_BY_TWO, OUTAGE))
    assert platform.decisions == []


def test_a_node_that_crashes_during_an_outage_is_still_drained() -> None:
    out = dict.fromkeys(TWO_BY_TWO, OUTAGE)
    platform = Platform().run(8, out).run(2, {**out, "fra-2": REFUSED})
    assert platform.drained() == ["fra-2"]


def test_the_last_healthy_node_is_never_drained() -> None:
    platform = Platform(regions={"a": "sgp", "b": "sgp"}).run(8).run(10, {"a": REFUSED}).run(30, {"a": HUNG, "b": HUNG})
    assert platform.drained() == ["a"]
    assert "it is the last serving node" in platform.held()[-1]


def test_a_platform_of_one_node_keeps_it() -> None:
    platform = Platform(regions={"a": "sgp"}).run(8).run(30, {"a": REFUSED})
    assert platform.drained() == []
    assert platform.held()


def test_a_held_node_calls_once_and_not_on_every_pass() -> None:
    platform = Platform(regions={"a": "sgp"}).run(8).run(60, {"a": REFUSED})
    assert len(platform.held()) == 1


def test_a_recovered_node_is_recalled_when_the_last_serving_one_fails() -> None:
    platform = Platform(regions={"a": "sgp", "b": "sgp"}).run(8).run(3, {"a": REFUSED})
    platform.states = platform.states.with_node(
        "a", NodeState(Phase.DRAINED, 0, offences=6, hold_left_s=300.0, verdict=Verdict.BAD)
    )
    platform.run(12).run(4, {"b": REFUSED})
    assert platform.states.weights == {"a": 100, "b": 0}


def lose_region(platform: Platform) -> Platform:
    return platform.run(4, {"sgp-1": REFUSED, "sgp-2": REFUSED})


def test_a_region_is_drained_only_with_the_data_plane_as_second_witness() -> None:
    alone = lose_region(Platform().run(8))
    assert alone.drained() == ["sgp-1"]
    assert "region sgp would be empty and the data plane does not confirm it" in alone.held()[0]

    witnessed = Platform(proxy=dict.fromkeys(TWO_BY_TWO, (False, True, 40, 0))).run(8)
    witnessed.proxy |= dict.fromkeys(("sgp-1", "sgp-2"), (False, False, 0, 0))
    assert sorted(lose_region(witnessed).drained()) == ["sgp-1", "sgp-2"]


def test_a_second_region_is_drained_only_when_a_remaining_one_is_proven_healthy() -> None:
    regions = {"a": "sgp", "b": "fra", "c": "iad"}
    platform = Platform(regions=regions, proxy=dict.fromkeys(regions, (False, True, 40, 0))).run(8)
    platform.proxy["a"] = (False, False, 0, 0)
    platform.run(4, {"a": REFUSED})
    platform.proxy["b"] = (False, False, 0, 0)
    unseen_c = {("c", v): BLIND for v in VANTAGES}
    platform.run(4, {"a": REFUSED, "b": REFUSED, **unseen_c})
    assert platform.drained() == ["a"]
    platform.run(4, {"a": REFUSED, "b": REFUSED})
    assert platform.drained() == ["a", "b"]


def test_a_drain_holds_ten_seconds_and_then_returns_by_the_ramp() -> None:
    platform = Platform().run(8).run(2, {"sgp-1": REFUSED}).run(40)
    weights = [(at_s, d.weight_percent) for at_s, d in platform.decisions]
    assert [percent for _, percent in weights] == [0, 1, 10, 50, 100]
    times = [at_s for at_s, _ in weights]
    assert times[1] - times[0] >= 10.0
    assert all(later - earlier >= POLICY.ramp_step_s for earlier, later in zip(times[1:], times[2:], strict=False))
    assert platform.states.nodes["sgp-1"].phase is Phase.SERVING


def test_a_bad_window_aborts_the_ramp_and_doubles_the_hold() -> None:
    platform = Platform().run(8).run(2, {"sgp-1": REFUSED})
    while platform.states.nodes["sgp-1"].phase is not Phase.RETURNING:
        platform.run(0.5)
    platform.run(2, {"sgp-1": REFUSED})
    assert platform.drained() == ["sgp-1", "sgp-1"]
    assert platform.decisions[-1][1].figures["hold_s"] == 20.0


def test_a_node_still_bad_after_its_hold_stays_out() -> None:
    platform = Platform().run(8).run(60, {"sgp-1": REFUSED})
    assert platform.drained() == ["sgp-1"]
    assert platform.states.weights["sgp-1"] == 0


def test_holds_grow_to_five_minutes_and_no_further() -> None:
    assert [POLICY.hold_s(n) for n in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]


def test_offences_fade_over_good_time() -> None:
    platform = Platform().run(8).run(2, {"sgp-1": REFUSED}).run(40)
    assert platform.states.nodes["sgp-1"].offences == 1
    platform.run(POLICY.offence_decay_s)
    assert platform.states.nodes["sgp-1"].offences == 0


def test_after_a_pause_nothing_seen_before_drains_anybody() -> None:
    """Probes under way during the pause all look like time-outs."""
    platform = Platform().run(8)
    platform.now_s += 60.0
    stale = tuple(
        Probe("sgp-1", v, platform.now_s - ago_s, Outcome.TIMEOUT, 550.0)
        for v in VANTAGES
        for ago_s in (3.0, 2.0, 1.0, 0.1)
    )
    platform.pass_with(Facts(TWO_BY_TWO, stale))
    platform.run(10)
    assert platform.decisions == []


def test_a_clock_that_goes_back_neither_drains_nor_ends_a_hold() -> None:
    platform = Platform().run(8).run(2, {"sgp-1": REFUSED})
    left_s = platform.states.nodes["sgp-1"].hold_left_s
    platform.now_s -= 5000.0
    platform.run(1)
    assert platform.states.nodes["sgp-1"].hold_left_s == pytest.approx(left_s - 0.5)
    platform.run(60)
    assert platform.states.weights == dict.fromkeys(TWO_BY_TWO, 100)


def test_a_correlated_failure_leaves_no_grudge() -> None:
    """The traces of what all suffered drain nobody afterwards, whoever recovers first."""
    platform = Platform().run(8)
    for n in range(12):
        platform.run(0.5, dict.fromkeys(TWO_BY_TWO, SLOW if n % 3 else FINE))
    platform.run(1, {"sgp-1": SLOW}).run(20)
    assert platform.drained() == []


def test_nodes_that_leave_the_site_are_forgotten() -> None:
    platform = Platform().run(8)
    platform.regions = {"sgp-1": "sgp"}
    platform.run(1)
    assert list(platform.states.nodes) == ["sgp-1"]


def test_a_doubtful_node_is_probed_more_closely_unless_most_of_them_are() -> None:
    platform = Platform().run(8).run(0.5, {"sgp-1": SLOW})
    assert probe_interval_s(platform.states, "sgp-1", POLICY) == POLICY.probe_closer_interval_s
    assert probe_interval_s(platform.states, "sgp-2", POLICY) == POLICY.probe_interval_s
    platform.run(0.5, dict.fromkeys(TWO_BY_TWO, SLOW))
    assert not platform.states.suspects


def test_a_stricter_limit_of_the_site_is_what_counts() -> None:
    strict = TrafficPolicy.within(latency_ms_max=200.0, divert_s_max=5.0)
    platform = Platform(policy=strict).run(8).run(2, {"sgp-1": (Outcome.OK, 260.0)})
    assert platform.drained() == ["sgp-1"]
    assert "limit 200 ms" in platform.decisions[0][1].reason


def test_forty_nodes_are_judged_in_far_less_than_a_pass() -> None:
    regions = {f"r{n % 5}-{n}": f"r{n % 5}" for n in range(40)}
    platform = Platform(regions=regions).run(8)
    bad = dict.fromkeys(list(regions)[:4], SLOW)
    spent_s = []
    for _ in range(10):
        begin_s = process_time()
        platform.run(0.5, bad)
        spent_s.append(process_time() - begin_s)
    assert sorted(platform.drained()) == sorted(bad)
    assert median(spent_s) < 0.05


@pytest.mark.clause("ZDT-1.1a")
def test_a_node_restored_by_an_operator_is_judged_by_what_comes_not_by_what_was() -> None:
    platform = Platform().run(10).run(4, {"sgp-1": HUNG})
    assert platform.drained() == ["sgp-1"]
    platform.states, _ = restore_by_operator(platform.states, "sgp-1", "ann", POLICY)
    platform.run(20)
    assert platform.drained() == ["sgp-1"], "the evidence from before its restoring drained it again"
    assert platform.states.nodes["sgp-1"].weight_percent == 100
