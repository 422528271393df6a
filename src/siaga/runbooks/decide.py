"""What a run does next (pure): from where it stands, what the runbook says now, the time and the safety lever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Clock, Manner, Runbook, Step
from siaga.runbooks.order import Order
from siaga.runbooks.run import Choice, Outcome, Phase, Progress, RunState, Status, Trouble

PAUSE_S_FIRST = 1.0
PAUSE_S_MAX = 30.0
"""Between two attempts: 1, 2, 4, ... s."""
INTERRUPTIONS_MAX = 10
"""An act that the controller died in so often is likely to be what kills it: a person looks first."""


@dataclass(frozen=True, slots=True)
class Open:
    """Write down that the run begins."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Write down that an act, or an undo, is about to happen."""

    step: Step
    undo: bool = False
    again: bool = False
    """The controller died in it."""


@dataclass(frozen=True, slots=True)
class Carry:
    """Do what was begun."""

    step: Step
    undo: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Only ask whether the step is already done (dry run)."""

    step: Step


@dataclass(frozen=True, slots=True)
class PassOver:
    """Nothing to do here; for an undo that has nothing to undo, and for an approval in a dry run."""

    step: Step | Approval
    why: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask people to say yes."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Settle:
    """The approval is over, and the run goes on."""

    approval: Approval
    why: str


@dataclass(frozen=True, slots=True)
class TurnBack:
    """Undo what was done."""

    why: str


@dataclass(frozen=True, slots=True)
class Call:
    """Stop and ask a person."""

    trouble: Trouble
    step: str
    why: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """What was asked of a person has settled itself."""

    why: str


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now; look again when something changes, and at `until` at the latest."""

    why: str
    until: float | None = None


Move: TypeAlias = Open | Begin | Carry | Look | PassOver | Ask | Settle | TurnBack | Call | Return | End | Hold

_ALL = (Choice.RETRY, Choice.GO_ON, Choice.UNDO, Choice.GIVE_UP)


def next_move(order: Order, runbook: Runbook | None, state: RunState, *, now: float, halted: str, fresh: bool) -> Move:
    """The next move.

    `halted` is why the safety lever is down, empty when it is not; `fresh` says that this process wrote the last
    event, so that what was begun has not been interrupted.
    """
    if state.giving_up:
        return End(Outcome.GIVEN_UP, state.giving_up)
    change = _change(order, runbook, state)
    waits_for_change = state.wait is not None and state.wait.trouble is Trouble.CHANGED
    if change is not None and not waits_for_change:
        return change
    if change is None and waits_for_change:
        return Return("the runbook has the steps again that the run began with")
    if state.wait is not None:
        return Hold(f"a person decides: {state.wait.why}")
    assert runbook is not None
    if not state.opened:
        return Open()
    if state.phase is Phase.UNDOING:
        move = _backward(runbook, state, now, fresh)
    elif order.manner is Manner.DRY:
        move = _dry(runbook, state)
    else:
        move = _forward(runbook, state, now, fresh)
    if halted and runbook.automatic and isinstance(move, Begin):
        return Hold(f"held: {halted}")
    return move


def _change(order: Order, runbook: Runbook | None, state: RunState) -> Call | None:
    if runbook is None:
        why = f"this version does not know the runbook `{order.runbook}`"
        return Call(Trouble.CHANGED, "", why, (Choice.GIVE_UP,))
    names = tuple(step.name for step in runbook.steps)
    if names == state.steps:
        return None
    gone = [f"`{name}`" for name in state.steps if name not in names]
    new = [f"`{name}`" for name in names if name not in state.steps]
    parts = [f"without {', '.join(gone)}" if gone else "", f"with the new {', '.join(new)}" if new else ""]
    found = " and ".join(part for part in parts if part) or "in another order"
    why = f"runbook `{runbook.name}` has its steps {found}, compared with when the run began"
    return Call(Trouble.CHANGED, "", why, (Choice.GO_ON, Choice.UNDO, Choice.GIVE_UP))


def steps_by_name(runbook: Runbook) -> dict[str, Step | Approval]:
    """Every step by its name."""
    return {step.name: step for step in runbook.steps}


def point_passed(runbook: Runbook, state: RunState) -> str:
    """The point of no return that is behind the run, or may be; empty when none is."""
    passed = (Status.DONE, Status.UNKNOWN, Status.BEGUN)
    for step in runbook.steps:
        if isinstance(step, Step) and step.point_of_no_return and state.act(step.name).status in passed:
            return step.name
    return ""


def settled(step: Step | Approval, state: RunState) -> bool:
    """Whether the run has left a step behind."""
    if isinstance(step, Approval):
        asked = state.approvals.get(step.name)
        return (asked is not None and bool(asked.settled)) or state.act(step.name).status is Status.DONE
    return state.act(step.name).status is Status.DONE


