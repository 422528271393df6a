"""`siaga evidence`: verify it, read it, give it away. All of it works with the controller dead."""

from __future__ import annotations

import json as json_format
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from siaga.cli import output
from siaga.cli.evidence_place import (
    Directory,
    Keys,
    Place,
    find,
    progress_bar,
    read_keys_in,
    reading,
    witness_remembers,
)
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit
from siaga.evidence import export as exports
from siaga.evidence.document import iso
from siaga.evidence.selection import Selection, latest
from siaga.evidence.verify_export import Report
from siaga.evidence.verify_export import verify as verify_source

app = App(name="evidence", help="What was decided and done, and the proof that nothing of it was changed (SUM).")

for name in ("checkpoint", "rotate", "acknowledge", "accept", "prune"):
    app.command(f"siaga.cli.evidence_acts:{name}", name=name)

UNWITNESSED_MAX = timedelta(minutes=5)
"""The newest records wait for the next checkpoint; if they wait for longer, the proof is not complete."""


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
    place = find(directory, keys)
    seen, told = witness_remembers(place)
    log_keys, witness_keys = (read_keys_in(place.keys / name) for name in exports.KEYS)
    with reading(), progress_bar("verifying", place.source) as progress:
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
    with reading():
        source = find(directory, None).source
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
    place = find(directory, keys)
    with reading(), progress_bar("exporting", place.source) as progress:
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


def _exit_code(place: Place, report: Report) -> Exit:
    """Records that only wait for the next checkpoint do not count against it."""
    if report.exit_code == 3 and 0 < report.witnessed_size < report.size:
        oldest = next(lines for lines in place.source.blocks(report.witnessed_size) if lines)[0]
        age = datetime.now(UTC) - datetime.fromisoformat(json_format.loads(oldest[65:])["time"])
        return Exit.DONE if age < UNWITNESSED_MAX else Exit.UNDETERMINED
    return Exit(report.exit_code)


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    reason = record["reason"] if "exempt_at" not in record else f"{record['reason']} (done at {record['exempt_at']})"
    return record["number"], record["time"], record["clause"], record["kind"], record["actor"], reason
