"""The state of a platform's controllers, written by the code that writes it in earnest."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siaga.controller import state, state_version
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record
from siaga.evidence.segments import Segments
from siaga.platform.layout import Layout


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a copy of this process; its exit code, negative for the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            # Whatever happened, this copy of the test run ends here.
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at_call(work: Callable[[], None], number: int) -> bool:
    """SIGKILL the child as it enters its call `number` into C, as every write and rename is; whether it got there."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        if event == "c_call":
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted() -> None:
        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)

    return in_child(counted) == -signal.SIGKILL


def calls_made(work: Callable[[], None]) -> int:
    """How many calls into C the work makes."""
    beyond = 1
    while killed_at_call(work, beyond):
        beyond *= 2
    return beyond


@dataclass(frozen=True)
class StateDirectory:
    """Below the state directory of a platform."""

    layout: Layout

    @property
    def controller(self) -> Path:
        return self.layout.directory("controller")

    @property
    def journal(self) -> Path:
        return self.controller / "runbooks.sqlite"

    @property
    def evidence(self) -> Path:
        return self.controller / state_version.evidence_directory(state.read(self.controller).generation)

    @contextlib.asynccontextmanager
    async def log(self) -> AsyncIterator[EvidenceLog]:
        """The evidence, open for writing as the controller does."""
        origin = state_version.evidence_origin(self.layout.site.name, state.read(self.controller).generation)
        log = EvidenceLog(FileStore(self.evidence, origin), spool=self.evidence / "spool", epoch=7)
        await log.open()
        try:
            yield log
        finally:
            await log.close()

    async def record(self, count: int) -> None:
        async with self.log() as log:
            for number in range(count):
                await log.append(Record("test.record", "ana", "SUM", f"reason {number}"))

    def records(self) -> list[dict[str, Any]]:
        lines = [line for block in Segments(self.evidence).blocks() for line in block]
        return [json.loads(line.partition(b" ")[2]) for line in lines]

    def runs(self) -> list[tuple[int, int]]:
        with contextlib.closing(sqlite3.connect(self.journal)) as journal:
            return journal.execute("select id, evidence from runs order by id").fetchall()

    def add_run(self, number: int, evidence: int) -> None:
        with contextlib.closing(sqlite3.connect(self.journal)) as journal, journal:
            journal.execute("insert into runs values (?, ?)", (number, evidence))

    def contents(self) -> dict[str, bytes]:
        """Every file below the state directory."""
        base = self.layout.place.state
        return {str(p.relative_to(base)): p.read_bytes() for p in sorted(base.rglob("*")) if p.is_file()}

    def witness_has_seen(self, size: int) -> None:
        """As the witness keeps it; only the numbers count here."""
        origin = state_version.evidence_origin(self.layout.site.name, state.read(self.controller).generation)
        note = f"{origin}\n{size}\n{'A' * 43}=\nchain {'0' * 64}\n\n\u2014 siaga/witness AAAAAAAA\n"
        directory = self.layout.directory("witness")
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "memory.json").write_text(json.dumps({"format": 1, "logs": {origin: {"note": note}}}))
