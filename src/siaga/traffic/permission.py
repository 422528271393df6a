"""What becomes of the states when a decision may not be carried out (pure; decisions 3, 4 and 21)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from siaga.traffic.model import NodeState, States, Verdict


def withhold(before: States, after: States, refusals: Mapping[str, str]) -> States:
    """The states of `after`, but nodes in `refusals` (each with why) stand where they stood; they are still judged."""
    kept = {
        node: _kept(before.nodes.get(node) or NodeState(), after.nodes[node], why) for node, why in refusals.items()
    }
    return replace(after, nodes={**after.nodes, **kept}) if kept else after


def _kept(was: NodeState, would: NodeState, why: str) -> NodeState:
    return replace(
        was,
        verdict=would.verdict,
        excused_s=would.excused_s,
        # A hold that ran out stays so, or the node would sit it out again.
        hold_left_s=min(was.hold_left_s, would.hold_left_s),
        held="" if would.verdict is Verdict.HEALTHY else why,
    )
