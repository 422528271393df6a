"""The calendar's loop: look at both clocks, judge every expected occurrence, start, stop, record.

Kill it anywhere: a run bears the id of its occurrence, so a start that nobody wrote down is found in the journal and
never repeated, and what was recorded is folded again from the evidence (`runbooks/calendar_memory.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from siaga.controller.calendar_facts import Observer
from siaga.controller.calendar_ports import Runs, Senses
from siaga.controller.freeze_watch import FreezeWatch
from siaga.controller.levers import Levers
from siaga.errors import BadInput, Refused, SiagaError
from siaga.evidence.model import Evidence, Record, Unrecorded
from siaga.runbooks import calendar_memory as records
from siaga.runbooks.appointments import Appointment, Occurrence, expected
from siaga.runbooks.calendar import TERMINAL, Facts, Hold, State, Verdict, judge, local, past_hard_stop
from siaga.runbooks.calendar_memory import Kind, Memory, recall, remember
from siaga.runbooks.order import CONTROLLER
from siaga.runbooks.wall_clock import Disturbance, Reading, WallClock
from siaga.site.wording import nearest
from siaga.sop.advice import Advice, Deed
from siaga.sop.modes import Mode, demand_person, demand_reason

_log = structlog.get_logger()

START_DEADLINE_S = 10.0
START_AGAIN_S = 5.0
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
"""Older than this program: a clock that was never set must not make fifty years of missed windows."""
RECALL_AGAIN_S = 10.0
"""All of the evidence is read then, which takes seconds where it is long."""
NEAR = timedelta(days=1)
"""So far ahead each pass looks: for what a clock that was ahead has settled already."""
ALLOWED_AHEAD = timedelta(weeks=5)
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class CalendarService:
    """Sees to it that every window has its run, or a reason why not."""

    def __init__(
        self,
        appointments: Sequence[Appointment],
        *,
        evidence: Evidence,
        runs: Runs,
        levers: Levers,
        freezes: FreezeWatch,
        senses: Senses,
    ) -> None:
        self._wanted = {appointment.name: appointment for appointment in appointments}
        self._evidence = evidence
        self._runs = runs
        self._levers = levers
        self._freezes = freezes
        self._senses = senses
        self._observer = Observer(runs, levers, freezes, senses)
        self._memory: Memory | None = None
        self._clock: WallClock | None = None
        self._disturbances: deque[Disturbance] = deque()
        self._open_since = _BEGINNING
        self._troubles: dict[str, str] = {}
        self._start_again_s: dict[str, float] = {}
        self._recall_again_s = float("-inf")
        self._turn = asyncio.Lock()

    async def run_pass(self) -> None:
        """Look once. What could not be recorded is decided again in the next pass."""
        async with self._turn:
            now = self._look()
            await self._levers.keep()
            if self._memory is None and now.monotonic_s < self._recall_again_s:
                raise Unrecorded("the evidence was not to be written a moment ago", hint="`siaga status` says why.")
            self._recall_again_s = now.monotonic_s + RECALL_AGAIN_S
            memory = await self._recalled(now.wall)
            await self._tell_disturbances()
            if self._doubted(now):
                return
            await self._see_freezes(now)
            occurrences = expected(memory.tenures, self._open_since, now.wall + NEAR)
            facts = await self._facts(occurrences, now.wall)
            verdicts = judge(occurrences, facts, now.wall)
            await self._carry_out(verdicts, facts, now)
            still_open = (v.occurrence.opening.begin for v in verdicts if v.state not in TERMINAL)
            self._open_since = min(still_open, default=now.wall)

    async def allow(self, occurrence_id: str, *, actor: str, reason: str) -> None:
        """A person's yes to one occurrence, before or in its window; Refused when it is over."""
        demand_person(actor, "allow")
        reason = demand_reason(reason, "allow")
        async with self._turn:
            now = self._senses.clocks().wall
            memory = await self._recalled(now)
            coming = {o.id: o for o in expected(memory.tenures, now - timedelta(days=2), now + ALLOWED_AHEAD)}
            occurrence = coming.get(occurrence_id)
            if occurrence is None:
                advice = nearest(occurrence_id, coming)
                raise BadInput(
                    f"`{occurrence_id}` is not expected in the next {ALLOWED_AHEAD.days} days{advice}",
                    hint="`siaga calendar` lists every expected occurrence.",
                )
            if occurrence_id in memory.settled or now > occurrence.opening.last_start:
                raise Refused(
                    f"{occurrence_id}: its last start is over", hint="`siaga calendar` names the next window."
                )
            await self._record(records.allowed(occurrence, actor, reason))

    async def verdicts(self, back: timedelta, ahead: timedelta) -> tuple[Verdict, ...]:
        """How every occurrence stands, from so far back to so far ahead."""
        async with self._turn:
            now = self._senses.clocks().wall
            memory = await self._recalled(now)
            occurrences = expected(memory.tenures, now - back, now + ahead)
            return judge(occurrences, await self._facts(occurrences, now), now)

    def forget(self) -> None:
        """Read the evidence again in the next pass: another controller may have written to it."""
        self._memory = None
        self._recall_again_s = float("-inf")
        self._open_since = _BEGINNING

    @property
    def doubts(self) -> str:
        """Why nothing is judged or started at this moment; empty when all is well."""
        if self._clock is not None and self._doubted(self._clock.last):
            return "the wall clock can't be believed: it was set a moment ago, or never"
        return f"the change calendar can't be read: {self._freezes.unreadable}" if self._freezes.unreadable else ""

    # Look ----------------------------------------------------------------------------------------------

    def _look(self) -> Reading:
        now = self._senses.clocks()
        if self._clock is None:
            self._clock = WallClock(now, watching_since=now.wall)
            return now
        self._clock, disturbance = self._clock.look(now)
        if disturbance is not None:
            self._disturbances.append(disturbance)
            # What was settled may be open again.
            self._open_since = _BEGINNING
        return now

    def _doubted(self, now: Reading) -> bool:
        return now.wall < EARLIEST or (self._clock is not None and self._clock.doubted)

    async def _recalled(self, now: datetime) -> Memory:
        """The memory, from the evidence at the first pass, with the appointments that the site wants today."""
        if self._memory is None:
            self._memory = recall(await self._senses.history())
        if now < EARLIEST:
            return self._memory
        for appointment in self._wanted.values():
            if not self._memory.expects(appointment, now):
                await self._record(records.appointed(appointment, now))
        for name, appointment in self._memory.appointments.items():
            if name not in self._wanted:
                await self._record(records.appointed(appointment, now, dismissed=True))
        return self._memory

    async def _see_freezes(self, now: Reading) -> None:
        await self._freezes.look(now.wall, now.monotonic_s)
        assert self._memory is not None
        for freeze in self._freezes.freezes:
            if freeze.key not in self._memory.freezes and freeze.end > now.wall:
                await self._record(records.freeze_seen(freeze, now.wall))

    async def _facts(self, occurrences: Sequence[Occurrence], now: datetime) -> Facts:
        assert self._memory is not None
        found = await self._observer.facts(occurrences, self._memory, now)
        since = self._clock.watching_since if self._clock is not None else now
        return replace(found, troubles=self._troubles, watching_since=since)

    # Act and record ------------------------------------------------------------------------------------

    async def _carry_out(self, verdicts: Iterable[Verdict], facts: Facts, now: Reading) -> None:
        """One occurrence after the other; the trouble of one keeps no other from its turn."""
        troubles: list[Exception] = []
        for verdict in verdicts:
            if self._memory is None:
                break
            try:
                await self._carry_out_one(verdict, facts, now)
            except Exception as error:  # noqa: BLE001 (told below, after the others had their turn)
                troubles.append(error)
        if troubles:
            raise troubles[0]

    async def _carry_out_one(self, verdict: Verdict, facts: Facts, now: Reading) -> None:
        occurrence, state = verdict.occurrence, verdict.state
        settled = facts.settled.get(occurrence.id)
        if settled is not None:
            if state not in TERMINAL:
                await self._record(records.withdrawn(occurrence, settled))
            return
        if state in TERMINAL:
            await self._settle(verdict, now)
        elif state is State.HELD:
            await self._held(occurrence, facts.holds[occurrence.appointment.name])
        elif state is State.DUE:
            await self._start(verdict, now)
        elif state is State.TOO_LATE:
            await self._record_once(records.judged(verdict, now.wall))
        elif past_hard_stop(verdict, now.wall) and not self._was_told(Kind.HARD_STOP, occurrence):
            await self._stop(verdict)

    async def _settle(self, verdict: Verdict, now: Reading) -> None:
        await self._record(records.judged(verdict, now.wall))
        if verdict.run and verdict.run != verdict.occurrence.id:
            # A person ran it: the answer to an advice that may be open.
            await self._levers.did(_deed(verdict, now.wall))

    async def _held(self, occurrence: Occurrence, found: Hold) -> None:
        assert self._memory is not None
        known = self._memory.held.get(occurrence.id)
        if known is None or known.rule != found.rule:
            await self._record(records.held(occurrence, found))
        if self._levers.mode(occurrence.appointment.clause) is Mode.ADVISE:
            await self._levers.advise(_advice(occurrence, self._senses.clocks().wall))

    async def _start(self, verdict: Verdict, now: Reading) -> None:
        occurrence = verdict.occurrence
        assert self._memory is not None
        if now.monotonic_s < self._start_again_s.get(occurrence.id, 0.0):
            return
        if occurrence.id in self._memory.held:
            await self._record(records.held(occurrence, None))
        await self._record_once(records.judged(verdict, now.wall))
        appointment, opening = occurrence.appointment, occurrence.opening
        left_s = (opening.last_start - self._senses.clocks().wall).total_seconds()
        if left_s < 0:
            return
        self._start_again_s[occurrence.id] = now.monotonic_s + START_AGAIN_S
        reason = f"{appointment.clause}: {appointment.window}"
        try:
            # Without an answer it may have begun or not: the next pass finds it in the journal by its id, or begins it.
            async with asyncio.timeout(min(START_DEADLINE_S, max(left_s, 0.5))):
                await self._runs.start(appointment.runbook, appointment.parameters, key=occurrence.id, reason=reason)
        except TimeoutError:
            self._troubles[occurrence.id] = "the engine did not answer in time"
        except SiagaError as error:
            self._troubles[occurrence.id] = error.message
            _log.error("could not be started", occurrence=occurrence.id, why=error.message)

    async def _stop(self, verdict: Verdict) -> None:
        opening, zone = verdict.occurrence.opening, verdict.occurrence.appointment.window.zone
        reason = f"hard stop of its window, {local(opening.hard_stop, zone)}"
        try:
            await self._runs.cancel(verdict.run, reason=reason)
            outcome = "it was told to go back"
        except Refused as error:
            outcome = f"it can't go back, people have to look: {error.message}"
        await self._record(records.hard_stop(verdict, outcome))

    async def _tell_disturbances(self) -> None:
        while self._disturbances:
            told = self._disturbances[0]
            figures = {"jump_s": round(told.jump_s, 3), "gap_s": round(told.gap_s, 3)}
            await self._record(Record(Kind.CLOCK, CONTROLLER, "", told.reason, {"kind": told.kind, **figures}))
            self._disturbances.popleft()

    def _was_told(self, kind: str, occurrence: Occurrence) -> bool:
        assert self._memory is not None
        return (kind, occurrence.id) in self._memory.told

    async def _record_once(self, record: Record) -> None:
        assert self._memory is not None
        if (record.kind, record.figures["occurrence"]) not in self._memory.told:
            await self._record(record)

    async def _record(self, record: Record) -> None:
        """Durable first, remembered then."""
        assert self._memory is not None
        try:
            await self._evidence.append(record)
        except BaseException:
            # It may have got there all the same (a disk that hung, a pass that was cancelled): the evidence will tell.
            self._memory, self._open_since = None, _BEGINNING
            raise
        self._memory = remember(self._memory, record)
        _log.info(record.reason, kind=record.kind, actor=record.actor, clause=record.clause)


def _advice(occurrence: Occurrence, now: datetime) -> Advice:
    appointment = occurrence.appointment
    return Advice(
        id=occurrence.id,
        clause=appointment.clause,
        decision="start",
        target=occurrence.id,
        at=now,
        reason=f"start {appointment.runbook}: {appointment.window}",
        time_limit=max(timedelta(0), occurrence.opening.end - now),
    )


def _deed(verdict: Verdict, now: datetime) -> Deed:
    return Deed(verdict.occurrence.appointment.clause, "start", verdict.occurrence.id, f"run {verdict.run}", now)
