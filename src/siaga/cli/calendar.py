"""`siaga calendar`: what was expected, what ran, what was skipped and why, what was MISSED, and what comes next."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit
from siaga.runbooks.calendar import State, local

app = App(name="calendar", help="What is expected in every window, and what came of it (PMT, SUM).")

Weeks = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=520), help="How far back and ahead.")]


@app.default
def show(*, weeks: Weeks = 4, json: Json = False) -> int:
    """Show every expected occurrence: done, skipped with its reason, MISSED, under way, or to come.

    Exit code 1 when one was MISSED or ended undone, 3 when the calendar can't judge at the moment, else 0.

    Examples
    --------
    siaga calendar
    siaga calendar --weeks 52 --json
    """
    found = ask.get(f"/v1/calendar?weeks={weeks}")
    if json:
        output.document(found)
    else:
        _print(found)
    states = {occurrence["state"] for occurrence in found["occurrences"]}
    if states & {State.MISSED, State.UNDONE}:
        return Exit.DOES_NOT_HOLD
    return Exit.UNDETERMINED if found["doubts"] else Exit.DONE


@app.command
def allow(occurrence: str, *, reason: str, json: Json = False) -> int:
    """Allow one occurrence that a person has to allow: its clause is in mode `approve`, or traffic is unknown.

    Refused (exit code 4) once its last start is over. It never opens a freeze, a halt or traffic that is not low.

    Examples
    --------
    siaga calendar allow update-database/2026-11-25 --reason "board of 24 November, CHG-812"
    """
    done = ask.post("/v1/calendar/allow", {"occurrence": occurrence, "reason": reason})
    if json:
        output.document(done)
    else:
        print(f"{done['occurrence']} is allowed by {done['allowed_by']}")
    return Exit.DONE


def _print(found: dict[str, Any]) -> None:
    rows = [
        [
            one["id"],
            one["clause"],
            local(datetime.fromisoformat(one["begin"]), one["zone"]),
            one["state"],
            one["run"] if one["run"] != one["id"] else "",
            one["reason"],
            one["compensating"],
        ]
        for one in found["occurrences"]
    ]
    output.table(("occurrence", "clause", "window begins", "state", "run by hand", "why", "next window"), rows)
    for what in ("halted", "doubts"):
        if found[what]:
            print(f"\n{what}: {found[what]}")