def current(runbook: Runbook, state: RunState) -> Step | Approval | None:
    """The first step that the run has not left behind."""
    return next((step for step in runbook.steps if not settled(step, state)), None)


def _forward(runbook: Runbook, state: RunState, now: float, fresh: bool) -> Move:
    step = current(runbook, state)
    if step is None:
        return End(Outcome.DONE, "every step is done")
    if isinstance(step, Approval):
        return _approval(runbook, step, state, now)
    progress = state.act(step.name)
    move = _attempt(step, progress, now, fresh, undo=False)
    if move is not None:
        return move
    why = f"step `{step.name}`: {progress.why}"
    if progress.status is Status.UNKNOWN:
        return Call(Trouble.UNKNOWN, step.name, why, _ALL)
    if progress.status is Status.BEGUN:
        often = f"step `{step.name}`: the controller died {progress.interruptions} times in it"
        return Call(Trouble.UNKNOWN, step.name, often, _ALL)
    if point_passed(runbook, state):
        return Call(Trouble.FAILED, step.name, why, _ALL)
    return TurnBack(why)


def _attempt(step: Step, progress: Progress, now: float, fresh: bool, *, undo: bool) -> Move | None:
    """Another attempt, or None when none is left."""
    if progress.status is Status.BEGUN:
        if fresh:
            return Carry(step, undo)
        return Begin(step, undo, again=True) if progress.interruptions < INTERRUPTIONS_MAX else None
    if progress.status is Status.PENDING:
        return Begin(step, undo)
    if progress.final or progress.attempts >= step.attempts_max:
        return None
    ended_at = progress.ended_at if progress.ended_at is not None else now
    due = ended_at + min(PAUSE_S_FIRST * 2 ** (progress.attempts - 1), PAUSE_S_MAX)
    if now < due:
        return Hold(f"tries again: {progress.why}", due)
    return Begin(step, undo)


def _approval(runbook: Runbook, approval: Approval, state: RunState, now: float) -> Move:
    asked = state.approvals.get(approval.name)
    if asked is None:
        return Ask(approval)
    if len(asked.given) >= approval.people:
        return Settle(approval, "approved by " + " and ".join(yes.actor for yes in asked.given))
    deadline = asked.at + approval.timeout_s
    if now < deadline:
        left = approval.people - len(asked.given)
        return Hold(f"waits for {left} approval{'s' if left > 1 else ''}: {approval.name}", deadline)
    why = f"approval `{approval.name}` was not answered within {approval.timeout_s:g} s"
    if approval.proceeds_unanswered:
        return Settle(approval, why)
    if point_passed(runbook, state):
        return Call(Trouble.UNANSWERED, approval.name, why, (Choice.RETRY, Choice.UNDO, Choice.GIVE_UP))
    return TurnBack(why)


def _backward(runbook: Runbook, state: RunState, now: float, fresh: bool) -> Move:
    """Undo in reverse whatever began, also what began and failed: half of it may be there."""
    steps = steps_by_name(runbook)
    for name in reversed(list(state.acts)):
        progress = state.undo(name)
        if state.act(name).status is Status.PENDING or progress.status is Status.DONE:
            continue
        step = steps.get(name)
        if not isinstance(step, Step):
            why = f"step `{name}` was done, and this version does not know how to undo it"
            return Call(Trouble.UNDO, name, why, (Choice.GO_ON, Choice.GIVE_UP))
        if step.undo is NOTHING_TO_UNDO:
            return PassOver(step, "nothing to undo")
        move = _attempt(step, progress, now, fresh, undo=True)
        if move is not None:
            return move
        why = f"undo of step `{name}`: {progress.why or 'the controller died in it again and again'}"
        return Call(Trouble.UNDO, name, why, (Choice.RETRY, Choice.GO_ON, Choice.GIVE_UP))
    return End(Outcome.UNDONE, state.undoing_why)


def _dry(runbook: Runbook, state: RunState) -> Move:
    for step in runbook.steps:
        if state.act(step.name).status is Status.PENDING:
            if isinstance(step, Step):
                return Look(step)
            return PassOver(step, f"would ask {step.people} {'person' if step.people == 1 else 'people'}")
    return End(Outcome.DONE, "dry run: nothing was done")


# Clocks -------------------------------------------------------------------------------------------------


def elapsed_s(clock: Clock, order: Order, state: RunState, now: float) -> float:
    """How long the clock ran, or has been running."""
    progress = state.act(clock.stops_after)
    stopped_at = progress.ended_at if progress.status is Status.DONE else state.ended_at
    return (stopped_at if stopped_at is not None else now) - order.onset


def breaches(order: Order, runbook: Runbook, state: RunState, now: float) -> tuple[Clock, ...]:
    """The clocks that ran over their limit and of which nothing is recorded yet."""
    if order.manner is Manner.DRY:
        return ()
    return tuple(
        clock
        for clock in runbook.clocks
        if clock.name not in state.breached and elapsed_s(clock, order, state, now) > clock.limit_s
    )
