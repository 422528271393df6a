"""Which node may take users: drain what is bad, hold it out, let it return slowly (pure; ZDT-1.1a).

Never the last healthy node; a whole region only with the data plane as second witness (decision 4);
what everything suffers is no node's fault. A drain holds 10 s and longer for a repeat offender.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from siaga.traffic.judge import Judgement, Pool, Vote, judge, pool
from siaga.traffic.model import Action, Decision, Facts, NodeState, Phase, States, TrafficPolicy, Verdict
from siaga.traffic.reasons import accusation, figures
from siaga.traffic.windows import observe

Nodes = dict[str, NodeState]

_FAULTY = (Verdict.BAD, Verdict.CORRELATED)


def decide(facts: Facts, states: States, policy: TrafficPolicy, now_s: float) -> tuple[States, tuple[Decision, ...]]:
    """One pass: take in the facts, judge every node, and say what changes. Cheap enough for twice a second."""
    elapsed_s = 0.0 if states.last_s is None else max(0.0, now_s - states.last_s)
    known = {name: states.nodes.get(name) or NodeState() for name in facts.regions}
    seen = observe(facts, replace(states, nodes=known), policy, now_s)
    seen_by = pool(seen, facts.regions, policy, now_s)
    judged = judge(seen_by)
    is_alone = sum(s.serves for s in seen.nodes.values()) == 1
    nodes = {
        name: _judged(elapse(state, policy, elapsed_s), judged[name].verdict, policy, is_alone)
        for name, state in seen.nodes.items()
    }
    decisions = [
        *_recall(nodes, seen_by),
        *_drain_bad(nodes, judged, seen_by),
        *_return(nodes, policy),
    ]
    after = replace(seen, nodes=nodes)
    return replace(after, suspects=_suspects(after)), tuple(decisions)


def elapse(state: NodeState, policy: TrafficPolicy, elapsed_s: float) -> NodeState:
    """Let time pass for a node: holds and excuses run out, ramps go on and offences fade in good time only."""
    if state.excused_s:
        state = replace(state, excused_s=max(0.0, state.excused_s - elapsed_s))
    if state.phase is Phase.DRAINED:
        return replace(state, hold_left_s=max(0.0, state.hold_left_s - elapsed_s)) if state.hold_left_s else state
    if state.verdict is not Verdict.HEALTHY:
        return state
    if state.phase is Phase.RETURNING:
        return replace(state, step_s=state.step_s + elapsed_s)
    if state.offences == 0:
        return state
    good_s = state.good_s + elapsed_s
    if good_s < policy.offence_decay_s:
        return replace(state, good_s=good_s)
    return replace(state, offences=state.offences - 1, good_s=0.0)


def probe_interval_s(states: States, node: str, policy: TrafficPolicy) -> float:
    """How soon to probe a node again: sooner when it looks odd, so that a gray fault is settled in seconds."""
    return policy.probe_closer_interval_s if node in states.suspects else policy.probe_interval_s


def _judged(state: NodeState, verdict: Verdict, policy: TrafficPolicy, is_alone: bool) -> NodeState:
    held = "" if verdict is Verdict.HEALTHY else state.held
    excused_s = policy.window_s if verdict is Verdict.CORRELATED and not is_alone else state.excused_s
    if (state.verdict, state.held, state.excused_s) == (verdict, held, excused_s):
        return state
    return replace(state, verdict=verdict, held=held, excused_s=excused_s)


def _suspects(seen: States) -> frozenset[str]:
    """Serving nodes with a bad probe from anywhere; none when it is most of them: then it is no node's fault."""
    doubtful = {
        name for name, state in seen.nodes.items() if state.serves and any(w.bad for w in seen.windows[name].values())
    }
    return frozenset(doubtful) if 2 * len(doubtful) <= len(seen.nodes) else frozenset()


def _recall(nodes: Nodes, pool: Pool) -> list[Decision]:
    """When every serving node is bad, one without a trace of a fault comes back early: a hold is no penalty."""
    if not all(state.verdict in _FAULTY for state in nodes.values() if state.serves):
        return []
    decisions = []
    for name, state in nodes.items():
        if state.phase is Phase.DRAINED and not state.operator and _is_spotless(name, state, pool):
            reason = f"{name} recalled with {state.hold_left_s:.0f} s of its hold left: no other healthy node serves"
            nodes[name] = replace(
                state, phase=Phase.SERVING, weight_percent=100, hold_left_s=0.0, good_s=0.0, reason=reason
            )
            known = {"hold_left_s": state.hold_left_s}
            decisions.append(Decision(name, Action.SET_WEIGHT, 100, reason, known, urgent=True))
    return decisions


def _is_spotless(name: str, state: NodeState, pool: Pool) -> bool:
    windows = pool.states.windows[name].values()
    return state.verdict is Verdict.HEALTHY and 2 * sum(w.bad == 0 for w in windows) > len(windows)


