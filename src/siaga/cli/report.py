"""`siaga report`: the month's compliance report, every clause. It needs no controller, only what was recorded."""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from siaga.cli import ask, output
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
from siaga.cli.uptime_place import measured
from siaga.errors import BadInput, Exit, PlatformFault, SiagaError
from siaga.evidence.export import KEYS
from siaga.hosts.local import write_and_rename
from siaga.platform import account, lifecycle, packages
from siaga.reports import evidence, html, pdf, uptime
from siaga.reports.document import to_document
from siaga.reports.model import Report
from siaga.reports.month import Inputs, gather
from siaga.reports.period import Stage
from siaga.sop.limits import Limits
from siaga.sop.month import Month

TO_BE_RECORDED = "its SHA-256 goes into the evidence, as `report.written`"


def report(
    *,
    month: Annotated[str, Parameter(help="Such as 2026-11; it begins and ends in Asia/Jakarta.")],
    output_directory: Annotated[Path, Parameter(name="--output", help="Where the files go.")] = Path(),
    directory: Directory = None,
    keys: Keys = None,
    json: Json = False,
) -> int:
    """Write the report of a month: HTML and PDF, with each clause, its figures and the proof under them.

    Reads what was recorded, so the controller may be dead; if it lives, the report's SHA-256 is recorded.
    Exit code 0 when it was written, 1 when the evidence under it does not hold or no PDF could be made (the HTML is
    there all the same), 2 for a month there can be no report of. How the clauses stood is in the report.

    Examples
    --------
    siaga report --month 2026-11
    siaga report --month 2026-11 --output /mnt/audit --json
    """
    wanted, now = Month.parse(month), datetime.now(UTC)
    if not output_directory.is_dir():
        raise BadInput(
            f"`--output` is `{output_directory}`, expected a directory that exists", hint="Make it first: `mkdir -p`."
        )
    place = find(directory, keys)
    made = _gathered(place, directory, wanted, now)
    not_recorded = "it is made from a copy of the evidence" if directory is not None else _controller_silent()
    made = replace(made, recorded=f"not recorded: {not_recorded}" if not_recorded else TO_BE_RECORDED)
    files, fault = _write(made, output_directory)
    record = None
    if not not_recorded:
        record, not_recorded = _record(made, files)
    if json:
        document = {
            "files": files,
            "record": record,
            "not_recorded": not_recorded,
            "pdf": fault.message if fault else "",
        }
        output.document({**to_document(made), **document})
    else:
        _print(made, files, record, not_recorded)
    if fault is not None:
        raise fault
    return Exit.DOES_NOT_HOLD if made.seal.faults else Exit.DONE


def _gathered(place: Place, directory: Path | None, month: Month, now: datetime) -> Report:
    seen, told = witness_remembers(place)
    log_keys, witness_keys = (read_keys_in(place.keys / name) for name in KEYS)
    with reading(), progress_bar("verifying", place.source) as progress:
        found, seal = evidence.read(
            place.source,
            month,
            now,
            log_keys=log_keys,
            witness_keys=witness_keys,
            seen=seen,
            witness=told,
            progress=progress,
        )
    known: dict[str, Any] = {"found": found, "seal": seal, "made_by": getpass.getuser(), "version": version("siaga")}
    if directory is not None:
        known["uptime_missing"] = "a copy of the evidence holds no figures of uptime"
        # The log's name is `siaga/SITE/GENERATION`.
        name = place.source.origin.split("/")[-2:][0]
        return gather(Inputs(site=name, embedded=False, limits=Limits(), **known), month, now)
    layout = lifecycle.required(account.home())
    site = layout.site
    known["uptime"], known["uptime_missing"] = uptime.read(lambda: measured(layout), month, now, site.limits.uptime)
    return gather(Inputs(site=site.name, embedded=site.embedded, limits=site.limits, **known), month, now)


def _controller_silent() -> str:
    """Why it can't be asked to record anything; empty when it can."""
    try:
        ask.get("/v1/reports")
    except SiagaError as error:
        return error.message
    return ""


def _write(made: Report, directory: Path) -> tuple[list[dict[str, str]], PlatformFault | None]:
    """Write both files, each whole or not at all; what kept the PDF from being made."""
    name = f"siaga-report-{made.site}-{made.month}"
    if made.stage is Stage.RUNNING:
        # One that is not final can't be taken for the final one.
        name += "-running"
    page = html.render(made)
    files = [_put(directory / f"{name}.html", page.encode())]
    try:
        files.append(_put(directory / f"{name}.pdf", _pdf(page)))
    except PlatformFault as fault:
        return files, fault
    return files, None


def _pdf(page: str) -> bytes:
    found = packages.find_pango()
    if found is None:
        raise PlatformFault("the PDF can't be made: Pango is not installed", hint=packages.PANGO.hint)
    return pdf.make(page, found)


def _put(path: Path, content: bytes) -> dict[str, str]:
    try:
        write_and_rename(path, content)
    except OSError as error:
        raise BadInput(
            f"{path} can't be written: {error.strerror or error}",
            hint="Choose a directory with `--output` that you may write, and that has space.",
        ) from error
    return {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}


def _record(made: Report, files: list[dict[str, str]]) -> tuple[int | None, str]:
    """The number of its record, or why there is none."""
    asked = {
        "month": str(made.month),
        "stage": str(made.stage),
        "verdict": str(made.verdict),
        "checkpoint_size": made.seal.size,
        "files": [{"name": Path(file["path"]).name, "sha256": file["sha256"]} for file in files],
    }
    try:
        return int(ask.post("/v1/reports", asked)["record"]), ""
    except SiagaError as error:
        return None, error.message


def _print(made: Report, files: Sequence[Mapping[str, str]], record: int | None, not_recorded: str) -> None:
    print(f"{made.site}, {made.month.name} ({made.stage}): {made.verdict}")
    rows = [(c.standing.clause, c.standing.adherence, c.standing.figure or c.standing.why) for c in made.clauses]
    output.table(("clause", "state", "measured"), rows)
    for file in files:
        print(f"{file['path']}  sha256 {file['sha256']}")
    print(f"evidence: {made.seal.verdict}; root {made.seal.root or 'none'}")
    print(f"recorded as {record}" if record is not None else f"not recorded: {not_recorded}")
