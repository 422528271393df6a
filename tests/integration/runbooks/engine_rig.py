"""An engine in the test's own process, on a real journal, with acts that leave their names in a list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siaga.errors import Refused
from siaga.evidence.model import Record, Unrecorded
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import FILE_NAME, Place, SqliteFile
from siaga.runbooks.model import NOTHING_TO_UNDO, Act, Approval, Clock, Context, Document, Runbook, Step
from siaga.runbooks.runner import Wiring
from siaga.sop.clauses import ClauseId

DEADLINE_S = 60.0


@dataclass
class Evidence:
    """Keeps records in memory; `broken` says why none can be written."""

    records: list[Record] = field(default_factory=list)
    exempt: list[Record] = field(default_factory=list)
    broken: str = ""

    async def append(self, record: Record) -> int:
        if self.broken:
            raise Unrecorded(self.broken, hint="Make room.")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.exempt.append(record)

    def kinds(self) -> list[str]:
        return [record.kind.removeprefix("runbooks.") for record in self.records]


@dataclass
class Rig:
    """What a test sets and looks at; it outlives the engines."""

    place: Place
    evidence: Evidence = field(default_factory=Evidence)
    did: list[str] = field(default_factory=list)
    halted: str = ""
    leads: bool = True
    ahead_s: float = 0.0
    """How far the engine's clock is ahead of the machine's."""
    breaches: list[str] = field(default_factory=list)

    def now(self) -> float:
        return time.time() + self.ahead_s

    async def _may_act(self) -> None:
        if not self.leads:
            raise Refused("this controller does not lead", hint="Wait.")

    async def _on_breach(self, order: Any, clock: Clock, elapsed_s: float) -> None:
        self.breaches.append(clock.name)

    @asynccontextmanager
    async def engine(self, *runbooks: Runbook) -> AsyncIterator[Engine]:
        """Launched, and closed at the end."""
        wiring = Wiring(
            self.evidence,
            halted=lambda: self.halted,
            epoch=lambda: 7,
            may_act=self._may_act,
            on_breach=self._on_breach,
            now=self.now,
        )
        engine = Engine(self.place, runbooks, wiring)
        await engine.launch()
        try:
            yield engine
        finally:
            await engine.close()

    def does(self, name: str) -> Act:
        """An act that leaves its name."""

        async def act(context: Context) -> Document:
            self.did.append(name)
            return {"by": name}

        return act

    def step(self, name: str, **changes: Any) -> Step:
        """A step whose act and undo leave their names."""
        return Step(name, self.does(name), self.does(f"undo {name}"), 20.0, **changes)


def rig(directory: Path) -> Rig:
    """On a SQLite journal."""
    return Rig(SqliteFile(directory / FILE_NAME))


def runbook(*steps: Step | Approval, name: str = "tested", **changes: Any) -> Runbook:
    """A runbook of these steps."""
    return Runbook(name, ClauseId.SUM, "is tested", steps, **changes)


async def refuses(_: Context) -> None:
    """A rule says no: no other attempt."""
    raise Refused("the test says no", hint="There is none.")


def failing(name: str) -> Step:
    """A step that a rule refuses."""
    return Step(name, refuses, NOTHING_TO_UNDO, 20.0)


async def begin(engine: Engine, name: str = "tested", **changes: Any) -> str:
    """Start a run of the name; its id."""
    started = await engine.start(name, {}, **{"requester": "rina", "reason": "a test", **changes})
    return str(started["run"])


async def until(
    engine: Engine, run: str, *states: str, holds: Callable[[dict[str, Any]], bool] = lambda page: True
) -> dict[str, Any]:
    """The run's page once it is in one of the states."""
    return await eventually(lambda: _in(engine, run, states, holds), f"{run} is {' or '.join(states)}")


async def _in(
    engine: Engine, run: str, states: Iterable[str], holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    page = await engine.show(run)
    return page if page["state"] in states and holds(page) else None


async def eventually(look: Callable[[], Awaitable[Any]], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + deadline_s
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.02)
