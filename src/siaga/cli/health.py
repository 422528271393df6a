"""`siaga health`: what wears out, how long it still lasts, and what nobody looked at (PMT)."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from typing import Any

from cyclopts import App
from rich.console import Console

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit, Unreachable
from siaga.platform import account, lifecycle

app = App(name="health", help="Preventive health: disks, certificates, clocks, versions, slots, head-room (PMT).")

CHECK_DEADLINE_S = 300.0
_EXITS = {"ok": Exit.DONE, "act soon": Exit.DOES_NOT_HOLD, "act now": Exit.DOES_NOT_HOLD}


@app.default
def show(*, json: Json = False) -> int:
    """Show what every reader saw when it last looked, worst first. Works with the controller dead.

    Exit code 0 when everything is within its limit, 1 when something asks to be acted on, 3 when something could
    not be measured.

    Examples
    --------
    siaga health
    siaga health --json
    """
    try:
        found = ask.get("/v1/health")
    except Unreachable as unreachable:
        found = _remembered(unreachable)
    return _tell(found, json)


@app.command
def check(*, json: Json = False) -> int:
    """Look at everything now, which takes some seconds; the data itself is read by the weekly run alone.

    Exit codes as `siaga health` has them.

    Examples
    --------
    siaga health check
    """
    from siaga.controller.client import ControllerClient

    Console(stderr=True, highlight=False).print("[dim]reading; this takes some seconds[/]")
    sockets = lifecycle.required(account.home()).controller_sockets
    return _tell(asyncio.run(ControllerClient(sockets, CHECK_DEADLINE_S).post("/v1/health/check")), json)


def _remembered(unreachable: Unreachable) -> dict[str, Any]:
    """From the file of past readings, as it was judged then."""
    from siaga.health.service import as_of_then, document
    from siaga.health.store import FILE_NAME, Store

    layout = lifecycle.required(account.home())
    path = layout.directory("controller") / FILE_NAME
    if not path.exists():
        raise unreachable
    now, store = datetime.now(UTC), Store(path)
    try:
        seen, history = store.latest(now), store.history(datetime.fromtimestamp(0, UTC))
    except sqlite3.Error as error:
        raise Unreachable(f"{path} can't be read: {error}", hint="Start the controller: `siaga up`.") from error
    Console(stderr=True, highlight=False).print(f"[dim]{unreachable.message}: this is from {path.name}[/]")
    limits = layout.site.health.limits
    return document([reading for each in seen.values() for reading in as_of_then(each, history, limits)])


def _tell(found: dict[str, Any], json: bool) -> int:
    if json:
        output.document(found)
    else:
        _print(found)
    return _EXITS.get(found["verdict"], Exit.UNDETERMINED)


def _print(found: dict[str, Any]) -> None:
    rows = [
        [one["verdict"], one["kind"], one["subject"], _days(one), one["why"], one["at"][:16].replace("T", " ")]
        for one in found["readings"]
    ]
    output.table(("verdict", "reading", "of", "days left", "why", "read at (UTC)"), rows)
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in found["counts"].items() if count))
    if found["trouble"]:
        print(f"trends are missing: {found['trouble']}")


def _days(one: dict[str, Any]) -> str:
    return "" if one["days_left"] is None else f"{one['days_left']:.0f}"
