"""Kills whoever carries out a run at every moment of it, with SIGKILL, and looks at what was done in the end.

A moment is a named point: before every check, act, undo, record and journal entry, after every act and undo, and
whatever inner point an act names itself; what lies between two moments leaves nothing behind. Each life of the process
ends at the first moment at which none before it died, so that one run meets every moment once, those included that only
a recovery brings. A runbook is covered by being listed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from siaga.errors import SiagaError
from siaga.evidence.model import Record
from siaga.runbooks import decide
from siaga.runbooks.dbos import Workflows
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import SqliteFile
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Runbook, Step, never_done
from siaga.runbooks.run import Event
from siaga.runbooks.runner import Wiring

RUN = "run/1"
LIFE_DEADLINE_S = 60.0
LIVES_MAX = 250
_processes = multiprocessing.get_context("forkserver")
# What takes long to import is imported once, and each life is forked from there.
_processes.set_forkserver_preload(["siaga.runbooks.engine", "sqlalchemy.dialects.sqlite", "pysqlite3.dbapi2", "uvloop"])


class Ledger:
    """An append-only file, on disk before the call returns: what happened, whoever died afterwards."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, **entry: Any) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.fsync(descriptor)
        os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []


@dataclass(frozen=True)
class Case:
    """One run to be killed."""

    directory: Path
    make: Callable[[Case], Runbook]
    """A function of a module, since every life makes its own runbook."""
    answers: tuple[tuple[str, str], ...] = ()
    """What people answer, in order: (`approve`, name), (`decide`, choice), (`cancel`, step at which it is said)."""
    kill_only: str = ""
    """The one moment to die at; at every moment when empty."""
    journal: Callable[[Path], Any] = SqliteFile

    @property
    def acts(self) -> Ledger:
        """Every call of a check, act or undo, and its end."""
        return Ledger(self.directory / "acts.jsonl")

    @property
    def deaths(self) -> Ledger:
        """The moments at which a process died."""
        return Ledger(self.directory / "deaths.jsonl")

    @property
    def moments(self) -> Ledger:
        """Every moment that was reached."""
        return Ledger(self.directory / "moments.jsonl")

    @property
    def evidence(self) -> Ledger:
        """Every record."""
        return Ledger(self.directory / "evidence.jsonl")

    @property
    def lives(self) -> Ledger:
        """How long each life took to take its first turn."""
        return Ledger(self.directory / "lives.jsonl")

    @property
    def connections(self) -> Ledger:
        """Every attempt to reach somebody over a network."""
        return Ledger(self.directory / "connections.jsonl")

    @property
    def result(self) -> dict[str, Any]:
        """The run's page at its end."""
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found

    def moment(self, name: str) -> None:
        """Here the process dies, unless one before it did."""
        if self.kill_only == _NEVER:
            if name not in {entry["at"] for entry in self.moments.read()}:
                self.moments.write(at=name)
            return
        if name in {entry["at"] for entry in self.deaths.read()} or (self.kill_only and name != self.kill_only):
            return
        self.deaths.write(at=name)
        os.kill(os.getpid(), signal.SIGKILL)


_NEVER = "never"
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")


def drive_and_kill(case: Case) -> dict[str, Any]:
    """Let processes carry the run out until one of them survives; the run's page at its end."""
    case.directory.mkdir(parents=True, exist_ok=True)
    for _ in range(LIVES_MAX):
        life = _processes.Process(target=_live, args=(case,), daemon=True)
        life.start()
        life.join(LIFE_DEADLINE_S)
        if life.exitcode is None:
            life.kill()
            raise AssertionError(f"a life did not end; deaths so far: {case.deaths.read()[-3:]}")
        if life.exitcode == 0:
            return case.result
        assert life.exitcode == -signal.SIGKILL, (life.exitcode, (case.directory / "log").read_text()[-4000:])
    raise AssertionError(f"not over after {LIVES_MAX} lives: {case.deaths.read()[-5:]}")


def every_moment(case: Case) -> list[str]:
    """The moments of a run that nobody kills."""
    quiet = replace(case, directory=case.directory / "quiet", kill_only=_NEVER)
    drive_and_kill(quiet)
    return [entry["at"] for entry in quiet.moments.read()]


# In the process that dies -----------------------------------------------------------------------------------


