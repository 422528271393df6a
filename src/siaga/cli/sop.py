"""`siaga sop`: every clause, live: how it stands, its mode, its last evidence, and where it was last proven."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit
from siaga.platform import account
from siaga.simulation.proven import proven
from siaga.sop.adherence import Adherence, Standing, from_document, standings, to_document
from siaga.sop.clauses import CLAUSES, ClauseId, find
from siaga.sop.modes import Mode

app = App(name="sop", help="Every clause of the SOP, live.")

UNPROVEN_AFTER_DAYS = 90
"""A procedure that was not exercised for so long counts as unproven."""


@dataclass(frozen=True, slots=True)
class _Live:
    """What the controller last wrote."""

    measured: tuple[Standing, ...] = ()
    modes: Mapping[str, str] = field(default_factory=dict)
    halted: str = ""
    latest: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proofs: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)


@app.default
def show(clause: str | None = None, *, json: Json = False) -> int:
    """Show every clause of the SOP, or one, with how it stands now and why.

    Proofs come from three places that are never mixed: in simulation, on the embedded platform, on this site.
    Exit code 0 when everything that was asked about holds, 1 when something is broken or at risk,
    3 when something was not measured.

    Examples
    --------
    siaga sop
    siaga sop ZDT-1.1 --json
    """
    asked = {found.id for found in find(clause)} if clause is not None else set(CLAUSES)
    live = _live()
    shown = [standing for standing in standings(live.measured, datetime.now(UTC)) if standing.clause in asked]
    if json:
        output.document({"halted": live.halted, "clauses": [_document(standing, live) for standing in shown]})
    elif clause is None:
        _print_all(shown, live)
    else:
        for standing in shown:
            _print_one(standing, live)
    return _exit_code(shown)


@app.command
def mode(
    clause: str,
    mode: Mode,
    *,
    reason: Annotated[str, Parameter(help="Goes into the evidence, with your name.")],
    json: Json = False,
) -> int:
    """Move a clause to another mode: observe, advise, approve or act.

    Down at once; up only by a person, and recorded before it is in force.

    Examples
    --------
    siaga sop mode ZDT-1.1a advise --reason "after a month of watching"
    """
    found = find(clause)
    if len(found) != 1:
        raise BadInput(
            f"`{clause}` means {', '.join(each.id for each in found)}, expected one clause",
            hint="Give the whole id, such as ZDT-1.1a.",
        )
    done = ask.post(f"/v1/sop/{found[0].id}/mode", {"mode": mode, "reason": reason})
    if json:
        output.document(done)
    else:
        print(f"{done['clause']}: from {done['from']} to {done['to']}")
    return Exit.DONE


def _live() -> _Live:
    """It ages by itself, so a dead controller shows as not measured."""
    path = account.home().state / "controller/standings.json"
    try:
        found = json_format.loads(path.read_bytes())
        return _Live(
            measured=tuple(from_document(entry) for entry in found["standings"]),
            modes=found["modes"],
            halted=found["halted"],
            latest=found["index"]["latest"],
            proofs=found["index"]["proofs"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return _Live()


def _places(clause: ClauseId, live: _Live) -> dict[str, Mapping[str, Any] | None]:
    """Where the clause was proven, each place apart (decision 22)."""
    here = live.proofs.get(clause, {})
    return {"simulation": proven().get(clause), "embedded": here.get("embedded"), "site": here.get("site")}


def _document(standing: Standing, live: _Live) -> dict[str, Any]:
    clause = CLAUSES[standing.clause]
    return {
        **to_document(standing),
        "english": clause.english,
        "indonesian": clause.indonesian,
        "mode": live.modes.get(standing.clause),
        "last_evidence": live.latest.get(standing.clause),
        "proven": _places(standing.clause, live),
    }


def _print_all(shown: list[Standing], live: _Live) -> None:
    rows: list[tuple[object, ...]] = []
    for standing in shown:
        clause = CLAUSES[standing.clause]
        said = "" if standing.parts else _said(standing)
        rows.append(
            (
                clause.id,
                clause.title,
                standing.adherence,
                live.modes.get(clause.id, ""),
                said,
                clause.numbers,
                _evidence_in_words(live.latest.get(clause.id)),
                _newest_proof(_places(clause.id, live)),
            )
        )
        rows += [("", f"  {part.part}", part.adherence, "", _said(part), "", "", "") for part in standing.parts]
    output.table(("clause", "", "state", "mode", "measured", "limit", "last evidence", "proven by a drill"), rows)
    if live.halted:
        print(f"\nHALTED: {live.halted}. Automatic acts are held; `siaga resume --reason …` lets them go on.")
    print("\n`siaga sop CLAUSE` shows the words of a clause and why it stands as it does.")


def _said(standing: Standing) -> str:
    """The figure of what holds; the reason of what does not."""
    return standing.figure if standing.adherence is Adherence.HOLDS else standing.why


def _print_one(standing: Standing, live: _Live) -> None:
    clause = CLAUSES[standing.clause]
    print(f"{clause.id}  {clause.title}\n\n{clause.indonesian}\n\n{clause.english}\n")
    rows = [[s.part or "whole clause", s.adherence, s.figure, s.limit, s.why] for s in (standing, *standing.parts)]
    output.table(("part", "state", "measured", "limit", "why"), rows)
    print(f"\nmode                         {live.modes.get(clause.id, 'unknown: the controller wrote none')}")
    latest = live.latest.get(clause.id)
    print(f"last evidence                {_evidence_in_words(latest)}" + (f": {latest['reason']}" if latest else ""))
    for place, words in _PLACES.items():
        print(f"{words:<29}{_proof_in_words(_places(clause.id, live)[place])}")
    print()


_PLACES = {
    "simulation": "proven in simulation",
    "embedded": "proven on embedded platform",
    "site": "proven on this site",
}


def _evidence_in_words(entry: Mapping[str, Any] | None) -> str:
    return f"record {entry['number']}, {_age(entry['time'])} ago" if entry else "none"


def _newest_proof(places: Mapping[str, Mapping[str, Any] | None]) -> str:
    """The proof nearest to the real thing: a site's own before the embedded platform's, that before simulation."""
    for place in ("site", "embedded", "simulation"):
        found = places[place]
        if found is not None:
            return f"{place}: {_proof_in_words(found)}"
    return "never"


def _proof_in_words(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "never"
    what = entry.get("drill") or f"{entry['hours']:,} hours in {entry['worlds']} worlds"
    words = f"{'held' if entry['holds'] else 'DID NOT HOLD'} {_age(entry['time'])} ago ({what})"
    return f"unproven: {words}" if _days(entry["time"]) > UNPROVEN_AFTER_DAYS else words


def _days(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds() / 86_400


def _age(time: str) -> str:
    seconds = int(_days(time) * 86_400)
    if seconds < 120:
        return f"{max(0, seconds)} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h" if seconds < 172_800 else f"{seconds // 86_400} days"


def _exit_code(shown: list[Standing]) -> Exit:
    states = {standing.adherence for standing in shown}
    if states & {Adherence.BROKEN, Adherence.AT_RISK}:
        return Exit.DOES_NOT_HOLD
    return Exit.UNDETERMINED if Adherence.NOT_MEASURED in states else Exit.DONE
