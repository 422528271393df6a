"""What the calendar judges by: runs, freezes, and what keeps each occurrence that could start now from starting."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from siaga.controller.calendar_ports import Runs, Senses
from siaga.controller.freeze_watch import FreezeWatch
from siaga.controller.levers import Levers
from siaga.errors import SiagaError
from siaga.runbooks.appointments import Appointment, Occurrence
from siaga.runbooks.calendar import Facts, Hold, run_of
from siaga.runbooks.calendar_memory import Memory
from siaga.runbooks.conditions import Conditions, hold
from siaga.runbooks.low_traffic import Level, Traffic


class Observer:
    """Asks everybody; only the journal has to answer, since nobody may suppose that nothing ran."""

    def __init__(self, runs: Runs, levers: Levers, freezes: FreezeWatch, senses: Senses) -> None:
        self._runs = runs
        self._levers = levers
        self._freezes = freezes
        self._senses = senses

    async def facts(self, occurrences: Sequence[Occurrence], memory: Memory, now: datetime) -> Facts:
        """The facts of this moment; Unreachable when the journal does not answer."""
        open_now = [o for o in occurrences if o.id not in memory.settled and o.opening.begin <= now]
        since = min((o.opening.begin for o in open_now), default=now)
        runs = await self._runs.seen([o.id for o in open_now], since) if open_now else ()
        startable = [o for o in open_now if now <= o.opening.last_start and run_of(o, runs) is None]
        holds = {o.appointment.name: await self._hold(o, memory, now) for o in startable}
        return Facts(
            settled=memory.settled,
            held=memory.held,
            runs=runs,
            freezes=self._freezes.freezes,
            freezes_known_since=memory.freezes,
            holds={name: found for name, found in holds.items() if found is not None},
        )

    async def _hold(self, occurrence: Occurrence, memory: Memory, now: datetime) -> Hold | None:
        appointment = occurrence.appointment
        return hold(
            Conditions(
                clause=appointment.clause,
                mode=self._levers.mode(appointment.clause),
                halted=self._levers.halted,
                freezes_unreadable=self._freezes.unreadable,
                traffic=await self._traffic(occurrence, now) if appointment.only_at_low_traffic else None,
                other=await self._other(appointment),
                allowed_by=memory.allowed.get(occurrence.id, ""),
            )
        )

    async def _traffic(self, occurrence: Occurrence, now: datetime) -> Traffic:
        try:
            return await self._senses.traffic(occurrence.opening, occurrence.appointment.window.zone, now)
        except SiagaError as error:
            return Traffic(Level.UNKNOWN, error.message, {})

    async def _other(self, appointment: Appointment) -> str:
        try:
            return await self._senses.other(appointment)
        except SiagaError as error:
            return f"its conditions could not be determined: {error.message}"
