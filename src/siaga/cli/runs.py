"""`siaga runs`: what runs, what it waits for, and what people say to it. Without a controller the journal answers."""

from __future__ import annotations

import functools
import getpass
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter
from rich.console import Console

from siaga.cli import ask, output, runs_view
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit, Unreachable
from siaga.platform import account, lifecycle

if TYPE_CHECKING:
    from siaga.runbooks.archive import Archive
    from siaga.runbooks.journal import Place

app = App(name="runs", help="Procedures under way: what each does, waits for, and how much time is left.")
LOOK_S = 0.5
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Ask every check, and do nothing.")]
Drill = Annotated[bool, Parameter(name="--drill", negative="", help="The same acts, marked as a drill.")]
Why = Annotated[str, Parameter(help="Goes into the evidence.")]
Ticket = Annotated[str, Parameter(help="The change ticket it belongs to.")]


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """Show the newest runs; those that wait for a person say what for. Works with the controller dead.

    Examples
    --------
    siaga runs list
    """
    found = _either(lambda: ask.get("/v1/runs")["runs"], lambda archive: archive.lines(time.time(), {}))
    if json:
        output.document({"runs": found})
    elif not found:
        print("no run yet; `siaga runs plan` shows what can be started")
    else:
        runs_view.listing(found)
    return Exit.DONE


@app.command
def show(run: str, *, json: Json = False) -> int:
    """Show one run: every step, every clock, and the question it asks. Works with the controller dead.

    Exit code 0 when it is done, 1 when it was undone, given up or has failed, 3 when it is still under way.

    Examples
    --------
    siaga runs show update-database/2026-11-25
    """
    found = _find(run)
    if json:
        output.document(found)
    else:
        runs_view.show(found)
    return _verdict(found)


@app.command
def watch(run: str, *, json: Json = False) -> int:
    """Follow a run to its end, with the time left to each clock; Ctrl-C stops watching, not the run.

    Exit code 0 when it is done, 1 when it was undone, given up or has failed, 3 when it waits for a person and
    nobody sits here to answer (no terminal).

    Examples
    --------
    siaga runs watch update-database/2026-11-25
    """
    found = follow(run, quiet=json, waits_for_people=sys.stderr.isatty() and not json)
    if json:
        output.document(found)
    return _verdict(found)


@app.command
def plan(name: str = "", *parameters: str, json: Json = False) -> int:
    """Show what a run would do: steps, deadlines, undo, approvals, clocks. Without a name, every runbook.

    Examples
    --------
    siaga runs plan
    siaga runs plan update-database version=18.7
    """
    if name:
        return show_plan(name, _parameters(parameters), json)
    found = ask.get("/v1/runbooks")
    if json:
        output.document(found)
    else:
        runs_view.runbooks(found["runbooks"])
    return Exit.DONE


@app.command
def start(
    name: str,
    *parameters: str,
    reason: Why = "",
    dry_run: DryRun = False,
    drill: Drill = False,
    json: Json = False,
) -> int:
    """Begin a run with parameters as `key=value`; its plan is printed first. It goes on when this command ends.

    Refused (exit code 4) while another run of its kind is under way. With --dry-run every check is asked and nothing
    is done: exit code 3 when a check could not answer.

    Examples
    --------
    siaga runs start update-database version=18.7 --dry-run
    siaga runs start update-database version=18.7 --reason "monthly update"
    """
    if dry_run and drill:
        raise BadInput(
            "--dry-run and --drill were given, expected one of them", hint="A drill acts, a dry run does not."
        )
    given = _parameters(parameters)
    if not json:
        show_plan(name, given, json=False)
        print()
    manner = "dry run" if dry_run else "drill" if drill else "real"
    run = begin(name, given, manner, reason or f"siaga runs start {name}")
    if not dry_run:
        if json:
            output.document({"run": run})
        else:
            print(f"begun: {run}\n`siaga runs watch {run}` follows it.")
        return Exit.DONE
    found = follow(run, quiet=True)
    if json:
        output.document(found)
    else:
        runs_view.show(found)
    return Exit.DONE if all(step["status"] == "done" for step in found["steps"]) else Exit.UNDETERMINED


@app.command
def approve(run: str, *, ticket: Ticket = "", json: Json = False) -> int:
    """Say yes to what a run asks for now. Counts with the controller dead too; twice is once.

    Refused (exit code 4) after the time-out, and for the requester where two people have to approve.

    Examples
    --------
    siaga runs approve update-database/2026-11-25 --ticket CHG-1234
    """
    said = _either(
        lambda: ask.post(f"{_path(run)}/approve", {"ticket": ticket}),
        lambda archive: archive.approve(archive.standing(run), _actor(), ticket, time.time()),
    )
    left = said["still_wanted"]
    return _said(said, json, "approved" + (f"; {left} more {'is' if left == 1 else 'are'} wanted" if left else ""))


