"""`siaga state`: Siaga's own state, copied away and put back."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from siaga.cli import output
from siaga.cli.output import Json
from siaga.controller import state, state_backup, state_restore
from siaga.controller.state_restore import Restored
from siaga.errors import BadInput, Exit
from siaga.platform import account, lifecycle
from siaga.platform.progress import Progress

app = App(name="state", help="Siaga's own state: runs, evidence, keys, levers and secrets.")


@app.command
def show(*, json: Json = False) -> int:
    """Show the version of the state, and which program wrote it last.

    Examples
    --------
    siaga state show
    """
    layout = lifecycle.required(account.home())
    found = state.read(layout.directory("controller"))
    described = {
        "state": layout.site.controller.state,
        "format": found.format,
        "siaga": found.siaga,
        "generation": found.generation,
        "continues": found.continues,
    }
    if json:
        output.document(described)
    else:
        output.table(("", ""), [(name, value) for name, value in described.items() if value is not None])
    return Exit.DONE


@app.command
def backup(
    target: Annotated[Path, Parameter(help="A new file, or a directory for one named after site and time.")],
    *,
    json: Json = False,
) -> int:
    """Copy the state into one new file, readable by you alone; the controllers may go on meanwhile.

    It holds runs, evidence, keys, levers and secrets, each file with its SHA-256. Keep it as you keep passwords.
    The platform's databases are not in it: snapshots are for those.

    Examples
    --------
    siaga state backup /mnt/safe/
    siaga state backup /mnt/safe/siaga.tar --json
    """
    layout = lifecycle.required(account.home())
    if layout.site.controller.state == "postgresql":
        _say_what_is_elsewhere(layout.site.controller.address or "")
    path, manifest = state_backup.back_up(layout, target, datetime.now(UTC))
    described = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "files": len(manifest.members),
        "state": manifest.state,
        "origin": manifest.origin,
        "records": manifest.records,
    }
    if json:
        output.document(described)
    else:
        print(f"{path}: {described['bytes']:,} bytes, {described['files']} files, {manifest.records:,} records")
    return Exit.DONE


@app.command
def restore(
    source: Annotated[Path, Parameter(help="A file that `siaga state backup` made.")],
    *,
    accept_loss: Annotated[str, Parameter(help="Go on although records are lost for good, and say why.")] = "",
    dry_run: Annotated[
        bool, Parameter(negative="", help="Check everything, say what would be done, do nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """Put the state back from a backup, while no controller runs; what it replaces is kept aside.

    Afterwards every automatic act is halted until `siaga resume`: look at the open runs first. Evidence that is
    here and goes on from the backup's stays. Secrets and ports that are here stay too.

    Exit code 4 when a controller runs, or when records of the evidence would be lost (`--accept-loss`).

    Examples
    --------
    siaga down && siaga state restore /mnt/safe/siaga.tar --dry-run
    siaga state restore /mnt/safe/siaga.tar --accept-loss "disk of 12 May, no later copy"
    """
    if accept_loss != accept_loss.strip() or (accept_loss and len(accept_loss) < 3):
        raise BadInput(
            f"--accept-loss {accept_loss!r}: expected a reason in words", hint="Say why no later copy exists."
        )
    progress = Progress(quiet=json)
    restored = state_restore.restore(
        account.home(),
        source,
        now=datetime.now(UTC),
        actor=getpass.getuser(),
        accept_loss=accept_loss,
        dry_run=dry_run,
        say=progress.say,
    )
    if json:
        output.document(_document(restored, dry_run))
    else:
        _print(restored, dry_run)
    return Exit.DONE


def _say_what_is_elsewhere(address: str) -> None:
    Progress(quiet=False).say(
        f"runs and evidence are in PostgreSQL at {address}, database `siaga_state`, and not in this file: "
        "back that up with its own tools (`pg_dump --format=custom --exclude-table-data=siaga_state.leader`)"
    )


def _document(restored: Restored, dry_run: bool) -> dict[str, Any]:
    evidence = restored.evidence
    return {
        "dry_run": dry_run,
        "made_at": restored.manifest.made_at,
        "files": len(restored.manifest.members),
        "evidence": "kept" if evidence.kept else "restored",
        "records": evidence.records,
        "witnessed": evidence.witnessed,
        "lost": list(evidence.lost) if evidence.lost else None,
        "origin": restored.origin,
        "epoch": restored.epoch,
        "secrets_restored": list(restored.secrets),
        "halted": True,
        "replaced": str(restored.replaced) if restored.replaced else None,
    }


def _print(restored: Restored, dry_run: bool) -> None:
    would = "would be" if dry_run else "is"
    print(f"backup of {restored.manifest.made_at}: {len(restored.manifest.members)} files, each as it was written")
    evidence = restored.evidence
    if evidence.records is None:
        print("evidence   and runs are in PostgreSQL, and stay as they are there")
    elif evidence.kept:
        print(
            f"evidence   {evidence.records:,} records that are here go on; the backup has {restored.manifest.records:,}"
        )
    else:
        print(f"evidence   {would} the backup's: {evidence.records:,} records")
    if evidence.lost:
        print(f"lost       records {evidence.lost[0]:,} to {evidence.lost[1]:,}")
    if evidence.lost or evidence.generation > 1:
        print(f"log        `{restored.origin}` {would} written from now on")
    if evidence.witnessed is None:
        print("witness    its memory is not here: if it knows more records, the controller will refuse and say so")
    for name in restored.secrets:
        print(f"secret     {name} {would} back")
    print(f"halted     every automatic act {would} held until `siaga resume`")
    if restored.replaced:
        print(f"kept aside {restored.replaced}")
