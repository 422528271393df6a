"""`health-check` (PMT): the weekly look at everything that fails slowly, as a run whose results are in the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from siaga.health.model import ASKS_NOTHING, Reading
from siaga.health.service import HealthService, document, line
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Runbook, Step
from siaga.sop.clauses import ClauseId

NAME = "health-check"
CHECK_DEADLINE_S = 300.0


def runbook(service: HealthService) -> Runbook:
    """Two steps, neither of which changes anything. What could not be read is in the results, and fails no run."""

    async def check(context: Context) -> Document | None:
        context.say("reading disks, certificates, clocks, versions, slots and head-room")
        return _summary(await service.check(datetime.now(UTC)))

    async def scrub(context: Context) -> Document | None:
        context.say("walking gently through the data of every database server")
        return _summary(await service.scrub(datetime.now(UTC)))

    return Runbook(
        name=NAME,
        clause=ClauseId.PMT,
        summary="Reads what fails before it fails, each against its limit and trend, and walks gently through the data",
        steps=(
            Step("read what wears out", check, NOTHING_TO_UNDO, CHECK_DEADLINE_S),
            # Each server's walk has a deadline of its own inside: this one is for a service that hangs.
            Step("scrub the data", scrub, NOTHING_TO_UNDO, service.scrub_deadline_s + 60.0, attempts_max=1),
        ),
        alone=NAME,
    )


def _summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """For the journal and the evidence: the counts, every value, and in words what somebody has to act on."""
    whole = document(readings)
    return {
        "verdict": whole["verdict"],
        "counts": whole["counts"],
        "values": {f"{r.observation.kind} {r.observation.subject}": r.observation.value for r in readings},
        "to_act_on": [line(r) for r in readings if r.verdict not in ASKS_NOTHING],
    }
