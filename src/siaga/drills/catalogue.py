"""The drills: what each one breaks, and which clause it tries."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from siaga.errors import BadInput


class Scope(StrEnum):
    """What a drill breaks."""

    NODE = "node"
    REGION = "region"
    SESSIONS = "session server"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill."""

    name: str
    clauses: tuple[str, ...]
    scope: Scope
    summary: str


DRILLS = (
    Drill("node-loss", ("ZDT-1.1a",), Scope.NODE, "a node is killed (SIGKILL) and stays dead"),
    Drill("node-hang", ("ZDT-1.1a",), Scope.NODE, "a node hangs (SIGSTOP): it takes connections and answers nothing"),
    Drill("latency-spike", ("ZDT-1.1a",), Scope.NODE, "every answer of a node takes 800 ms longer"),
    Drill(
        "gray-latency",
        ("ZDT-1.1a",),
        Scope.NODE,
        "30 % of a node's answers take 800 ms longer, its health check is clean",
    ),
    Drill("node-errors", ("ZDT-1.1a",), Scope.NODE, "a node answers 500 to everything but its health check"),
    Drill("region-loss", ("ZDT-1.1a",), Scope.REGION, "every node of a region is killed and stays dead"),
    Drill("region-hang", ("ZDT-1.1a",), Scope.REGION, "every node of a region hangs: nothing refuses, nothing answers"),
    Drill("session-primary-loss", ("ZDT-1.1b",), Scope.SESSIONS, "a primary of the session cluster is killed"),
    Drill("database-loss", ("ZDT-1.1b",), Scope.DATABASE, "the transaction database is killed, primary and replica"),
)


def runbook_name(drill: Drill) -> str:
    """How the runbook of a drill is called."""
    return f"drill-{drill.name}"


def find(name: str) -> Drill:
    """The drill called `name`; BadInput with the nearest name when there is none."""
    for drill in DRILLS:
        if drill.name == name:
            return drill
    names = [drill.name for drill in DRILLS]
    near = get_close_matches(name, names, n=1)
    raise BadInput(
        f"no drill is called `{name}`, expected one of {', '.join(names)}",
        hint=f"Did you mean `siaga drill {near[0]}`?" if near else "`siaga drill list` explains each.",
    )
