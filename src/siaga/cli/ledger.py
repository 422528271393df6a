"""`siaga ledger check`, `siaga ledger map`: every balance against its log (DRP-3.2b)."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from siaga.cli import output
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit
from siaga.ledger import crosscheck
from siaga.ledger import seal as sealing
from siaga.ledger.engine import OnProgress, Pace
from siaga.ledger.load import load
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Journal, JournalResult, JournalTail, Ordered, Position, Progress, Report, State, Verdict
from siaga.ledger.propose import propose, toml
from siaga.ledger.reading import GENTLE, EngineName, Options
from siaga.ledger.source import refuse_secrets

app = App(name="ledger", help="Every balance against its log, and the fence around accounts not verified (DRP-3.2b).")

Dsn = Annotated[
    str | None,
    Parameter(help="Connection string or URL, without a password: passfile, service file or PGPASSWORD hold that."),
]
Flag = Parameter(negative="")
SHOWN_MAX = 40
for name in ("fence", "release", "accounts"):
    app.command(f"siaga.cli.ledger_fence:{name}", name=name)
app.command("siaga.cli.ledger_fence:install_gate", name="gate")
_CODES = {
    Verdict.VERIFIED: Exit.DONE,
    Verdict.MISMATCH: Exit.DOES_NOT_HOLD,
    Verdict.INCOMPLETE: Exit.UNDETERMINED,
}


@app.command
def check(
    *,
    dsn: Dsn = None,
    map: Annotated[Path | None, Parameter(help="The ledger map (TOML); `siaga ledger map` proposes one.")] = None,
    engine: Annotated[EngineName, Parameter(help="Who folds the rows; by itself the fingerprint first.")] = "auto",
    workers: Annotated[int, Parameter(help="Connections that read side by side.")] = Pace().workers,
    gentle: Annotated[bool, Parameter(negative="", help="Bounded load, for a live primary.")] = False,
    deep: Annotated[bool, Parameter(negative="", help="Structure first (amcheck); no index is believed.")] = False,
    sums: Annotated[bool, Parameter(negative="", help="Sums and counts alone; at best `incomplete`.")] = False,
    journal: Annotated[
        Path | None, Parameter(help="Directory of a journal to compare with; --since asks it what is new.")
    ] = None,
    key: Annotated[Path | None, Parameter(help="Key file of seals; made with --seal where there is none.")] = None,
    seal: Annotated[Path | None, Parameter(help="Directory for a sealed checkpoint, once verified.")] = None,
    since: Annotated[Path | None, Parameter(help="A sealed checkpoint: read what came after it.")] = None,
    reread: Annotated[bool, Parameter(negative="", help="With --since: read all, compare the sealed part.")] = False,
    work: Annotated[Path | None, Parameter(help="Directory to take a stopped check up from.")] = None,
    export: Annotated[Path | None, Parameter(help="Directory for an auditor: report, verdicts, plain SQL.")] = None,
    print_sql: Annotated[bool, Parameter(negative="", help="Print every statement, and read nothing.")] = False,
    json: Json = False,
) -> int:
    """Check every account's balance against the log of its entries, at one snapshot.

    Needs SELECT alone and works on a replica. Without --dsn it checks the platform here, with its journal.
    Exit code 0 verified, 1 mismatch, 3 incomplete (something was not read).

    Examples
    --------
    siaga ledger check
    siaga ledger check --dsn "service=shop" --map ledger.toml --json > report.json
    siaga ledger check --dsn "host=db dbname=shop user=auditor" --map ledger.toml --gentle
    siaga ledger check --dsn "service=shop" --map ledger.toml --key ~/.siaga-key --seal /mnt/other/seal
    siaga ledger check --dsn "service=shop" --map ledger.toml --key ~/.siaga-key --since /mnt/other/seal
    siaga ledger check --dsn "service=shop" --map ledger.toml --key ~/.siaga-key --since SEAL --journal DIRECTORY
    siaga ledger check --dsn "service=shop" --map ledger.toml --print-sql
    """
    if dsn is not None:
        refuse_secrets(dsn)
    if (dsn is None) is not (map is None):
        raise BadInput(
            f"--{'dsn' if dsn is None else 'map'}: missing, expected both --dsn and --map, or neither",
            hint="without them the platform here is checked",
        )
    if not 1 <= workers <= crosscheck.WORKERS_MAX:
        raise BadInput(f"--workers {workers}: expected 1 to {crosscheck.WORKERS_MAX}", hint="as many as cores to spare")
    if reread and since is None:
        raise BadInput(
            "--reread: found without --since, expected both", hint="without --since everything is read anyway"
        )
    if dsn is None or map is None:
        dsn, ledger_map, kept = _platform().here()
    else:
        ledger_map, kept = load(map), None
    kept = journal or kept
    if journal is not None and not journal.is_dir():
        raise BadInput(f"--journal {journal}: no directory, expected a journal's", hint="`siaga journal show` names it")
    if not print_sql:
        for name, directory in (("seal", seal), ("work", work), ("export", export)):
            _writable(f"--{name}", directory)
    options = Options(
        engine=engine,
        pace=GENTLE if gentle else Pace(workers=workers),
        deep=deep,
        sums_only=sums,
        work=work,
        journal=_Kept(kept, ledger_map) if kept is not None and not sums else None,
        secret=sealing.secret(key, create=seal is not None) if key is not None else None,
        seal=seal,
        since=since,
        reread=reread,
        export=export,
    )
    if print_sql:
        statements = crosscheck.statements_of(dsn, ledger_map, options)
        if json:
            output.document({"statements": statements})
        else:
            print("\n\n".join(f"{statement};" for statement in statements))
        return Exit.DONE
    # What ends us from outside ends us as Ctrl-C does: connections and scratch files are given back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A journal is many small records: looking for cycles among them doubles the time it takes to read.
    gc.disable()
    if gentle:
        # Beside the database on one machine, its users come first.
        os.nice(10)
    with _bar(quiet=json) as on_progress:
        report = crosscheck.check(dsn, ledger_map, options, on_progress=on_progress)
    if json:
        output.document(report.document())
    else:
        _print(report)
    # A verdict stands by itself; but whoever asked for more does not have it.
    return Exit.UNDETERMINED if report.undone and report.verdict is Verdict.VERIFIED else _CODES[report.verdict]


@app.command
def map(*, dsn: Dsn = None) -> int:
    """Propose a ledger map by looking at the catalogue.

    Exit code 0 when something looks like a ledger, 3 when nothing does.

    Examples
    --------
    siaga ledger map --dsn "service=shop" > ledger.toml
    """
    if dsn is not None:
        refuse_secrets(dsn)
    proposal = propose(crosscheck.tables(dsn if dsn is not None else _platform().here()[0]))
    if proposal is None:
        print("no table with a balance, and one with movements that refer to it, was found", file=sys.stderr)
        return Exit.UNDETERMINED
    print(toml(proposal), end="")
    return Exit.DONE


def _writable(option: str, directory: Path | None) -> None:
    """BadInput unless a file can be made in it, or it can be made where there is none; nothing stays behind.

    Before the check: an hour of reading is not lost to a mistyped path.
    """
    if directory is None:
        return
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        raise BadInput(
            f"{option} {directory}: {error.strerror}, expected a directory that can be written to",
            hint="give another place; nothing was read",
        ) from error


class _Kept:
    """A journal, imported when it is asked: accounts are being read then, and nobody waits for it."""

    def __init__(self, directory: Path, ledger_map: LedgerMap) -> None:
        self._directory, self._map = directory, ledger_map

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        """`model.Journal`."""
        return self._opened().compare(accumulators, position)

    def tail(self, then: Position, now: Position, by: Ordered, *, complete: bool) -> JournalTail:
        """`model.Journal`."""
        return self._opened().tail(then, now, by, complete=complete)

    def _opened(self) -> Journal:
        module = importlib.import_module("siaga.cli.ledger_journal")
        return module.KeptJournal(self._directory, self._map)  # type: ignore[no-any-return]


def _platform() -> ModuleType:
    """Imported only where it is asked for: an auditor's check with --dsn needs nothing else of Siaga."""
    return importlib.import_module("siaga.cli.ledger_platform")


