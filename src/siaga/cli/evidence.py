"""`siaga evidence`: verify it, read it, give it away. All of it works with the controller dead."""

from __future__ import annotations

import asyncio
import json as json_format
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from siaga.cli import output
from siaga.cli.platform import Json
from siaga.controller import state
from siaga.controller.state_version import evidence_directory, evidence_origin, keys_directory
from siaga.errors import BadInput, Exit, PlatformFault, Unreachable
from siaga.evidence import export as exports
from siaga.evidence.document import iso
from siaga.evidence.postgres import PostgresStore
from siaga.evidence.segments import Segments, Unreadable
from siaga.evidence.selection import EVERYTHING, BadLine, Selection, latest
from siaga.evidence.signatures import BadNote, Checkpoint, Key
from siaga.evidence.store import StoreFault
from siaga.evidence.verify_export import Report, read_keys
from siaga.evidence.verify_export import verify as verify_source
from siaga.evidence.witness_client import WitnessClient, WitnessRefused
from siaga.platform import account, control_database, lifecycle, witness

app = App(name="evidence", help="What was decided and done, and the proof that nothing of it was changed (SUM).")

UNWITNESSED_MAX = timedelta(minutes=5)
"""The newest records wait for the next checkpoint; if they wait for longer, the proof is not complete."""

Directory = Annotated[Path | None, Parameter(help="An evidence directory; without it, this platform's.")]
Keys = Annotated[Path | None, Parameter(help="Where `log.pub` and `witness.pub` are; without it, the platform's own.")]


@dataclass(frozen=True, slots=True)
class _Place:
    """The evidence that is meant."""

    source: Segments | PostgresStore
    keys: Path
    witness: Path | None
    """The witness's socket; unknown for a directory from elsewhere."""


@app.command
def verify(*, directory: Directory = None, keys: Keys = None, json: Json = False) -> int:
    """Verify every record, every checkpoint and both signatures, against what the witness remembers, too.

    Exit code 0 when it holds, 1 when it does not (the first bad record is named), 3 when records older than
    5 minutes are under no checkpoint that the witness signed.

    Examples
    --------
    siaga evidence verify
    siaga evidence verify --directory /mnt/copy/evidence --keys /mnt/safe/keys --json
    """
    place = _place(directory, keys)
    seen, told = _witness_remembers(place)
    log_keys, witness_keys = (_read_keys(place.keys / name) for name in exports.KEYS)
    with _reading(), _progress("verifying", place.source) as progress:
        report = verify_source(place.source, log_keys, witness_keys, seen=seen, progress=progress)
        code = _exit_code(place, report)
    if json:
        output.document({**report.document(), "holds": code is Exit.DONE, "witness": told})
    else:
        print("\n".join(report.words()))
        print(f"the witness: {told}")
        print({Exit.DONE: "HOLDS", Exit.DOES_NOT_HOLD: "DOES NOT HOLD"}.get(code, "NOT ALL OF IT IS WITNESSED"))
    return code


@app.command
def show(
    *,
    kind: Annotated[str, Parameter(help="Such as `traffic.drain`, or `traffic` for all of them.")] = "",
    clause: Annotated[str, Parameter(help="Such as `PMT-2.1`, or `PMT` for all below it.")] = "",
    run: Annotated[str, Parameter(help="The run of a runbook.")] = "",
    since: Annotated[datetime | None, Parameter(help="A time; without a zone it is UTC.")] = None,
    count: Annotated[int, Parameter(help="How many of the newest at most.")] = 20,
    directory: Directory = None,
    json: Json = False,
) -> int:
    """Show the newest records, oldest first.

    Examples
    --------
    siaga evidence show --clause ZDT-1.1a --count 5
    siaga evidence show --kind runbook --since 2026-11-25T03:00:00+07:00 --json
    """
    if count < 1:
        raise BadInput(f"`--count` is {count}, expected at least 1", hint="Leave it out for the last 20.")
    after = "" if since is None else iso(since if since.tzinfo else since.replace(tzinfo=UTC))
    with _reading():
        source = _place(directory, None).source
        found = latest(source.newest_first(), count, Selection(kind, clause, run, after))
    if json:
        output.document({"records": found})
    elif not found:
        print("no such record")
    else:
        output.table(("record", "time", "clause", "kind", "actor", "reason"), [_row(record) for record in found])
    return Exit.DONE


