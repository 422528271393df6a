"""What loops want to do and a person has to allow first: clauses in mode `approve` (decision 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from siaga.errors import BadInput
from siaga.evidence.model import Evidence, Record
from siaga.sop.clauses import ClauseId

WANTED_S = 10.0
"""What no pass has asked for in this time is not wanted any more."""
YES_VALID_S = 60.0
"""A yes is to what is wanted now, and to its next steps; then the world has moved on."""


@dataclass
class _Wanted:
    clause: ClauseId
    reason: str
    since: str
    asked_s: float
    yes_s: float | None = None


class Approvals:
    """One per controller. Forgotten at its end: whatever is still wanted is asked for again."""

    def __init__(self, evidence: Evidence, clock: Callable[[], float] = time.monotonic) -> None:
        self._evidence = evidence
        self._clock = clock
        self._wanted: dict[str, _Wanted] = {}

    def allowed(self, what: str, clause: ClauseId, reason: str) -> bool:
        """Whether a person said yes to `what` just now; asks for it otherwise. Asked again in every pass."""
        now_s = self._clock()
        wanted = self._wanted.get(what)
        if wanted is None or now_s - wanted.asked_s > WANTED_S:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            wanted = self._wanted[what] = _Wanted(clause, reason, since, now_s)
        wanted.asked_s = now_s
        return wanted.yes_s is not None and now_s - wanted.yes_s <= YES_VALID_S

    async def allow(self, what: str, actor: str, reason: str) -> None:
        """A person's yes; recorded before it counts. BadInput for what nobody wants."""
        if what not in self._open():
            known = ", ".join(self._open()) or "nothing"
            raise BadInput(
                f"`{what}` does not wait for a yes, what waits is: {known}", hint="`siaga approvals` lists it."
            )
        wanted = self._wanted[what]
        words = f"{what} allowed: {reason}" if reason else f"{what} allowed"
        await self._evidence.append(Record("approval.given", actor, wanted.clause, words, {"asked": wanted.reason}))
        wanted.yes_s = self._clock()

    def show(self) -> list[dict[str, Any]]:
        """What waits."""
        return [
            {"what": what, "clause": str(wanted.clause), "since": wanted.since, "reason": wanted.reason}
            for what, wanted in self._open().items()
            if wanted.yes_s is None
        ]

    def _open(self) -> dict[str, _Wanted]:
        now_s = self._clock()
        return {what: wanted for what, wanted in self._wanted.items() if now_s - wanted.asked_s <= WANTED_S}
