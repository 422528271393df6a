"""The nouns of runbooks: steps as data that an operator can read (architecture, section 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from siaga.sop.clauses import ClauseId

Document = Mapping[str, Any]
"""Plain JSON values: what goes into the journal. Never a secret, only its name."""


class Manner(StrEnum):
    """How a run is carried out."""

    REAL = "real"
    DRILL = "drill"
    """The same acts, on purpose, to prove that they work."""
    DRY = "dry run"
    """The same checks, no act."""


class Context(Protocol):
    """What a step may know and say while it works."""

    @property
    def run(self) -> str:
        """The run's id."""
        ...

    @property
    def key(self) -> str:
        """The same at every repetition of this step of this run: the idempotency key of its act."""
        ...

    @property
    def epoch(self) -> int:
        """The leader's fencing epoch; a target that can check it refuses a lower one."""
        ...

    @property
    def manner(self) -> Manner:
        """Real, drill or dry run."""
        ...

    @property
    def parameters(self) -> Document:
        """The choices made before the run began."""
        ...

    @property
    def results(self) -> Mapping[str, Document]:
        """What the steps before this one returned, by step name."""
        ...

    def say(self, progress: str) -> None:
        """One line for those who watch; not kept."""
        ...


Act = Callable[[Context], Awaitable[Document | None]]
"""Does the work, idempotently; what it returns is kept in the journal and in the evidence."""

Check = Callable[[Context], Awaitable[bool]]
"""Whether the work is already done. Asked before every act, so also after a crash inside one, and again after it."""


async def never_done(context: Context) -> bool:
    """For acts that are safe to repeat, and for those whose result later steps need.

    A step found done by its check has no result: what the act would have returned died with the controller.
    """
    return False


async def _nothing(context: Context) -> Document | None:
    return None


NOTHING_TO_UNDO: Act = _nothing


Prepare = Callable[[Document], Awaitable[Document]]


async def as_given(parameters: Document) -> Document:
    """For runbooks whose parameters need no choice."""
    return parameters


@dataclass(frozen=True, slots=True)
class Step:
    """One act, named for the people who watch it."""

    name: str
    act: Act
    undo: Act
    """`NOTHING_TO_UNDO` where that is so: it must be said. Called too when the act failed half-way."""
    deadline_s: float
    """Of one attempt, and of one attempt to undo."""
    check: Check = never_done
    attempts_max: int = 3
    """Of the act, and of the undo. What a rule refuses (`Refused`, `BadInput`) is not tried again."""
    point_of_no_return: bool = False
    """Once it is done the run only goes forward, or calls a person."""
    exempt: bool = False
    """May be done when the evidence can't be written (decision 21). An undo always may."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A step in which people say yes."""

    name: str
    timeout_s: float
    """Counted from the moment it is asked, also while the controller is dead."""
    people: int = 1
    """How many, none of them the requester when it is two."""
    proceeds_unanswered: bool = False
    """At the time-out the run goes on, or it is undone. Only a run that can lose nothing may go on (decision 16)."""
    wants_ticket: bool = False
    """Each yes names a change ticket."""
    ticket_pattern: str = ""
    """A regular expression that the whole ticket has to match; empty where any will do."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A limit that people watch: it starts at the onset, and a breach is recorded, never an abort (decision 16)."""

    name: str
    limit_s: float
    stops_after: str
    """The step whose end stops it."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """An ordered procedure."""

    name: str
    clause: ClauseId
    summary: str
    steps: tuple[Step | Approval, ...]
    clocks: tuple[Clock, ...] = ()
    automatic: bool = True
    """Whether the controller may start it by itself; `siaga halt` holds those at their next step."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Parameters it knows, each with what it means; anything else is refused."""
    prepare: Prepare = as_given
    """Makes every choice before the run begins: completes and judges the parameters, or raises BadInput or Refused.
    What it returns goes into the journal and the plan."""
    alone: str = ""
    """Runs of runbooks with the same word here never overlap: the second is refused."""
