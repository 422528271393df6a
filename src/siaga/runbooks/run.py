"""A run as its journal tells it: a list of events, folded into where the run stands (pure).

The journal only grows. Whatever version of the code folds it comes to the same standing, so that a run survives an
upgrade and the way back: the next move is decided afresh from here (`decide.py`), never replayed from code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from siaga.runbooks.model import Document

Event = dict[str, Any]
"""Plain JSON; `event` says what happened and `at` when, in seconds since 1970."""


class Phase(StrEnum):
    """Which way a run goes."""

    RUNNING = "running"
    UNDOING = "undoing"
    WAITING = "waiting for a person"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    UNDONE = "undone"
    GIVEN_UP = "given up"


class Status(StrEnum):
    """How far one act, or one undo, is."""

    PENDING = "pending"
    BEGUN = "begun"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DONE = "done"


class Choice(StrEnum):
    """What a person may decide when a run waits."""

    RETRY = "retry"
    GO_ON = "go-on"
    UNDO = "undo"
    GIVE_UP = "give-up"


class Trouble(StrEnum):
    """Why a run waits for a person."""

    FAILED = "failed after the point of no return"
    UNKNOWN = "nobody can say whether it was done"
    UNDO = "an undo did not succeed"
    UNANSWERED = "an approval was not answered after the point of no return"
    CHANGED = "the runbook changed under the run"
    FAULT = "a fault in the engine"


@dataclass(frozen=True, slots=True)
class Progress:
    """One act, or one undo."""

    status: Status = Status.PENDING
    attempts: int = 0
    """Begun since a person last said `retry`."""
    interruptions: int = 0
    """How often the controller died in it, since then."""
    result: Document = field(default_factory=dict)
    why: str = ""
    final: bool = False
    """A failure that no further attempt mends."""
    begun_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Yes:
    """One person's approval."""

    actor: str
    at: float
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval that was asked for."""

    at: float
    given: tuple[Yes, ...] = ()
    settled: str = ""
    """How it ended; empty while it is open."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A question to a person."""

    number: int
    """The run's first, second, ... question."""
    trouble: Trouble
    step: str
    why: str
    choices: tuple[Choice, ...]
    since: float
    back: Phase
    """Where the run was before it."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands."""

    steps: tuple[str, ...]
    """The names it follows: those of its order, or of the runbook a person adopted since."""
    phase: Phase = Phase.RUNNING
    opened: bool = False
    acts: Mapping[str, Progress] = field(default_factory=dict)
    """In the order in which they began."""
    undos: Mapping[str, Progress] = field(default_factory=dict)
    approvals: Mapping[str, Asked] = field(default_factory=dict)
    wait: Wait | None = None
    waits: int = 0
    undoing_why: str = ""
    giving_up: str = ""
    """Who gave up and why; nothing more is done."""
    heard: int = 0
    """Number of the last word of a person that the run took notice of."""
    breached: frozenset[str] = frozenset()
    """Clocks whose breach is recorded."""
    outcome: Outcome | None = None
    why: str = ""
    ended_at: float | None = None

    def act(self, step: str) -> Progress:
        """How far the act of a step is."""
        return self.acts.get(step, Progress())

    @property
    def undoing(self) -> bool:
        """Whether it goes back."""
        return self.phase is Phase.UNDOING

    def undo(self, step: str) -> Progress:
        """How far the undo of a step is."""
        return self.undos.get(step, Progress())


def fold(state: RunState, event: Event) -> RunState:
    """The run after one more event. An event of a later version that we don't know changes nothing."""
    change = _CHANGES.get(str(event["event"]))
    return change(state, event) if change is not None else state


def _progress(state: RunState, event: Event, **changes: Any) -> RunState:
    step = str(event["step"])
    if event.get("undo"):
        return replace(state, undos={**state.undos, step: replace(state.undo(step), **changes)})
    return replace(state, acts={**state.acts, step: replace(state.act(step), **changes)})


def _opened(state: RunState, event: Event) -> RunState:
    return replace(state, opened=True)


def _begun(state: RunState, event: Event) -> RunState:
    step = str(event["step"])
    before = state.undo(step) if event.get("undo") else state.act(step)
    again = bool(event.get("again"))
    return _progress(
        state,
        event,
        status=Status.BEGUN,
        attempts=before.attempts + (0 if again else 1),
        interruptions=before.interruptions + (1 if again else 0),
        begun_at=before.begun_at if before.begun_at is not None else event["at"],
        why="",
    )