def _live(case: Case) -> None:
    log = os.open(case.directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.addaudithook(lambda event, given: case.connections.write(to=str(given[1:])) if event in _NETWORK else None)
    # Ten lives of one step are what we do here; the guard has a test of its own.
    decide.INTERRUPTIONS_MAX = 1000  # type: ignore[misc]
    decide.PAUSE_S_FIRST = 0.01  # type: ignore[misc]
    uvloop.run(_carry_out(case))
    # DBOS' threads have nothing to say any more.
    os._exit(0)


async def _carry_out(case: Case) -> None:
    begun = time.monotonic()
    _watch_journal(case, begun)
    runbook = instrumented(case, case.make(case))
    engine = Engine(case.journal(case.directory / "journal.sqlite"), [runbook], Wiring(_Evidence(case)))
    await engine.launch()
    case.moment("before the start")
    await engine.start(runbook.name, {}, requester="rina", reason="a test", run=RUN)
    case.moment("after the start")
    await _answer(case, engine)
    (case.directory / "result.json").write_text(json.dumps(await engine.show(RUN)))


async def _answer(case: Case, engine: Engine) -> None:
    """What people do: they answer what is asked, and nobody is told that a process died."""
    while True:
        page = await engine.show(RUN)
        if page["ended_at"]:
            return
        for kind, what in case.answers:
            wanted = {
                "approve": page["approval"] is not None and what not in page["approval"]["approved_by"],
                "decide": page["question"] is not None and what in page["question"]["choices"],
                "cancel": page["step"] == what,
            }[kind]
            if wanted:
                case.moment(f"before {kind} {what}")
                await _say(engine, kind, what)
        await asyncio.sleep(0.01)


async def _say(engine: Engine, kind: str, what: str) -> None:
    try:
        if kind == "approve":
            await engine.approve(RUN, what)
        elif kind == "decide":
            await engine.decide(RUN, "sari", what, "as the test says")  # type: ignore[arg-type]
        else:
            await engine.cancel(RUN, "sari", "as the test says")
    except SiagaError:
        # Said before, by a process that died before it could tell.
        return


def instrumented(case: Case, runbook: Runbook) -> Runbook:
    """The same runbook, whose every call is written down and surrounded by moments."""
    return replace(runbook, steps=tuple(_instrumented(case, s) if isinstance(s, Step) else s for s in runbook.steps))


def _instrumented(case: Case, step: Step) -> Step:
    def spy(what: str, work: Callable[[Context], Awaitable[Any]]) -> Callable[[Context], Awaitable[Any]]:
        @functools.wraps(work)
        async def call(context: Context) -> Any:
            case.moment(f"before {what} {step.name}")
            case.acts.write(what=what, step=step.name, key=context.key, call=True)
            found = await work(context)
            case.acts.write(what=what, step=step.name, key=context.key, found=found)
            if what != "check":
                case.moment(f"after {what} {step.name}")
            return found

        return call

    return replace(
        step,
        act=spy("act", step.act),
        undo=step.undo if step.undo is NOTHING_TO_UNDO else spy("undo", step.undo),
        check=step.check if step.check is never_done else spy("check", step.check),
    )


class _Evidence:
    """Records into a file; a death before each, and what follows each is another moment's."""

    def __init__(self, case: Case) -> None:
        self._case = case

    async def append(self, record: Record) -> int:
        self._case.moment(f"before the record {record.kind}, " + re.sub(r"[\d.]+", "#", record.reason))
        self._case.evidence.write(kind=record.kind, actor=record.actor, reason=record.reason, run=record.run)
        return 0

    async def append_exempt(self, record: Record) -> None:
        await self.append(record)


def _watch_journal(case: Case, begun: float) -> None:
    """A death between what a turn did and its place in the journal."""
    original = Workflows.turn
    first = []

    def turn(self: Workflows, act: Callable[[], list[Event]]) -> list[Event]:
        def watched() -> list[Event]:
            if not first:
                first.append(True)
                case.lives.write(first_turn_s=time.monotonic() - begun)
            events = act()
            case.moment(f"before the journal {_name(events)}")
            return events

        return original(self, watched)

    Workflows.turn = turn  # type: ignore[method-assign]


def _name(events: list[Event]) -> str:
    return ", ".join(f"{e['event']} {e.get('step', '')} {e.get('undo', '')} {e.get('again', '')}" for e in events)


# What may be said of every run --------------------------------------------------------------------------


def judge(case: Case, runbook: Runbook, page: Mapping[str, Any]) -> None:
    """No act twice without its key, none after it was seen done, none skipped; undone in reverse."""
    acts = case.acts.read()
    for entry in acts:
        suffix = ":undo" if entry["what"] == "undo" else ""
        assert entry["key"] == f"{RUN}:{entry['step']}{suffix}", entry
    for step in runbook.steps:
        if isinstance(step, Step):
            _judge_step(step, [entry for entry in acts if entry["step"] == step.name], page)
    order = [step.name for step in runbook.steps if isinstance(step, Step)]
    begun = list(dict.fromkeys(e["step"] for e in acts if e["what"] == "act" and "call" in e))
    assert begun == order[: len(begun)], f"acts out of order: {begun}"
    undone = list(dict.fromkeys(e["step"] for e in acts if e["what"] == "undo" and "call" in e))
    undoable = [s.name for s in runbook.steps if isinstance(s, Step) and s.undo is not NOTHING_TO_UNDO]
    if page["state"] == "undone":
        touched = [step["name"] for step in page["steps"] if step["status"] != "pending"]
        assert undone == [name for name in reversed(touched) if name in undoable], f"undone: {undone}"


def _judge_step(step: Step, entries: list[dict[str, Any]], page: Mapping[str, Any]) -> None:
    seen_done = False
    for entry in entries:
        if entry["what"] == "check" and entry.get("found") is True:
            seen_done = True
        assert not (seen_done and entry["what"] == "act" and "call" in entry), f"{step.name} was done when repeated"
    if page["state"] == "done":
        assert any(e["what"] == "act" and "call" in e for e in entries), f"{step.name} was skipped"


async def nothing(_: Context) -> Document | None:
    """For steps whose calls alone are counted."""
    return None