@app.command
def decide(run: str, choice: Literal["retry", "go-on", "undo", "give-up"], *, reason: Why, json: Json = False) -> int:
    """Decide what a run does that waits for a person; the first decision counts.

    Examples
    --------
    siaga runs decide update-database/2026-11-25 retry --reason "disk replaced"
    """
    said = _either(
        lambda: ask.post(f"{_path(run)}/decide", {"choice": choice, "reason": reason}),
        lambda archive: archive.decide(archive.standing(run), _actor(), choice, reason, time.time()),
    )
    return _said(said, json, f"decided: {choice}")


@app.command
def cancel(run: str, *, reason: Why, json: Json = False) -> int:
    """Have a run go back at its next step, undoing what it did. Refused (exit code 4) past its point of no return.

    Examples
    --------
    siaga runs cancel update-database/2026-11-25 --reason "wrong version"
    """
    said = _either(
        lambda: ask.post(f"{_path(run)}/cancel", {"reason": reason}),
        lambda archive: archive.cancel(archive.standing(run), _actor(), reason, time.time()),
    )
    return _said(said, json, "cancelled: it goes back at its next step")


# For other commands ------------------------------------------------------------------------------------------


def show_plan(name: str, parameters: Mapping[str, Any], json: bool) -> int:
    """Print what a run would do."""
    found = ask.post(f"/v1/runbooks/{quote(name)}/plan", {"parameters": dict(parameters)})
    if json:
        output.document(found)
    else:
        runs_view.plan(found)
    return Exit.DONE


def begin(name: str, parameters: Mapping[str, Any], manner: str, reason: str) -> str:
    """Begin a run; its id."""
    wanted = {"runbook": name, "parameters": dict(parameters), "manner": manner, "reason": reason}
    return str(ask.post("/v1/runs", wanted)["run"])


def follow(run: str, *, quiet: bool, waits_for_people: bool = True) -> dict[str, Any]:
    """Watch a run to its end on stderr and return it; a controller that is away for a while is waited for."""
    with runs_view.Watch(quiet=quiet) as watching:
        while True:
            found = _find(run)
            watching.update(found)
            asks = found["question"] is not None or found["approval"] is not None
            if found["ended_at"] or found["state"] == "failed" or (asks and not waits_for_people):
                return found
            time.sleep(LOOK_S)


# ------------------------------------------------------------------------------------------------------------


def _find(run: str) -> dict[str, Any]:
    found: dict[str, Any] = _either(lambda: ask.get(_path(run)), lambda archive: archive.page(run, time.time()))
    return found


def _path(run: str) -> str:
    return f"/v1/runs/{quote(run)}"


def _either(online: Callable[[], Any], offline: Callable[[Archive], Any]) -> Any:
    """Ask the controller, or the journal when there is none."""
    try:
        return online()
    except Unreachable as unreachable:
        _tell(f"{unreachable.message}: this is from the journal")
    # Only here: DBOS takes most of a second to import, and no other command needs it.
    from siaga.runbooks.archive import Archive
    from siaga.runbooks.journal import Journal

    journal = Journal(_place())
    try:
        return offline(Archive(journal))
    finally:
        journal.close()


@functools.cache
def _tell(what: str) -> None:
    """Once a command, however often it looks."""
    Console(stderr=True, highlight=False).print(f"[dim]{what}[/]")


def _place() -> Place:
    from siaga.platform import control_database
    from siaga.runbooks.journal import FILE_NAME, PostgresDatabase, SqliteFile

    layout = lifecycle.required(account.home())
    if layout.site.controller.state == "postgresql":
        return PostgresDatabase(control_database.conninfo(layout))
    path = layout.directory("controller") / FILE_NAME
    if not path.exists():
        raise Unreachable(
            "there is no journal of runs yet, and no controller answers", hint="`siaga up` starts the controller."
        )
    return SqliteFile(path)


def _actor() -> str:
    return getpass.getuser()


def _parameters(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise BadInput(f"parameter {each!r}, expected key=value", hint="For example `node=sgp-1`.")
        if key in found:
            raise BadInput(f"parameter `{key}` was given twice, expected once", hint="Leave one of them out.")
        found[key] = value
    return found


def _said(said: Mapping[str, Any], json: bool, words: str) -> int:
    if json:
        output.document(said)
    else:
        print(words)
    return Exit.DONE


def _verdict(found: Mapping[str, Any]) -> int:
    if found["state"] == "done":
        return Exit.DONE
    return Exit.DOES_NOT_HOLD if found["ended_at"] or found["state"] == "failed" else Exit.UNDETERMINED
