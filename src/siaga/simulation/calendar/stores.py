"""What outlives a simulated controller: its evidence and its journal, and the moments at which it is killed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from siaga.errors import Refused, SiagaError, Unreachable
from siaga.evidence.model import Record, Unrecorded
from siaga.runbooks.calendar import RunSeen


class Killed(BaseException):
    """SIGKILL: nothing after it happens, and nobody catches it."""


@dataclass
class Fate:
    """What the stores ask before they answer."""

    evidence_fails: bool = False
    journal_fails: bool = False
    start_fails: float = 0.0
    """The chance of a start that goes wrong."""
    writes_left: int = -1
    """Until the controller is killed; never below 0."""

    def write(self) -> None:
        """A moment at which a kill may fall."""
        if self.writes_left > 0:
            self.writes_left -= 1
            if self.writes_left == 0:
                self.writes_left = -1
                raise Killed


class EvidenceBox:
    """Keeps every record, with the true time beside it."""

    def __init__(self, fate: Fate, random: Random, true_s: Callable[[], float]) -> None:
        self._fate = fate
        self._random = random
        self._true_s = true_s
        self.documents: list[dict[str, Any]] = []

    async def append(self, record: Record) -> int:
        """Durable, or Unrecorded, which is no promise that it is not there; a kill may come before it or after it."""
        self._fate.write()
        if self._fate.evidence_fails:
            if self._random.random() < 0.3:
                # The disk hung, and took it after all.
                self._keep(record)
            raise Unrecorded("the disk is full", hint="Make room.")
        self._keep(record)
        self._fate.write()
        return len(self.documents)

    async def append_exempt(self, record: Record) -> None:
        """Always kept."""
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self.documents.append(
            {
                "number": len(self.documents),
                "true_s": self._true_s(),
                "kind": str(record.kind),
                "actor": record.actor,
                "clause": str(record.clause),
                "reason": record.reason,
                "figures": dict(record.figures),
                "run": record.run,
            }
        )

    async def history(self) -> Iterable[Mapping[str, Any]]:
        """The calendar's records."""
        return [document for document in self.documents if document["kind"].startswith("calendar.")]


@dataclass(frozen=True, slots=True)
class Began:
    """A run as it truly began."""

    run: RunSeen
    true_s: float
    wall: datetime


class JournalBox:
    """An engine whose runs take their time, and end by themselves."""

    def __init__(self, fate: Fate, random: Random, now: Callable[[], tuple[float, datetime]]) -> None:
        self._fate = fate
        self._random = random
        self._now = now
        self.minutes = (5.0, 50.0)
        self.began: list[Began] = []
        self._ends_s: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}

    async def seen(self, ids: Collection[str], since: datetime) -> tuple[RunSeen, ...]:
        """Every run."""
        if self._fate.journal_fails:
            raise Unreachable("the journal does not answer", hint="Wait.")
        return tuple(self._seen(began) for began in self.began)

    def _seen(self, began: Began) -> RunSeen:
        true_s, _ = self._now()
        ends_s = self._ends_s[began.run.id]
        if true_s < ends_s:
            return began.run
        outcome = self._outcomes.get(began.run.id, "done")
        ended_at = began.wall + timedelta(seconds=ends_s - began.true_s)
        return replace(began.run, ended_at=ended_at, done=outcome == "done", outcome=outcome)

    async def start(self, runbook: str, parameters: Mapping[str, Any], *, key: str, reason: str) -> None:
        """Begin a run; a kill, a failure or a time-out may come before it or after it."""
        self._fate.write()
        if self._fate.journal_fails:
            raise Unreachable("the journal does not answer", hint="Wait.")
        fails = self._random.random() < self._fate.start_fails
        if fails and self._random.random() < 0.5:
            raise self._random.choice((TimeoutError(), SiagaError("refused by the engine", hint="Look.")))
        self.begin(key, runbook)
        self._fate.write()
        if fails:
            raise TimeoutError

    def begin(self, run: str, runbook: str) -> None:
        """Nothing when there is one of this id."""
        if run in self._ends_s:
            return
        true_s, wall = self._now()
        self._ends_s[run] = true_s + 60 * self._random.uniform(*self.minutes)
        self.began.append(Began(RunSeen(run, runbook, wall), true_s, wall))

    def is_busy(self, runbook: str) -> bool:
        """Whether a run of it is under way."""
        true_s, _ = self._now()
        return any(b.run.runbook == runbook and true_s < self._ends_s[b.run.id] for b in self.began)

    async def cancel(self, run: str, *, reason: str) -> None:
        """Turned back within a minute, or past its point of no return."""
        self._fate.write()
        if self._random.random() < 0.3:
            raise Refused("past its point of no return", hint="Wait for it.")
        true_s, _ = self._now()
        self._ends_s[run] = min(self._ends_s[run], true_s + 45)
        self._outcomes[run] = "undone"
        self._fate.write()
