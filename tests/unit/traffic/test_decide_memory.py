"""Operators' commands, and what outlives the controller."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, Refused
from siaga.traffic.commands import drain_by_operator, restore_by_operator
from siaga.traffic.decide import decide
from siaga.traffic.memory import from_document, to_document
from siaga.traffic.model import Facts, NodeState, Outcome, Phase, Probe, States, TrafficPolicy, Verdict

POLICY = TrafficPolicy()
REGIONS = {"a": "sgp", "b": "fra"}
BOTH = States(nodes={"a": NodeState(verdict=Verdict.HEALTHY), "b": NodeState(verdict=Verdict.HEALTHY)})


def pass_well(states: States, now_s: float) -> States:
    probes = tuple(Probe(n, v, now_s, Outcome.OK, 40.0) for n in REGIONS for v in ("sgp", "controller"))
    return decide(Facts(REGIONS, probes), states, POLICY, now_s)[0]


def test_a_node_drained_by_an_operator_stays_drained_until_restored() -> None:
    states, decision = drain_by_operator(BOTH, "a", "ana")
    assert decision.reason == "a drained by ana"
    for n in range(2000):
        states = pass_well(states, n / 2)
    assert states.weights == {"a": 0, "b": 100}
    states, _ = restore_by_operator(states, "a", "ben", POLICY)
    for n in range(2000, 2040):
        states = pass_well(states, n / 2)
    assert states.weights == {"a": 100, "b": 100}


def test_an_operator_cannot_drain_the_last_node_that_can_serve() -> None:
    states, _ = drain_by_operator(BOTH, "a", "ana")
    with pytest.raises(Refused, match="`b` is the last node that can serve users"):
        drain_by_operator(states, "b", "ana")
    with pytest.raises(Refused):
        drain_by_operator(BOTH.with_node("b", NodeState(verdict=Verdict.BAD)), "a", "ana")


def test_an_operator_may_drain_what_the_controller_drained_already() -> None:
    states = BOTH.with_node("a", NodeState(Phase.DRAINED, 0, hold_left_s=5.0, offences=2))
    states, _ = drain_by_operator(states, "a", "ana")
    assert states.nodes["a"].operator == "ana"


def test_restoring_ends_a_hold_but_keeps_the_offences() -> None:
    states = BOTH.with_node("a", NodeState(Phase.DRAINED, 0, hold_left_s=200.0, offences=5))
    states, decision = restore_by_operator(states, "a", "ana", POLICY)
    assert (decision.weight_percent, states.nodes["a"].phase) == (1, Phase.RETURNING)
    assert (states.nodes["a"].hold_left_s, states.nodes["a"].offences) == (0.0, 5)


def test_restoring_a_serving_node_changes_nothing() -> None:
    states, decision = restore_by_operator(BOTH, "a", "ana", POLICY)
    assert states == BOTH
    assert decision.reason == "a is serving at 100 % already"


def test_an_unknown_node_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="no node is called `c`, expected one of a, b"):
        drain_by_operator(BOTH, "c", "ana")


NODE_STATES = st.one_of(
    st.builds(NodeState, offences=st.integers(0, 6), good_s=st.floats(0, 600)),
    st.builds(
        NodeState,
        phase=st.just(Phase.DRAINED),
        weight_percent=st.just(0),
        operator=st.sampled_from(("", "ana")),
        hold_left_s=st.floats(0, 300),
        offences=st.integers(1, 6),
    ),
    st.builds(
        NodeState,
        phase=st.just(Phase.RETURNING),
        weight_percent=st.sampled_from(POLICY.ramp_percent[:-1]),
        step_s=st.floats(0, 4),
    ),
)


@given(st.dictionaries(st.text(min_size=1), NODE_STATES))
def test_states_survive_json_both_ways(nodes: dict[str, NodeState]) -> None:
    document = json.loads(json.dumps(to_document(States(nodes=nodes))))
    assert from_document(document, POLICY).nodes == nodes


@pytest.mark.parametrize("clock_s", [0.0, 3e9])
def test_a_hold_goes_on_after_a_restart_whatever_the_new_clock(clock_s: float) -> None:
    before = BOTH.with_node("a", NodeState(Phase.DRAINED, 0, hold_left_s=20.0, offences=2))
    states = from_document(to_document(before), POLICY)
    weights = []
    for n in range(1, 60):
        states = pass_well(states, clock_s + n / 2)
        weights.append(states.weights["a"])
    assert weights[:39] == [0] * 39
    assert weights[-1] > 0


def test_a_hold_beyond_the_longest_is_cut() -> None:
    document = to_document(States(nodes={"a": NodeState(Phase.DRAINED, 0, hold_left_s=1e12, offences=999)}))
    state = from_document(document, POLICY).nodes["a"]
    assert (state.hold_left_s, state.offences) == (POLICY.hold_s_max, POLICY.offences_max)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(JSON)
def test_a_mangled_document_is_bad_input_and_nothing_else(document: object) -> None:
    with pytest.raises(BadInput):
        from_document(document, POLICY)


@given(st.sampled_from(("phase", "weight_percent", "hold_left_s", "step_s", "good_s", "offences")), JSON)
def test_a_mangled_node_is_bad_input_or_a_sane_state(field: str, value: object) -> None:
    document = json.loads(json.dumps(to_document(BOTH)))
    document["nodes"]["a"][field] = value
    try:
        state = from_document(document, POLICY).nodes["a"]
    except BadInput:
        return
    assert state == replace(state, weight_percent=100)
    assert 0 <= state.hold_left_s <= POLICY.hold_s_max
