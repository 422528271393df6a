"""What the ledger says after a drill: nothing acknowledged lost, nothing doubled, the books balanced."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from siaga.drills import judge
from siaga.drills.model import Check, Figure
from siaga.drills.scene import Scene

PROOF_DEADLINE_S = 60.0


async def proven(scene: Scene) -> dict[str, Figure]:
    """End the load, and compare every acknowledgement of the drill with the ledger."""
    await scene.finish()
    proof = await asyncio.wait_for(scene.prove(), PROOF_DEADLINE_S)
    return {
        "acknowledged": proof.acknowledged,
        "lost": proof.lost,
        "doubled": proof.doubled,
        "balances_wrong": proof.balances_wrong,
        "sum_of_balances": proof.sum_of_balances,
    }


def ledger_checks(figures: Mapping[str, Figure]) -> tuple[Check, ...]:
    """Every count is zero, and there was something to count."""
    checks = [judge.exactly(figures, name, 0, "compared with the ledger") for name in ("lost", "doubled")]
    checks += [judge.exactly(figures, name, 0, "double entry") for name in ("balances_wrong", "sum_of_balances")]
    written = figures.get("acknowledged") or 0
    any_written = judge.exactly(figures, "acknowledged", written, "at least one write compared")
    return (*checks, replace(any_written, holds=written > 0))
