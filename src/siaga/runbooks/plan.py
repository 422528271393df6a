"""What a run would do, before it does it, as a document that the journal keeps (pure)."""

from __future__ import annotations

from typing import Any

from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Clock, Context, Document, Runbook, Step
from siaga.sop.clauses import ClauseId


def plan(runbook: Runbook, parameters: Document) -> dict[str, Any]:
    """What would happen, before it does."""
    return {
        "runbook": runbook.name,
        "clause": str(runbook.clause),
        "summary": runbook.summary,
        "automatic": runbook.automatic,
        "alone": runbook.alone,
        "parameters": dict(parameters),
        "fields": dict(runbook.fields),
        "steps": [_planned(number, step) for number, step in enumerate(runbook.steps, 1)],
        "clocks": [
            {"name": clock.name, "limit_s": clock.limit_s, "stops_after": clock.stops_after} for clock in runbook.clocks
        ],
    }


def _planned(number: int, step: Step | Approval) -> dict[str, Any]:
    if isinstance(step, Approval):
        return {
            "number": number,
            "name": step.name,
            "kind": "approval",
            "people": step.people,
            "timeout_s": step.timeout_s,
            "proceeds_unanswered": step.proceeds_unanswered,
            "wants_ticket": step.wants_ticket,
            "ticket_pattern": step.ticket_pattern,
        }
    return {
        "number": number,
        "name": step.name,
        "kind": "step",
        "deadline_s": step.deadline_s,
        "attempts_max": step.attempts_max,
        "undo": step.undo is not NOTHING_TO_UNDO,
        "point_of_no_return": step.point_of_no_return,
        "exempt": step.exempt,
    }


def shadow(plan: Document) -> Runbook:
    """A runbook with the names, limits and rules of a plan, whose acts nobody may call.

    Who reads the journal without the controller judges by it: an approval offline, the clocks of a run of last year.
    """
    return Runbook(
        name=str(plan["runbook"]),
        clause=ClauseId(plan["clause"]),
        summary=str(plan["summary"]),
        steps=tuple(_shadow(step) for step in plan["steps"]),
        clocks=tuple(Clock(clock["name"], clock["limit_s"], clock["stops_after"]) for clock in plan["clocks"]),
        automatic=bool(plan["automatic"]),
        fields=dict(plan["fields"]),
        alone=str(plan["alone"]),
    )


def _shadow(step: Document) -> Step | Approval:
    if step["kind"] == "approval":
        return Approval(
            name=step["name"],
            timeout_s=step["timeout_s"],
            people=step["people"],
            proceeds_unanswered=step["proceeds_unanswered"],
            wants_ticket=step["wants_ticket"],
            ticket_pattern=step["ticket_pattern"],
        )
    return Step(
        name=step["name"],
        act=_nobody,
        undo=_nobody if step["undo"] else NOTHING_TO_UNDO,
        deadline_s=step["deadline_s"],
        attempts_max=step["attempts_max"],
        point_of_no_return=step["point_of_no_return"],
        exempt=step["exempt"],
    )


async def _nobody(context: Context) -> Document | None:
    raise AssertionError(f"a shadow can't act: {context.key}")