@app.command
def export(
    target: Annotated[Path, Parameter(help="A new directory; or a new `.tar`, `.tar.gz` or `.jsonl` file.")],
    *,
    unwitnessed: Annotated[
        bool, Parameter(negative="", help="The newest records too, which no witnessed checkpoint covers yet.")
    ] = False,
    directory: Directory = None,
    keys: Keys = None,
    json: Json = False,
) -> int:
    """Write the evidence for somebody who trusts neither us nor our programs: with it goes one file that verifies it.

    That file needs Python and its package `cryptography`, and nothing else. Give the public keys by another way.

    Examples
    --------
    siaga evidence export /mnt/audit/2026-11
    siaga evidence export /mnt/audit/2026-11.tar.gz
    """
    place = _place(directory, keys)
    with _reading(), _progress("exporting", place.source) as progress:
        done = exports.export(place.source, place.keys, target, unwitnessed=unwitnessed, progress=progress)
    described = {
        "target": str(done.target),
        "origin": done.origin,
        "first": done.first,
        "records": done.size - done.first,
        "left_out": done.left_out,
    }
    if json:
        output.document(described)
    else:
        print(f"{target}: {described['records']:,} records of {done.origin}")
        if done.left_out:
            print(f"left out: the newest {done.left_out:,}, which are under no witnessed checkpoint yet")
    return Exit.DONE


def _place(directory: Path | None, keys: Path | None) -> _Place:
    with _reading():
        if directory is not None:
            return _Place(Segments(directory), keys or directory.parent / "keys", None)
        layout = lifecycle.required(account.home())
        controller = layout.directory("controller")
        generation = state.read(controller).generation
        place = controller / evidence_directory(generation)
        source: Segments | PostgresStore
        if layout.site.controller.state == "postgresql":
            source = PostgresStore(
                lambda: psycopg.connect(control_database.conninfo(layout), application_name="siaga standby"),
                origin=evidence_origin(layout.site.name, generation),
                epoch=0,
                directory=place,
            )
        else:
            source = Segments(place)
        return _Place(source, keys or controller / keys_directory(generation), witness.socket(layout.place.run))


def _read_keys(path: Path) -> list[Key]:
    try:
        return read_keys(path)
    except (OSError, BadNote, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(
            f"{path}: {why}, expected public keys, one a line",
            hint="Name the directory that holds `log.pub` and `witness.pub` with `--keys`.",
        ) from error


def _witness_remembers(place: _Place) -> tuple[list[Checkpoint], str]:
    """The last checkpoint that the witness itself remembers, and what is to be said of it."""
    if place.witness is None:
        return [], "not asked, the directory is not this platform's"
    try:
        found = asyncio.run(WitnessClient(place.witness).last(place.source.origin))
    except (Unreachable, WitnessRefused) as error:
        return [], f"could not be asked: {error.message}"
    if found.checkpoint is None:
        return [], "has seen nothing of this log yet"
    return [found.checkpoint], f"remembers {found.checkpoint.size} records" + (
        f", and has refused since: {found.refusal}" if found.refusal else ""
    )


def _exit_code(place: _Place, report: Report) -> Exit:
    """Records that only wait for the next checkpoint do not count against it."""
    if report.exit_code == 3 and 0 < report.witnessed_size < report.size:
        oldest = next(lines for lines in place.source.blocks(report.witnessed_size) if lines)[0]
        age = datetime.now(UTC) - datetime.fromisoformat(json_format.loads(oldest[65:])["time"])
        return Exit.DONE if age < UNWITNESSED_MAX else Exit.UNDETERMINED
    return Exit(report.exit_code)


@contextmanager
def _reading() -> Iterator[None]:
    """What can go wrong with evidence that is read, with the next move."""
    try:
        yield
    except Unreadable as error:
        raise BadInput(str(error), hint="Name an evidence directory with `--directory`.") from error
    except BadLine as error:
        raise PlatformFault(str(error), hint="Run `siaga evidence verify`, which names it.") from error
    except StoreFault as error:
        raise Unreachable(
            f"the evidence can't be read: {error}", hint="Look at the part `control-db` with `siaga status`."
        ) from error
    except OSError as error:
        raise BadInput(
            f"the evidence can't be read: {error.strerror or error}", hint="Read it as the platform's user, or as root."
        ) from error


@contextmanager
def _progress(what: str, source: Segments | PostgresStore) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where somebody looks at it."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as shown:
        task = shown.add_task(what, total=_size(source), completed=source.start.size)
        yield lambda size: shown.update(task, completed=size)


def _size(source: Segments | PostgresStore) -> int | None:
    """How many records there are, as the last one says; unknown where it can't be read."""
    try:
        return int(latest(source.newest_first(), 1, EVERYTHING)[-1]["number"]) + 1
    except (BadLine, IndexError):
        return None


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    reason = record["reason"] if "exempt_at" not in record else f"{record['reason']} (done at {record['exempt_at']})"
    return record["number"], record["time"], record["clause"], record["kind"], record["actor"], reason
