"""`siaga sop`: every clause, live."""

from __future__ import annotations

import json as json_format
from datetime import UTC, datetime
from typing import Any

from siaga.cli import output
from siaga.cli.platform import Json
from siaga.errors import Exit
from siaga.platform import account
from siaga.sop.adherence import Adherence, Standing, from_document, standings, to_document
from siaga.sop.clauses import CLAUSES, find


def sop(clause: str | None = None, *, json: Json = False) -> int:
    """Show every clause of the SOP, or one, with how it stands now and why.

    Exit code 0 when everything that was asked about holds, 1 when something is broken or at risk,
    3 when something was not measured.

    Examples
    --------
    siaga sop
    siaga sop ZDT-1.1 --json
    """
    asked = {found.id for found in find(clause)} if clause is not None else set(CLAUSES)
    shown = [standing for standing in standings(_measured(), datetime.now(UTC)) if standing.clause in asked]
    if json:
        output.document({"clauses": [_document(standing) for standing in shown]})
    elif clause is None:
        _print_all(shown)
    else:
        for standing in shown:
            _print_one(standing)
    return _exit_code(shown)


def _measured() -> tuple[Standing, ...]:
    """What the controller last wrote; it ages by itself, so a dead controller shows as not measured."""
    path = account.home().state / "controller/standings.json"
    try:
        return tuple(from_document(entry) for entry in json_format.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError):
        return ()


def _document(standing: Standing) -> dict[str, Any]:
    clause = CLAUSES[standing.clause]
    return {**to_document(standing), "english": clause.english, "indonesian": clause.indonesian}


def _print_all(shown: list[Standing]) -> None:
    rows: list[tuple[object, ...]] = []
    for standing in shown:
        clause = CLAUSES[standing.clause]
        said = "" if standing.parts else _said(standing)
        rows.append((clause.id, clause.title, standing.adherence, said, clause.numbers))
        rows += [("", f"  {part.part}", part.adherence, _said(part), "") for part in standing.parts]
    output.table(("clause", "", "state", "measured", "limit"), rows)
    print("\n`siaga sop CLAUSE` shows the words of a clause and why it stands as it does.")


def _said(standing: Standing) -> str:
    """The figure of what holds; the reason of what does not."""
    return standing.figure if standing.adherence is Adherence.HOLDS else standing.why


def _print_one(standing: Standing) -> None:
    clause = CLAUSES[standing.clause]
    print(f"{clause.id}  {clause.title}\n\n{clause.indonesian}\n\n{clause.english}\n")
    rows = [[s.part or "whole clause", s.adherence, s.figure, s.limit, s.why] for s in (standing, *standing.parts)]
    output.table(("part", "state", "measured", "limit", "why"), rows)
    print()


def _exit_code(shown: list[Standing]) -> Exit:
    states = {standing.adherence for standing in shown}
    if states & {Adherence.BROKEN, Adherence.AT_RISK}:
        return Exit.DOES_NOT_HOLD
    return Exit.UNDETERMINED if Adherence.NOT_MEASURED in states else Exit.DONE