def _done(state: RunState, event: Event) -> RunState:
    return _progress(
        state,
        event,
        status=Status.DONE,
        result=dict(event.get("result") or {}),
        why=str(event.get("why", "")),
        ended_at=event["at"],
    )


def _failed(state: RunState, event: Event) -> RunState:
    return _progress(
        state,
        event,
        status=Status.UNKNOWN if event.get("unknown") else Status.FAILED,
        why=str(event["why"]),
        final=bool(event.get("final")),
        ended_at=event["at"],
    )


def _asked(state: RunState, event: Event) -> RunState:
    return replace(state, approvals={**state.approvals, str(event["step"]): Asked(at=event["at"])})


def _settled(state: RunState, event: Event) -> RunState:
    step = str(event["step"])
    asked = state.approvals.get(step, Asked(at=event["at"]))
    return replace(state, approvals={**state.approvals, step: replace(asked, settled=str(event["why"]))})


def _turned_back(state: RunState, event: Event) -> RunState:
    return replace(state, phase=Phase.UNDOING, wait=None, undoing_why=str(event["why"]))


def _called(state: RunState, event: Event) -> RunState:
    wait = Wait(
        number=state.waits + 1,
        trouble=Trouble(event["trouble"]),
        step=str(event["step"]),
        why=str(event["why"]),
        choices=tuple(Choice(choice) for choice in event["choices"]),
        since=event["at"],
        back=state.wait.back if state.wait is not None else state.phase,
    )
    return replace(state, phase=Phase.WAITING, wait=wait, waits=wait.number)


def _settled_by_itself(state: RunState, event: Event) -> RunState:
    return replace(state, phase=state.wait.back if state.wait else state.phase, wait=None)


def _heard(state: RunState, event: Event) -> RunState:
    state = replace(state, heard=max(state.heard, int(event["word"])))
    if event["kind"] == "breach":
        return replace(state, breached=state.breached | {str(event["clock"])})
    if not event["taken"]:
        return state
    if event["kind"] == "approve":
        step = str(event["step"])
        asked = state.approvals[step]
        yes = Yes(str(event["actor"]), float(event["said_at"]), str(event.get("ticket", "")))
        return replace(state, approvals={**state.approvals, step: replace(asked, given=(*asked.given, yes))})
    if event["kind"] == "cancel":
        return _turned_back(state, event)
    return _decided(state, event)


def _decided(state: RunState, event: Event) -> RunState:
    wait = state.wait
    assert wait is not None, "only a run that waits takes a decision"
    choice, step, undo = Choice(event["choice"]), wait.step, wait.back is Phase.UNDOING
    went_on = replace(state, phase=wait.back, wait=None)
    if choice is Choice.GIVE_UP:
        return replace(went_on, giving_up=str(event["why"]))
    if choice is Choice.UNDO:
        return _turned_back(state, event)
    if choice is Choice.RETRY and wait.trouble is Trouble.UNANSWERED:
        return replace(went_on, approvals={name: asked for name, asked in state.approvals.items() if name != step})
    if choice is Choice.RETRY and wait.trouble is Trouble.FAULT:
        return went_on
    if choice is Choice.RETRY:
        fresh = {"status": Status.PENDING, "attempts": 0, "interruptions": 0, "final": False, "ended_at": None}
        return _progress(went_on, {"step": step, "undo": undo}, **fresh)
    if wait.trouble is Trouble.CHANGED:
        return replace(went_on, steps=tuple(event["steps"]))
    return _progress(
        went_on, {"step": step, "undo": undo}, status=Status.DONE, why=str(event["why"]), ended_at=event["at"]
    )


def _ended(state: RunState, event: Event) -> RunState:
    return replace(
        state,
        phase=Phase.ENDED,
        wait=None,
        outcome=Outcome(event["outcome"]),
        why=str(event["why"]),
        ended_at=event["at"],
    )


_CHANGES = {
    "opened": _opened,
    "begun": _begun,
    "done": _done,
    "failed": _failed,
    "asked": _asked,
    "settled": _settled,
    "turned back": _turned_back,
    "called": _called,
    "settled by itself": _settled_by_itself,
    "heard": _heard,
    "ended": _ended,
}
