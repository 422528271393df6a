"""Writes down how the clauses stand, so that a month that is over can still be told (SUM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from siaga.evidence.model import Evidence
from siaga.reports import standings
from siaga.reports.standings import Pace
from siaga.sop.adherence import Standing


class StandingRecords:
    """Records all standings at every change, and at least every hour; one pass every few seconds."""

    def __init__(self, evidence: Evidence, look: Callable[[datetime], Sequence[Standing]]) -> None:
        """`look` gives every clause as it stands at a moment (`sop.adherence.standings`)."""
        self._evidence = evidence
        self._look = look
        self._pace = Pace()

    async def run_pass(self, now: datetime) -> None:
        """Look, and record when it is time; Unrecorded leaves it to the next pass, with nothing forgotten."""
        self._pace = self._pace.seeing(self._look(now))
        if self._pace.due(now):
            await self._evidence.append(standings.record(self._pace.seen))
            self._pace = self._pace.done(now)
