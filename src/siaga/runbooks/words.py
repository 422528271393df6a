"""What people say to a run, and whether it counts (pure): approvals, decisions, cancellations.

Judged twice by the same function: when it is said, so that the person hears why not; and when the run takes notice,
since it may have gone on in between. A word that does not count is kept with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from siaga.runbooks.decide import current, point_passed, steps_by_name
from siaga.runbooks.model import Approval, Document, Runbook
from siaga.runbooks.order import Order
from siaga.runbooks.run import Choice, Event, Phase, RunState

APPROVE, DECIDE, CANCEL, BREACH, ABANDON = "approve", "decide", "cancel", "breach", "abandon"
RECORDED = "recorded"
"""Of an abandoned run: its end is in the evidence."""
TICKET_LENGTH_MAX = 80


@dataclass(frozen=True, slots=True)
class Word:
    """One thing said to a run; `number` grows with every word in a journal."""

    number: int
    run: str
    kind: str
    actor: str
    said_at: float
    body: Document = field(default_factory=dict)


def objection(order: Order, runbook: Runbook | None, state: RunState, word: Word) -> str:
    """Why the word does not count; empty when it does."""
    if state.phase is Phase.ENDED:
        return f"the run has ended ({state.outcome})"
    if word.kind == APPROVE:
        return _against_approval(order, runbook, state, word)
    if word.kind == DECIDE:
        return _against_decision(state, word)
    if word.kind == CANCEL:
        return _against_cancel(runbook, state)
    return f"nobody knows what `{word.kind}` means"


def _against_approval(order: Order, runbook: Runbook | None, state: RunState, word: Word) -> str:
    approval = open_approval(runbook, state)
    if approval is None or approval.name != word.body.get("step", approval.name):
        return "the run does not ask for this approval now"
    asked = state.approvals[approval.name]
    if word.said_at > asked.at + approval.timeout_s:
        return f"the approval was asked for {approval.timeout_s:g} s, and they are over"
    if any(yes.actor == word.actor for yes in asked.given):
        return f"{word.actor} has approved already"
    if approval.people > 1 and word.actor == order.requester:
        return f"{word.actor} requested the run, and {approval.people} other people have to approve"
    return _against_ticket(approval, str(word.body.get("ticket", "")).strip())


def _against_ticket(approval: Approval, ticket: str) -> str:
    if approval.wants_ticket and not ticket:
        return "the approval wants a change ticket"
    if len(ticket) > TICKET_LENGTH_MAX:
        return f"the ticket has {len(ticket)} characters, expected at most {TICKET_LENGTH_MAX}"
    if ticket and approval.ticket_pattern and re.fullmatch(approval.ticket_pattern, ticket) is None:
        return f"the ticket is `{ticket}`, expected one like `{approval.ticket_pattern}`"
    return ""


def _against_decision(state: RunState, word: Word) -> str:
    wait = state.wait
    if wait is None:
        return "the run does not wait for a person now"
    if word.body.get("question", wait.number) != wait.number:
        return "the question was decided already"
    if word.body.get("choice") not in wait.choices:
        return f"`{word.body.get('choice')}` is no choice here, expected one of {', '.join(wait.choices)}"
    return ""


def _against_cancel(runbook: Runbook | None, state: RunState) -> str:
    if state.phase is Phase.UNDOING or (state.wait is not None and state.wait.back is Phase.UNDOING):
        return "the run is being undone already"
    if runbook is None or (state.wait is not None and Choice.UNDO not in state.wait.choices):
        return "this version can't undo it"
    passed = point_passed(runbook, state)
    return f"it is past its point of no return, `{passed}`: it goes forward, or calls a person" if passed else ""


def open_approval(runbook: Runbook | None, state: RunState) -> Approval | None:
    """The approval that is asked for now."""
    if runbook is None or state.phase is not Phase.RUNNING:
        return None
    step = current(runbook, state)
    return step if isinstance(step, Approval) and step.name in state.approvals else None


def key(order: Order, state: RunState, word: Word) -> str:
    """What makes a word count once: an approval per person and question, one decision per question."""
    if word.kind == APPROVE:
        step = str(word.body["step"])
        return f"{order.run}:{word.kind}:{step}:{state.approvals[step].at}:{word.actor}"
    if word.kind == DECIDE:
        return f"{order.run}:{word.kind}:{word.body['question']}"
    if word.kind == BREACH:
        return f"{order.run}:{word.kind}:{word.body['clock']}"
    if word.kind == ABANDON:
        return f"{order.run}:{word.kind}"
    return f"{order.run}:{word.kind}:{word.actor}:{state.heard}"


def heard(order: Order, runbook: Runbook | None, state: RunState, word: Word, now: float) -> Event:
    """The event of taking notice of a word, with its effect when it counts."""
    event: dict[str, Any] = {"event": "heard", "at": now, "word": word.number, "kind": word.kind, "actor": word.actor}
    event |= {"said_at": word.said_at}
    if word.kind == BREACH:
        return event | {"taken": True, "clock": word.body["clock"], "why": str(word.body.get("why", ""))}
    against = objection(order, runbook, state, word)
    if against:
        return event | {"taken": False, "why": f"`{word.kind}` by {word.actor} does not count: {against}"}
    if word.kind == APPROVE:
        approval = open_approval(runbook, state)
        assert approval is not None, "judged above"
        ticket = str(word.body.get("ticket", "")).strip()
        with_ticket = f", ticket {ticket}" if ticket else ""
        why = f"`{approval.name}` approved by {word.actor}{with_ticket}"
        return event | {"taken": True, "step": approval.name, "ticket": ticket, "why": why}
    reason = str(word.body.get("reason", ""))
    if word.kind == CANCEL:
        return event | {"taken": True, "why": f"cancelled by {word.actor}: {reason}"}
    names = list(steps_by_name(runbook)) if runbook is not None else list(state.steps)
    choice = str(word.body["choice"])
    return event | {"taken": True, "choice": choice, "steps": names, "why": f"{choice} by {word.actor}: {reason}"}
