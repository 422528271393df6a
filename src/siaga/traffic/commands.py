"""Operators' commands as pure transitions: a drain by hand stays until restored by hand (ZDT-1.1a)."""

from __future__ import annotations

from dataclasses import replace

from siaga.errors import BadInput, Refused
from siaga.traffic.model import Action, Decision, NodeState, Phase, States, TrafficPolicy, Verdict


def drain_by_operator(states: States, node: str, actor: str) -> tuple[States, Decision]:
    """Take a node out until `restore_by_operator`; refused when no node that is not bad would serve."""
    state = _find(states, node)
    left = [n for n, s in states.nodes.items() if n != node and s.serves and s.verdict is not Verdict.BAD]
    if state.serves and not left:
        raise Refused(
            f"`{node}` is the last node that can serve users, a drain needs another one",
            hint="Restore another node first: `siaga traffic show` lists them.",
        )
    reason = f"{node} drained by {actor}"
    drained = replace(
        state, phase=Phase.DRAINED, weight_percent=0, operator=actor, reason=reason, hold_left_s=0.0, held=""
    )
    return states.with_node(node, drained), Decision(node, Action.DRAIN, 0, reason, {"actor": actor}, urgent=True)


def restore_by_operator(states: States, node: str, actor: str, policy: TrafficPolicy) -> tuple[States, Decision]:
    """Let a drained node return by the ramp, whoever drained it; a serving one stays as it is."""
    state = _find(states, node)
    if state.phase is not Phase.DRAINED:
        reason = f"{node} is {state.phase} at {state.weight_percent} % already"
        return states, Decision(node, Action.SET_WEIGHT, state.weight_percent, reason, {"actor": actor})
    percent = policy.ramp_percent[0]
    reason = f"{node} returning at {percent} %: restored by {actor}"
    returning = NodeState(
        phase=Phase.RETURNING,
        weight_percent=percent,
        reason=reason,
        offences=state.offences,
        verdict=state.verdict,
    )
    return _forget(states.with_node(node, returning), node), Decision(
        node, Action.SET_WEIGHT, percent, reason, {"actor": actor}
    )


def _forget(states: States, node: str) -> States:
    """Judge the node by what comes: whoever restored it knows more than the evidence from before."""
    windows = {name: window for name, window in states.windows.items() if name != node}
    views = {name: seen for name, seen in states.views.items() if name != node}
    return replace(states, windows=windows, views=views)


def _find(states: States, node: str) -> NodeState:
    if node not in states.nodes:
        known = ", ".join(sorted(states.nodes)) or "none yet"
        raise BadInput(f"no node is called `{node}`, expected one of {known}", hint="Names are those of the site file.")
    return states.nodes[node]
