"""A controller with nothing but its calendar, over the real engine and the real evidence; kills itself when told to.

`python calendar_child.py DIRECTORY MOMENT`: SIGKILL at the MOMENTth write, 0 for never. Time begins a second before
the window at the first start, and goes on over every kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
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


class Kills:
    """Counts the moments at which a kill may fall."""

    def __init__(self, at: int) -> None:
        self._left = at

    def moment(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledEvidence:
    """The log, with a moment before and after each of the calendar's records."""

    def __init__(self, log: EvidenceLog, kills: Kills) -> None:
        self._log = log
        self._kills = kills

    async def append(self, record: Record) -> int:
        self._kills.moment()
        number = await self._log.append(record)
        self._kills.moment()
        return number

    async def append_exempt(self, record: Record) -> None:
        await self._log.append_exempt(record)


class KilledRuns:
    """The engine, with a moment before and after each start."""

    def __init__(self, runs: EngineRuns, kills: Kills) -> None:
        self._runs = runs
        self._kills = kills

    async def seen(self, ids: Collection[str], since: datetime) -> tuple[RunSeen, ...]:
        return await self._runs.seen(ids, since)

    async def start(self, runbook: str, parameters: Mapping[str, Any], *, key: str, reason: str) -> None:
        self._kills.moment()
        await self._runs.start(runbook, parameters, key=key, reason=reason)
        self._kills.moment()

    async def cancel(self, run: str, *, reason: str) -> None:
        await self._runs.cancel(run, reason=reason)


def now(directory: Path) -> Reading:
    """The window's time, by the boot clock of this machine."""
    boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    first = directory / "first"
    if not first.exists():
        first.write_text(json.dumps(boot_s))
    wall = OPENING.begin - timedelta(seconds=1) + timedelta(seconds=boot_s - json.loads(first.read_text()))
    return Reading(wall.astimezone(UTC), boot_s)


async def live(directory: Path, kills: Kills) -> None:
    """Until every occurrence has its ending."""
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
    try:
        while True:
            try:
                await calendar.run_pass()
            except SiagaError as error:
                print(error, file=sys.stderr)
            verdicts = await calendar.verdicts(timedelta(days=1), timedelta(hours=1))
            if verdicts and all(verdict.state in TERMINAL for verdict in verdicts):
                break
            await asyncio.sleep(0.1)
        records = await log.latest(1_000_000, Selection(kind="calendar"))
        runs = [line["id"] for line in await engine.runs()]
        print(json.dumps({"records": [(r["kind"], r["run"]) for r in records], "runs": runs}))
    finally:
        await engine.close()
        await log.close()


async def traffic(opening: Opening, zone: str, at: datetime) -> Traffic:
    return Traffic(Level.LOW, "as measured", {})


async def nothing(appointment: Appointment) -> str:
    return ""


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), Kills(int(sys.argv[2]))))
