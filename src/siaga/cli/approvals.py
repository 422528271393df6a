"""`siaga approvals`: what clauses in mode `approve` want to do, and a person's yes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit

app = App(name="approvals", help="What clauses in mode `approve` want to do, and your yes to it.")


@app.default
def show(*, json: Json = False) -> int:
    """Show what waits for a person's yes. Runs that wait are in `siaga runs list`.

    Examples
    --------
    siaga approvals
    """
    found = ask.get("/v1/approvals")
    if json:
        output.document(found)
    elif not found["approvals"]:
        print("nothing waits for a yes")
    else:
        output.table(("what", "clause", "since", "why"), [tuple(each.values()) for each in found["approvals"]])
    return Exit.DONE


@app.command
def give(
    what: str,
    *,
    reason: Annotated[str, Parameter(help="Goes into the evidence, with your name.")] = "",
    json: Json = False,
) -> int:
    """Say yes to what is wanted now; it counts for a minute.

    Examples
    --------
    siaga approvals give "drain sgp-1" --reason "seen on the dashboard too"
    """
    done = ask.post("/v1/approvals", {"what": what, "reason": reason})
    if json:
        output.document(done)
    else:
        print(f"allowed: {done['allowed']}")
    return Exit.DONE
