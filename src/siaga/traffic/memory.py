"""Node states as JSON and back: they outlive the controller, its clock and a site file that changed (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from siaga.errors import BadInput
from siaga.traffic.model import NodeState, Phase, States, TrafficPolicy

_FIELDS = ("phase", "weight_percent", "operator", "reason", "offences", "hold_left_s", "step_s", "good_s")


def to_document(states: States) -> dict[str, object]:
    """What must survive a restart: no samples, no points in time, no verdicts."""
    return {
        "version": 1,
        "nodes": {name: {field: getattr(state, field) for field in _FIELDS} for name, state in states.nodes.items()},
    }


def from_document(document: object, policy: TrafficPolicy) -> States:
    """The states of `to_document`; a hold is never longer than the policy allows, whoever wrote it."""
    try:
        if not isinstance(document, Mapping) or document["version"] != 1:
            raise ValueError("found no document of version 1")
        return States(nodes={str(name): _node(entry, policy) for name, entry in document["nodes"].items()})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"traffic states are not readable: {error!r}, expected what `to_document` wrote",
            hint="Move the file away: every node then starts as serving, and is judged afresh.",
        ) from error


def _node(entry: Mapping[str, Any], policy: TrafficPolicy) -> NodeState:
    phase, percent = Phase(entry["phase"]), int(entry["weight_percent"])
    fits = {
        Phase.SERVING: percent == policy.ramp_percent[-1],
        Phase.DRAINED: percent == 0,
        Phase.RETURNING: percent in policy.ramp_percent[:-1],
    }
    if not fits[phase]:
        raise ValueError(f"weight of {percent} % does not fit a node that is {phase}")
    return NodeState(
        phase=phase,
        weight_percent=percent,
        operator=str(entry["operator"]),
        reason=str(entry["reason"]),
        offences=min(policy.offences_max, max(0, int(entry["offences"]))),
        hold_left_s=_seconds(entry["hold_left_s"], policy.hold_s_max),
        step_s=_seconds(entry["step_s"], policy.ramp_step_s),
        good_s=_seconds(entry["good_s"], policy.offence_decay_s),
    )


def _seconds(value: object, most_s: float) -> float:
    seconds = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"found {value!r}, expected seconds")
    return min(most_s, max(0.0, seconds))