@contextlib.contextmanager
def _bar(*, quiet: bool) -> Iterator[OnProgress]:
    """How far, how fast, how long still; on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    bar = Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet, transient=True)
    with bar:
        task = bar.add_task("connecting", total=None, rate="")

        def told(progress: Progress) -> None:
            left = progress.seconds_left
            rate = f"{progress.rows_per_s / 1e6:.2f} M rows/s" if progress.rows else ""
            rate += f", {left:.0f} s left" if left is not None else ""
            bar.update(
                task,
                description=progress.phase,
                completed=progress.rows,
                total=progress.rows_expected or None,
                rate=rate,
            )

        yield told


def _print(report: Report) -> None:
    print(f"{report.verdict}: {report.why}")
    print(
        f"{report.accounts} accounts, {report.entries} entries: {report.verified} verified, "
        f"{report.mismatched_count} mismatched, {report.tainted_count} tainted"
    )
    print(f"scope {report.scope}, grade {report.grade}")
    print(f"at {report.position.lsn}, snapshot {report.position.snapshot}, {report.seconds} s by {report.engine}")
    for note in report.notes:
        print(f"note: {note}")
    for undone in report.undone:
        print(f"not done: {undone}")
    print()
    rows = [(c.name, c.state, c.rows if c.state is State.RUN else "", c.failed or "", c.why) for c in report.checks]
    output.table(("check", "", "rows", "failed", "why"), rows)
    if report.mismatched:
        print()
        columns = ("account", "currency", "balance", "expected", "difference", "failed")
        wrong = report.mismatched[:SHOWN_MAX]
        output.table(
            columns,
            [(m.account, m.currency, m.balance, m.expected, m.difference, ", ".join(m.failed_checks)) for m in wrong],
        )
        faults = [(m.account, e.fault, e.sequence, e.id, e.found, e.expected, e.why) for m in wrong for e in m.entries]
        if faults:
            print()
            output.table(("account", "entry", "sequence", "id", "found", "expected", "why"), faults[:SHOWN_MAX])
    for cause in report.causes[:SHOWN_MAX]:
        print(f"{cause.accounts} accounts off by {cause.difference}: one cause?")
    if report.tainted:
        print()
        rows_tainted = [(t.account, t.currency, ", ".join(t.transactions[:3])) for t in report.tainted[:SHOWN_MAX]]
        output.table(("tainted", "currency", "shares transactions"), rows_tainted)
    if max(report.mismatched_count, report.tainted_count) > SHOWN_MAX:
        print(f"\nonly the first {SHOWN_MAX} are shown; --json has all")
