"""May the traffic loop do what it decided: the lever, the clause's mode, a person's yes; and the record before it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import structlog

from siaga.controller.approvals import Approvals
from siaga.controller.levers import Levers
from siaga.evidence.model import Evidence, Record
from siaga.sop.advice import Advice, Deed
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import AUTOMATIC, Kind, Permission, permits
from siaga.traffic.model import Decision

_log = structlog.get_logger()
_CLAUSE = ClauseId.ZDT_1_1A


class TrafficAuthority:
    """Decisions 3, 4 and 21 for ZDT-1.1a."""

    def __init__(self, levers: Levers, approvals: Approvals, evidence: Evidence) -> None:
        self._levers = levers
        self._approvals = approvals
        self._evidence = evidence

    async def objection(self, decision: Decision) -> str:
        """Why the controller may not carry it out by itself now; empty when it may."""
        mode = self._levers.mode(_CLAUSE)
        permission = permits(mode, self._levers.halted, Kind.ACT)
        if permission is Permission.HELD:
            return f"halted, {self._levers.halted}"
        if permission is Permission.ACT:
            return ""
        if permission is Permission.ASK:
            what = f"{_deed(decision)} {decision.node}"
            if self._approvals.allowed(what, _CLAUSE, decision.reason):
                return ""
            return f'waits for a yes: `siaga approvals give "{what}"`'
        if permission is Permission.ADVISE:
            await self._levers.advise(
                Advice(
                    id=uuid.uuid4().hex[:12],
                    clause=_CLAUSE,
                    decision=_deed(decision),
                    target=decision.node,
                    at=datetime.now(UTC),
                    reason=decision.reason,
                )
            )
        return f"{_CLAUSE} is in mode `{mode}`"

    async def record(self, decision: Decision, actor: str) -> None:
        """Write it down before it is done; Unrecorded when that is impossible and the decision is not urgent."""
        record = Record(f"traffic.{decision.action}", actor, _CLAUSE, decision.reason, dict(decision.figures))
        if decision.urgent:
            await self._evidence.append_exempt(record)
        else:
            await self._evidence.append(record)
        _log.info(decision.reason, kind=record.kind, actor=actor, clause=str(_CLAUSE))
        if actor not in AUTOMATIC:
            await self._levers.did(Deed(_CLAUSE, _deed(decision), decision.node, actor, datetime.now(UTC)))


def _deed(decision: Decision) -> str:
    """In the words of the commands by which people do the same."""
    return "restore" if decision.weight_percent else "drain"