def _drain_bad(nodes: Nodes, judged: Mapping[str, Judgement], pool: Pool) -> list[Decision]:
    decisions = []
    for name in sorted(nodes, key=lambda n: (-judged[n].against, n)):
        state = nodes[name]
        if not state.serves or state.verdict not in _FAULTY:
            continue
        obstacle = _obstacle(name, nodes, judged[name], pool)
        if not obstacle:
            decisions.append(_drain(name, nodes, judged[name], pool))
        elif obstacle != state.held:
            known = figures(name, judged[name], pool)
            nodes[name] = replace(state, held=obstacle)
            reason = f"{name} held at {state.weight_percent} %: {accusation(known)}; not drained, {obstacle}"
            decisions.append(Decision(name, Action.HOLD, state.weight_percent, reason, known, urgent=True))
    return decisions


def _obstacle(name: str, nodes: Nodes, judgement: Judgement, pool: Pool) -> str:
    """Why a bad node must stay all the same; empty when nothing stands against draining it."""
    others = {n: s for n, s in nodes.items() if n != name}
    if not any(s.serves for s in others.values()):
        return _last_node(others)
    if judgement.verdict is Verdict.CORRELATED:
        return "the rest of the pool fails alike (correlated failure)"
    if not any(s.serves and s.verdict is Verdict.HEALTHY for s in others.values()):
        return "no other serving node is proven healthy"
    region = pool.regions[name]
    empties_region = not any(s.serves for n, s in others.items() if pool.regions[n] == region)
    is_crowd = 2 * sum(s.verdict in _FAULTY for s in nodes.values()) > len(nodes)
    if (empties_region or is_crowd) and judgement.proxy is not Vote.BAD:
        what = f"region {region} would be empty" if empties_region else "most of the pool is bad"
        return f"{what} and the data plane does not confirm it"
    if empties_region and _drained_regions(others, pool, region) and not _proven_region(others, pool, region):
        return "another region is drained already and no remaining one is proven healthy"
    return ""


def _last_node(others: Mapping[str, NodeState]) -> str:
    idle = [f"{n} (drained by {s.operator})" for n, s in others.items() if s.operator and s.verdict is Verdict.HEALTHY]
    return "it is the last serving node" + (f"; healthy but not serving: {', '.join(idle)}" if idle else "")


def _drained_regions(others: Mapping[str, NodeState], pool: Pool, region: str) -> bool:
    """Some other region has been emptied, not only by operators."""
    elsewhere = {n: s for n, s in others.items() if pool.regions[n] != region}
    serving = {pool.regions[n] for n, s in elsewhere.items() if s.serves}
    return any(pool.regions[n] not in serving and not s.operator for n, s in elsewhere.items())


def _proven_region(others: Mapping[str, NodeState], pool: Pool, region: str) -> bool:
    """Some other region serves, with every node of it that serves proven healthy."""
    serving = {n: s for n, s in others.items() if s.serves and pool.regions[n] != region}
    doubtful = {pool.regions[n] for n, s in serving.items() if s.verdict is not Verdict.HEALTHY}
    return any(pool.regions[n] not in doubtful for n in serving)


def _drain(name: str, nodes: Nodes, judgement: Judgement, pool: Pool) -> Decision:
    state, policy = nodes[name], pool.policy
    offences = min(state.offences + 1, policy.offences_max)
    hold_s = policy.hold_s(offences)
    known = {**figures(name, judgement, pool), "offences": offences, "hold_s": hold_s}
    reason = f"{name} drained: {accusation(known)}"
    nodes[name] = replace(
        state,
        phase=Phase.DRAINED,
        weight_percent=0,
        reason=reason,
        offences=offences,
        hold_left_s=hold_s,
        good_s=0.0,
        held="",
    )
    return Decision(name, Action.DRAIN, 0, reason, known, urgent=True)


def _return(nodes: Nodes, policy: TrafficPolicy) -> list[Decision]:
    """Nodes proven healthy after their hold take users again, few at first."""
    decisions = []
    for name, state in nodes.items():
        if state.operator or state.verdict is not Verdict.HEALTHY:
            continue
        due = state.phase is Phase.DRAINED and state.hold_left_s == 0.0
        if due or (state.phase is Phase.RETURNING and state.step_s >= policy.ramp_step_s):
            decisions.append(_step_up(name, nodes, policy))
    return decisions


def _step_up(name: str, nodes: Nodes, policy: TrafficPolicy) -> Decision:
    state = nodes[name]
    percent = next(p for p in policy.ramp_percent if p > state.weight_percent)
    whole = percent == policy.ramp_percent[-1]
    reason = f"{name} serves again" if whole else f"{name} returning at {percent} %: healthy after its hold"
    nodes[name] = replace(
        state,
        phase=Phase.SERVING if whole else Phase.RETURNING,
        weight_percent=percent,
        step_s=0.0,
        good_s=0.0,
        reason=reason,
    )
    return Decision(name, Action.SET_WEIGHT, percent, reason, {"offences": state.offences})
