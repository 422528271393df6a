"""What is asked for before a run begins: which runbook, with which choices, by whom and why (pure)."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siaga.errors import BadInput, Refused
from siaga.runbooks.model import Document, Manner, Runbook

CONTROLLER = "controller"
"""The requester of a run that the controller starts by itself."""
DOCUMENT_BYTES_MAX = 65_536
"""Of the parameters, and of what one act returns: the journal is for choices and figures, not for data."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,119}")


@dataclass(frozen=True, slots=True)
class Order:
    """The input of a run, as the journal keeps it."""

    run: str
    runbook: str
    parameters: Document
    manner: Manner
    plan: Document
    """The runbook as it was when the run began (`plan.py`)."""
    requester: str
    reason: str
    requested_at: float
    """Seconds since 1970, as all times here."""
    onset: float
    """When what the run answers to began; the clocks start here."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names the runbook's steps had when the run began."""
        return tuple(step["name"] for step in self.plan["steps"])


def to_document(order: Order) -> dict[str, Any]:
    """For the journal."""
    return {
        "run": order.run,
        "runbook": order.runbook,
        "parameters": dict(order.parameters),
        "manner": str(order.manner),
        "plan": dict(order.plan),
        "requester": order.requester,
        "reason": order.reason,
        "requested_at": order.requested_at,
        "onset": order.onset,
    }


def from_document(document: Document) -> Order:
    """From the journal; KeyError or ValueError when it was not written by us."""
    return Order(
        run=str(document["run"]),
        runbook=str(document["runbook"]),
        parameters=dict(document["parameters"]),
        manner=Manner(document["manner"]),
        plan=dict(document["plan"]),
        requester=str(document["requester"]),
        reason=str(document["reason"]),
        requested_at=float(document["requested_at"]),
        onset=float(document["onset"]),
    )


def known(runbooks: Mapping[str, Runbook], name: str) -> Runbook:
    """The runbook of that name; BadInput with the nearest one."""
    if name in runbooks:
        return runbooks[name]
    near = difflib.get_close_matches(name, runbooks, n=1)
    raise BadInput(
        f"runbook `{name}` is not known, expected one of {', '.join(sorted(runbooks)) or 'none'}",
        hint=f"Did you mean `{near[0]}`?" if near else "`siaga runs start` without a name lists them.",
    )


def judge_parameters(runbook: Runbook, parameters: Document) -> None:
    """BadInput for a parameter the runbook does not know."""
    for name in parameters:
        if name not in runbook.fields:
            near = difflib.get_close_matches(name, runbook.fields, n=1)
            wanted = ", ".join(runbook.fields) or "no parameter at all"
            raise BadInput(
                f"parameter `{name}` is not known to runbook `{runbook.name}`, expected {wanted}",
                hint=f"Did you mean `{near[0]}`?" if near else f"`siaga runs plan {runbook.name}` explains each.",
            )


def judge_request(runbook: Runbook, run: str, requester: str, onset: float, now: float) -> None:
    """BadInput or Refused for what may not begin like this."""
    if not _ID.fullmatch(run):
        raise BadInput(
            f"run id {run[:130]!r}, expected up to 120 letters, digits and . _ : / -, beginning with a letter or digit",
            hint="Leave it out, and one is made.",
        )
    if requester == CONTROLLER and not runbook.automatic:
        raise Refused(
            f"runbook `{runbook.name}` is not one that the controller may start by itself",
            hint=f"A person starts it with `siaga runs start {runbook.name}`.",
        )
    if onset > now:
        raise BadInput(
            f"onset lies {onset - now:.0f} s in the future, expected a time in the past",
            hint="Check the clock of the machine that asks.",
        )


def judge_document(document: Document | None, what: str) -> dict[str, Any]:
    """Plain JSON of a bearable size, or BadInput: it has to go into the journal."""
    try:
        text = json.dumps(dict(document or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{what} is not plain JSON: {error}", hint="Return numbers, texts, lists and objects.") from None
    if len(text) > DOCUMENT_BYTES_MAX:
        raise BadInput(
            f"{what} has {len(text)} bytes, expected at most {DOCUMENT_BYTES_MAX}",
            hint="Keep data elsewhere, and its name, count and digest here.",
        )
    found: dict[str, Any] = json.loads(text)
    return found
