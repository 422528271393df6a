"""The engine as the calendar sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from siaga.errors import BadInput
from siaga.runbooks.calendar import RunSeen
from siaga.runbooks.engine import Engine
from siaga.runbooks.model import Manner
from siaga.runbooks.order import CONTROLLER
from siaga.runbooks.run import Outcome


class EngineRuns:
    """Starts, finds and turns back real runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def seen(self, ids: Collection[str], since: datetime) -> tuple[RunSeen, ...]:
        """The real runs of these ids, whenever they were, and every other one that began since then."""
        lines = {line["id"]: line for line in await self._engine.runs()}
        for run in ids:
            # The list holds the newest ones only.
            if run not in lines:
                try:
                    lines[run] = await self._engine.show(run)
                except BadInput:
                    continue
        found = (_seen(line) for line in lines.values() if line.get("manner") == Manner.REAL)
        return tuple(run for run in found if run.id in ids or run.began_at >= since)

    async def start(self, runbook: str, parameters: Mapping[str, Any], *, key: str, reason: str) -> None:
        """Begin the run whose id is `key`; nothing if it exists already."""
        await self._engine.start(runbook, parameters, requester=CONTROLLER, reason=reason, run=key)

    async def cancel(self, run: str, *, reason: str) -> None:
        """Turn a run back; Refused when it can't go back any more."""
        await self._engine.cancel(run, CONTROLLER, reason)


def _seen(line: Mapping[str, Any]) -> RunSeen:
    ended_at = line["ended_at"]
    return RunSeen(
        id=line["id"],
        runbook=line["runbook"],
        began_at=datetime.fromisoformat(line["requested_at"]),
        ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
        done=line["state"] == Outcome.DONE,
        outcome=f"{line['state']}: {line['why']}" if line["why"] else line["state"],
    )
