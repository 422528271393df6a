"""A controller with nothing but its calendar, over the real engine and the real evidence; it kills itself.

Each life ends at the first moment at which none before it died, so that every moment is met once. The window opens
when the appointment is made, and time goes on over every kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from siaga.controller.calendar_ports import Senses
from siaga.controller.calendar_runs import EngineRuns
from siaga.controller.calendar_service import CalendarService
from siaga.controller.freeze_watch import FreezeWatch
from siaga.controller.levers import Levers, ModeRules
from siaga.errors import SiagaError
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record
from siaga.evidence.selection import Selection
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.calendar import TERMINAL, RunSeen
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import SqliteFile
from siaga.runbooks.low_traffic import Level, Traffic
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Runbook, Step
from siaga.runbooks.runner import Wiring
from siaga.runbooks.wall_clock import Reading
from siaga.runbooks.windows import Opening
from siaga.simulation.calendar.scenario import UPDATE
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode

OPENING = UPDATE.window.opening(date(2026, 11, 25))


@dataclass(frozen=True)
class Moments:
    """Where a life ends, unless one before it did there."""

    directory: Path

    @property
    def died(self) -> list[str]:
        """The moments of the lives before, in order."""
        deaths = self.directory / "deaths"
        return deaths.read_text().splitlines() if deaths.exists() else []

    def moment(self, name: str) -> None:
        if name in self.died:
            return
        with (self.directory / "deaths").open("a") as file:
            file.write(f"{name}\n")
        os.kill(os.getpid(), signal.SIGKILL)


class KilledEvidence:
    """The log, with a moment before and after each of the calendar's records."""

    def __init__(self, log: EvidenceLog, kills: Moments) -> None:
        self._log = log
        self._kills = kills

    async def append(self, record: Record) -> int:
        self._kills.moment(f"before {record.kind}")
        number = await self._log.append(record)
        self._kills.moment(f"after {record.kind}")
        return number

    async def append_exempt(self, record: Record) -> None:
        await self._log.append_exempt(record)


class KilledRuns:
    """The engine, with a moment before and after each start."""

    def __init__(self, runs: EngineRuns, kills: Moments) -> None:
        self._runs = runs
        self._kills = kills

    async def seen(self, ids: Collection[str], since: datetime) -> tuple[RunSeen, ...]:
        return await self._runs.seen(ids, since)

    async def start(self, runbook: str, parameters: Mapping[str, Any], *, key: str, reason: str) -> None:
        self._kills.moment("before the start")
        await self._runs.start(runbook, parameters, key=key, reason=reason)
        self._kills.moment("after the start")

    async def cancel(self, run: str, *, reason: str) -> None:
        await self._runs.cancel(run, reason=reason)


def now(directory: Path) -> Reading:
    """The window's time, by the boot clock of this machine; hours before it until the appointment is made."""
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    if "after calendar.appointed" not in Moments(directory).died:
        return Reading(OPENING.begin - timedelta(hours=2), boot_s)
    first = directory / "first"
    if not first.exists():
        first.write_text(json.dumps(boot_s))
    return Reading(OPENING.begin + timedelta(seconds=boot_s - json.loads(first.read_text())), boot_s)


def live(directory: Path) -> None:
    """One life; the last one leaves `result.json`."""
    output = os.open(directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(_live(directory, Moments(directory)))
    # DBOS' threads have nothing to say any more.
    os._exit(0)


async def _live(directory: Path, kills: Moments) -> None:
    log = EvidenceLog(FileStore(directory / "evidence", "siaga/test/1"), spool=directory / "spool")
    await log.open()

    async def act(context: Context) -> Document:
        with (directory / "acts").open("a") as file:
            file.write(f"{context.key}\n")
        return {}

    runbook = Runbook(
        "update-database", ClauseId.PMT_2_1, "a test", (Step("act", act, NOTHING_TO_UNDO, 10, attempts_max=1),)
    )
    engine = Engine(SqliteFile(directory / "runs.sqlite"), [runbook], Wiring(evidence=log))
    await engine.launch()
    evidence = KilledEvidence(log, kills)
    levers = Levers(directory / "levers.json", evidence, ModeRules(Mode.ACT), lambda: now(directory).wall)
    calendar = CalendarService(
        [UPDATE],
        evidence=evidence,
        runs=KilledRuns(EngineRuns(engine), kills),
        levers=levers,
        freezes=FreezeWatch((), lambda: levers.freezes),
        senses=Senses(
            clocks=lambda: now(directory),
            history=lambda: log.latest(1_000_000, Selection(kind="calendar")),
            traffic=traffic,
            other=nothing,
        ),
    )
    while True:
        try:
            await calendar.run_pass()
        except SiagaError as error:
            print(error)
        verdicts = await calendar.verdicts(timedelta(days=1), timedelta(hours=1))
        if verdicts and all(verdict.state in TERMINAL for verdict in verdicts):
            break
        await asyncio.sleep(0.1)
    records = await log.latest(1_000_000, Selection(kind="calendar"))
    result = {"kinds": [r["kind"] for r in records], "runs": [line["id"] for line in await engine.runs()]}
    (directory / "result.json").write_text(json.dumps(result))


async def traffic(opening: Opening, zone: str, at: datetime) -> Traffic:
    return Traffic(Level.LOW, "as measured", {})


async def nothing(appointment: Appointment) -> str:
    return ""
