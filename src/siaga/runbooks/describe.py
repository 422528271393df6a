"""A run and a runbook in words and figures: what the CLI, the console and the API print (pure)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from siaga.runbooks.decide import elapsed_s, steps_by_name
from siaga.runbooks.model import Approval, Runbook, Step
from siaga.runbooks.order import Order
from siaga.runbooks.run import Asked, Phase, Progress, RunState, Status
from siaga.runbooks.words import open_approval


def summary(order: Order, runbook: Runbook, state: RunState, now: float, held: str) -> dict[str, Any]:
    """One line of `siaga runs list`; `held` is what the run says that it waits for, as the engine sees it."""
    return {
        "id": order.run,
        "runbook": order.runbook,
        "clause": str(runbook.clause),
        "manner": str(order.manner),
        "state": _state(runbook, state, held),
        "step": _step(state),
        "why": _why(state, held),
        "requester": order.requester,
        "reason": order.reason,
        "requested_at": iso(order.requested_at),
        "ended_at": iso(state.ended_at),
        "seconds": round((state.ended_at if state.ended_at is not None else now) - order.requested_at, 3),
    }


def show(order: Order, runbook: Runbook, state: RunState, now: float, held: str, progress: str) -> dict[str, Any]:
    """Everything about a run; `progress` is the last line its step said."""
    steps = steps_by_name(runbook)
    approval = open_approval(runbook, state)
    return {
        **summary(order, runbook, state, now, held),
        "progress": progress,
        "parameters": dict(order.parameters),
        "onset": iso(order.onset),
        "undoing_why": state.undoing_why,
        "steps": [_done(name, steps.get(name), state) for name in state.steps],
        "results": {name: dict(act.result) for name, act in state.acts.items() if act.status is Status.DONE},
        "clocks": _clocks(order, runbook, state, now),
        "question": _question(state),
        "approval": _asked(approval, state.approvals[approval.name], now) if approval is not None else None,
    }


def _state(runbook: Runbook, state: RunState, held: str) -> str:
    if state.outcome is not None:
        return str(state.outcome)
    if state.phase is Phase.WAITING:
        return str(state.phase)
    if open_approval(runbook, state) is not None:
        return "waiting for approval"
    if held.startswith("held: "):
        return "held"
    return str(state.phase)


def _why(state: RunState, held: str) -> str:
    if state.phase is Phase.ENDED:
        return state.why
    if state.wait is not None:
        return state.wait.why
    return held or state.undoing_why


def _step(state: RunState) -> str:
    """The name of the step it is at."""
    if state.phase is Phase.ENDED:
        return ""
    if state.wait is not None:
        return state.wait.step
    if state.phase is Phase.UNDOING:
        open_undos = [name for name in reversed(list(state.acts)) if state.undo(name).status is not Status.DONE]
        return open_undos[0] if open_undos else ""
    for name in state.steps:
        asked = state.approvals.get(name)
        if state.act(name).status is not Status.DONE and not (asked is not None and asked.settled):
            return name
    return ""


def _done(name: str, step: Step | Approval | None, state: RunState) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "kind": "approval" if isinstance(step, Approval) else "step"}
    asked = state.approvals.get(name)
    if asked is not None:
        status = "done" if asked.settled else "asked"
        given = [{"actor": yes.actor, "at": iso(yes.at), "ticket": yes.ticket} for yes in asked.given]
        return found | {"status": status, "why": asked.settled, "began": iso(asked.at), "approved_by": given}
    found |= _progress(state.act(name))
    undo = state.undo(name)
    return found | {"undo": _progress(undo)} if undo.status is not Status.PENDING else found


def _progress(progress: Progress) -> dict[str, Any]:
    ended_at = progress.ended_at if progress.status is not Status.BEGUN else None
    timed = progress.begun_at is not None and ended_at is not None
    return {
        "status": str(progress.status),
        "why": progress.why,
        "attempts": progress.attempts,
        "interruptions": progress.interruptions,
        "began": iso(progress.begun_at),
        "seconds": round((ended_at or 0.0) - (progress.begun_at or 0.0), 3) if timed else None,
    }


def _clocks(order: Order, runbook: Runbook, state: RunState, now: float) -> list[dict[str, Any]]:
    found = []
    for clock in runbook.clocks:
        elapsed = elapsed_s(clock, order, state, now)
        stopped = state.phase is Phase.ENDED or state.act(clock.stops_after).status is Status.DONE
        found.append(
            {
                "name": clock.name,
                "limit_s": clock.limit_s,
                "elapsed_s": round(elapsed, 3),
                "left_s": round(clock.limit_s - elapsed, 3),
                "stopped": stopped,
                "breached": elapsed > clock.limit_s,
            }
        )
    return found


def _question(state: RunState) -> dict[str, Any] | None:
    wait = state.wait
    if wait is None:
        return None
    return {
        "number": wait.number,
        "trouble": str(wait.trouble),
        "step": wait.step,
        "why": wait.why,
        "choices": [str(choice) for choice in wait.choices],
        "since": iso(wait.since),
    }


def _asked(approval: Approval, asked: Asked, now: float) -> dict[str, Any]:
    return {
        "step": approval.name,
        "people": approval.people,
        "approved_by": [yes.actor for yes in asked.given],
        "wants_ticket": approval.wants_ticket,
        "ticket_pattern": approval.ticket_pattern,
        "asked_at": iso(asked.at),
        "left_s": round(asked.at + approval.timeout_s - now, 3),
        "proceeds_unanswered": approval.proceeds_unanswered,
    }


def iso(seconds: float | None) -> str:
    """A time for people and programs; empty for none."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
