"""Runs the real calendar service through a scenario, and watches what must always hold."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from siaga.controller.calendar_ports import Senses
from siaga.controller.calendar_service import CalendarService
from siaga.controller.freeze_watch import FreezeWatch
from siaga.controller.levers import Levers, ModeRules
from siaga.errors import SiagaError
from siaga.runbooks.appointments import Appointment, Occurrence
from siaga.runbooks.calendar import may_start_by_hand
from siaga.runbooks.freezes import Freeze
from siaga.runbooks.low_traffic import Level, Traffic
from siaga.runbooks.wall_clock import Reading
from siaga.runbooks.windows import Opening
from siaga.simulation.calendar.scenario import Fault, Kind, Scenario
from siaga.simulation.calendar.stores import EvidenceBox, Fate, JournalBox, Killed

STEP_S, SLOW_STEP_S = 3.0, 20.0
HOT_S = 40.0
"""Around everything that happens the controller is run second by second, or nearly so."""
RESTART_S = 8.0
OWED_S = 30.0
TERMINAL = ("calendar.done", "calendar.undone", "calendar.skipped", "calendar.missed")


@dataclass
class Report:
    """What came of a world."""

    breaches: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """Occurrences by the kind of their terminal record."""
    passes: int = 0
    kills: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)


class World:
    """One controller after another over the same evidence and journal."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self._scenario = scenario
        self._directory = directory
        self._true_s = scenario.begin.timestamp()
        self._fate = Fate()
        self._random = Random(scenario.seed + 1)  # noqa: S311 (a world is drawn, not a secret)
        self._evidence = EvidenceBox(self._fate, self._random, lambda: self._true_s)
        self._journal = JournalBox(self._fate, self._random, lambda: (self._true_s, self._wall))
        self._journal.minutes = scenario.run_minutes
        self._levers: Levers | None = None
        self._service: CalendarService | None = None
        self._alive_again_s = 0.0
        self._pending = list(scenario.faults)
        self._hands = 0
        self.report = Report()

    # Time ----------------------------------------------------------------------------------------------

    @property
    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._true_s + self._offset_s(self._true_s), UTC)

    def _offset_s(self, true_s: float) -> float:
        ahead_s = 0.0
        for fault in self._scenario.faults:
            if fault.kind is Kind.CLOCK and fault.begin_s <= true_s < fault.end_s:
                ahead_s += fault.amount
            if fault.kind is Kind.PAUSED and fault.end_s <= true_s < fault.end_s + fault.amount:
                ahead_s -= fault.end_s - fault.begin_s
        return ahead_s

    def _monotonic_s(self) -> float:
        paused = (f for f in self._scenario.faults if f.kind is Kind.PAUSED)
        return self._true_s - sum(max(0.0, min(f.end_s, self._true_s) - f.begin_s) for f in paused)

    def _moments(self) -> Iterator[float]:
        """When to look: often around everything that happens, now and then inside windows, else not at all."""
        hot = sorted({*self._boundaries(), *(s for f in self._scenario.faults for s in (f.begin_s, f.end_s))})
        windows = [
            (o.begin.timestamp() - HOT_S, o.end.timestamp() + 600)
            for a in self._scenario.appointments
            for o in a.window.openings(self._scenario.begin, self._scenario.end)
        ]
        spans = sorted([(at_s - HOT_S, at_s + HOT_S, STEP_S) for at_s in hot] + [(*w, SLOW_STEP_S) for w in windows])
        end_s, moment_s = self._scenario.end.timestamp(), self._scenario.begin.timestamp()
        for begin_s, until_s, step_s in _merged(spans):
            moment_s = max(moment_s, begin_s)
            while moment_s < min(until_s, end_s):
                yield moment_s
                moment_s += step_s

    def _boundaries(self) -> Iterator[float]:
        offsets = {0.0, *(f.amount for f in self._scenario.faults if f.kind is Kind.CLOCK)}
        for appointment in self._scenario.appointments:
            for opening in appointment.window.openings(self._scenario.begin, self._scenario.end):
                for moment in (opening.begin, opening.last_start, opening.hard_stop, opening.end):
                    at_s = moment.timestamp()
                    yield from (at_s - o for o in offsets if o == 0.0 or self._offset_s(at_s - o) == o)

    # Life ----------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """From the first moment to the last."""
        asyncio.run(self._live())
        self._judge_ends()
        self.report.documents = self._evidence.documents
        return self.report

    async def _live(self) -> None:
        for moment_s in self._moments():
            self._true_s = moment_s
            try:
                await self._happen()
                if not self._away(moment_s):
                    await self._pass()
            except Killed:
                self.report.kills += 1
                self._service = self._levers = None
                self._alive_again_s = moment_s + RESTART_S

    async def _pass(self) -> None:
        if self._service is None:
            self._service = self._born()
        self.report.passes += 1
        # A pass that fails is followed by the next, as in the controller's loop.
        with suppress(SiagaError):
            await self._service.run_pass()

    def _away(self, moment_s: float) -> bool:
        """Whether no controller acts now; one that is dead is another one afterwards."""
        if moment_s < self._alive_again_s:
            return True
        kinds = {f.kind for f in self._scenario.faults if f.begin_s <= moment_s < f.end_s}
        if Kind.DEAD in kinds:
            self._service = self._levers = None
        return bool(kinds & {Kind.DEAD, Kind.STOPPED, Kind.PAUSED})

    async def _happen(self) -> None:
        active = {f.kind: f for f in self._scenario.faults if f.begin_s <= self._true_s < f.end_s}
        self._fate.evidence_fails = Kind.EVIDENCE in active
        self._fate.journal_fails = Kind.JOURNAL in active
        self._fate.start_fails = 0.7 if Kind.START in active else 0.0
        while self._pending and self._pending[0].begin_s <= self._true_s:
            await self._befall(self._pending.pop(0))
        if self._levers is not None and self._levers.halted and Kind.HALT not in active:
            with suppress(SiagaError):
                await self._levers.resume("ani", "looked at it")

    async def _befall(self, fault: Fault) -> None:
        if fault.kind is Kind.DIES:
            self._fate.writes_left = int(fault.amount)
        if self._levers is None or self._service is None or self._away(self._true_s):
            return
        # A person's word meets a full disk like everybody else's.
        with suppress(SiagaError):
            if fault.kind is Kind.HALT:
                await self._levers.halt("ani", "figures look wrong")
            elif fault.kind is Kind.FREEZE:
                begin = self._wall
                end = datetime.fromtimestamp(begin.timestamp() + fault.end_s - fault.begin_s, UTC)
                await self._levers.freeze(Freeze(begin, end, "stock-taking", "ani"))
            elif fault.kind is Kind.ALLOW:
                for occurrence in await self._coming():
                    await self._service.allow(occurrence.id, actor="budi", reason="board")
            elif fault.kind is Kind.BY_HAND:
                self._by_hand()

    async def _coming(self) -> list[Occurrence]:
        now, found = self._wall, []
        for appointment in self._scenario.appointments:
            for opening in appointment.window.openings(*_around(now)):
                if now <= opening.last_start:
                    found.append(Occurrence(appointment, opening))
        return found

    def _by_hand(self) -> None:
        assert self._levers is not None
        for appointment in self._scenario.appointments:
            refused = may_start_by_hand(
                self._scenario.appointments, self._levers.freezes, appointment.runbook, self._wall
            )
            if not refused and not self._journal.is_busy(appointment.runbook) and not self._ran(appointment):
                self._hands += 1
                self._journal.begin(f"hand-{self._hands}", appointment.runbook)

    def _ran(self, appointment: Appointment) -> bool:
        openings = [o for o in appointment.window.openings(*_around(self._wall)) if o.begin <= self._wall < o.end]
        return any(
            b.run.runbook == appointment.runbook and o.begin <= b.wall < o.end
            for o in openings
            for b in self._journal.began
        )

    def _born(self) -> CalendarService:
        rules = ModeRules(default=self._scenario.mode)
        self._levers = Levers(self._directory / "levers.json", self._evidence, rules, lambda: self._wall)
        return CalendarService(
            self._scenario.appointments,
            evidence=self._evidence,
            runs=self._journal,
            levers=self._levers,
            freezes=FreezeWatch((), lambda: self._levers.freezes if self._levers else ()),
            senses=Senses(
                clocks=lambda: Reading(self._wall, self._monotonic_s()),
                history=self._evidence.history,
                traffic=self._traffic,
                other=_nothing_else,
            ),
        )

    async def _traffic(self, opening: Opening, zone: str, now: datetime) -> Traffic:
        kinds = {f.kind for f in self._scenario.faults if f.begin_s <= self._true_s < f.end_s}
        if Kind.NOT_LOW in kinds:
            return Traffic(Level.NOT_LOW, f"{self._true_s:.0f} requests", {})
        return Traffic(Level.UNKNOWN if Kind.UNKNOWN in kinds else Level.LOW, "measured", {})

    # What must hold ------------------------------------------------------------------------------------

    def _judge_ends(self) -> None:
        first_s = next((d["true_s"] for d in self._evidence.documents if d["kind"] == "calendar.appointed"), None)
        if first_s is None:
            self.report.breaches.append("no controller ever wrote a record")
            return
        for appointment in self._scenario.appointments:
            for opening in appointment.window.openings(self._scenario.begin, self._scenario.end):
                if opening.begin.timestamp() > first_s + 1 and opening.end.timestamp() < self._true_s - 60:
                    self._judge_end(Occurrence(appointment, opening))
        for began in self._journal.began:
            self._judge_start(began.run.id, began.run.runbook, began.wall)

    def _judge_end(self, occurrence: Occurrence) -> None:
        records = [d for d in self._evidence.documents if d["figures"].get("occurrence") == occurrence.id]
        terminal = [d for d in records if d["kind"] in TERMINAL]
        withdrawn = [d for d in records if d["kind"] == "calendar.withdrawn"]
        if len(terminal) - len(withdrawn) != 1:
            found = ", ".join(d["kind"] for d in records) or "nothing"
            self._broken(occurrence, f"not exactly one terminal record: {found}")
            return
        last = terminal[-1]
        self.report.ended[last["kind"]] += 1
        runs = [b for b in self._journal.began if b.run.runbook == occurrence.appointment.runbook]
        runs = [b for b in runs if b.run.id == occurrence.id or _inside(b.wall, occurrence.opening)]
        if len(runs) > 1:
            self._broken(occurrence, f"ran {len(runs)} times: {', '.join(b.run.id for b in runs)}")
        if bool(runs) != (last["kind"] in ("calendar.done", "calendar.undone")):
            self._broken(occurrence, f"{last['kind']} with {len(runs)} runs")
        self._judge_promptness(occurrence, last, bool(withdrawn))

    def _judge_promptness(self, occurrence: Occurrence, last: dict[str, Any], was_withdrawn: bool) -> None:
        end_s = occurrence.opening.end.timestamp()
        # Of a verdict that was taken back, the one that took its place comes when it comes.
        undisturbed = not was_withdrawn and not any(
            f.begin_s <= end_s + OWED_S and f.end_s > end_s - HOT_S for f in self._scenario.faults
        )
        late_s = last["true_s"] - end_s
        if last["kind"] == "calendar.missed" and undisturbed and late_s > OWED_S:
            self._broken(occurrence, f"its miss was recorded {late_s:.0f} s after the window's end")

    def _judge_start(self, run: str, runbook: str, wall: datetime) -> None:
        windows = [a.window for a in self._scenario.appointments if a.runbook == runbook]
        openings = [o for window in windows for o in window.openings(*_around(wall))]
        if not any(o.begin <= wall <= o.last_start for o in openings):
            self.report.breaches.append(
                f"{run} began at {wall.isoformat()}: outside its window, or after its last start"
            )

    def _broken(self, occurrence: Occurrence, what: str) -> None:
        self.report.breaches.append(f"{occurrence.id}: {what}")


def live(scenario: Scenario) -> Report:
    """Run a world in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="siaga-calendar-") as directory:
        return World(scenario, Path(directory)).run()


def _merged(spans: list[tuple[float, float, float]]) -> Iterator[tuple[float, float, float]]:
    """Spans that do not overlap; where they do, the finer step counts."""
    edges = sorted({edge for begin_s, end_s, _ in spans for edge in (begin_s, end_s)})
    for begin_s, end_s in zip(edges, edges[1:], strict=False):
        steps = [step_s for first_s, last_s, step_s in spans if first_s <= begin_s and end_s <= last_s]
        if steps:
            yield begin_s, end_s, min(steps)


def _around(now: datetime) -> tuple[datetime, datetime]:
    at_s = now.timestamp()
    return datetime.fromtimestamp(at_s - 2 * 86_400, UTC), datetime.fromtimestamp(at_s + 3 * 86_400, UTC)


def _inside(wall: datetime, opening: Opening) -> bool:
    return opening.begin <= wall < opening.end


async def _nothing_else(appointment: Appointment) -> str:
    return ""
