"""The cross-check (DRP-3.2b): every account's balance against the log of its entries, at one snapshot.

Blocking, as its two engines are: whoever runs an event loop calls it in a thread. It needs nothing else of Siaga.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb as duckdb_driver
import psycopg

from siaga.ledger import catalog, export, fingerprint, judge, structure
from siaga.ledger.accumulators import LANE
from siaga.ledger.checks import Outcome, listed
from siaga.ledger.engine import CurrencyTotals, Engine, OnProgress, Source, Unbalanced, Work
from siaga.ledger.findings import TRANSACTIONS_MAX, Findings
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Check, Grade, JournalResult, Name, Report, Scope, State, Verdict
from siaga.ledger.postgres_fingerprint import FingerprintEngine
from siaga.ledger.propose import Table
from siaga.ledger.reading import Options, Reading
from siaga.ledger.schema import Ledger
from siaga.ledger.source import files_now, first_line, opened
from siaga.ledger.tail_engine import SealingEngine, TailEngine

LISTED_MAX = 100_000
"""Accounts named in a report; beyond it the whole ledger is at fault, or the map is."""
WORKERS_MAX = 64


def check(
    dsn: str, ledger_map: LedgerMap, options: Options | None = None, *, on_progress: OnProgress = lambda _: None
) -> Report:
    """The verdict over the ledger that `ledger_map` describes in the database at `dsn`.

    BadInput where the map does not fit, Unreachable where nobody answers, Refused where another check uses the same
    work directory. A check that loses its connection, is cut short by a time-out, or whose tables somebody rewrote
    meanwhile, is `incomplete`. What was asked for besides and could not be done (export, seal) is in `undone`.
    """
    options = options or Options()
    began, started = datetime.now(UTC), time.monotonic()
    tables = _tables(ledger_map)
    with _work(options.work) as work, opened(dsn, work.directory, tables) as source:
        ledger = catalog.ledger(source.connection, ledger_map)
        try:
            found = _Pass(ledger, source, options, work, on_progress).run()
        except (psycopg.Error, duckdb_driver.Error) as error:
            found = _cut_short(ledger, source, options, first_line(error))
        return replace(found, began=began, seconds=round(time.monotonic() - started, 3))


def _tables(ledger_map: LedgerMap) -> tuple[catalog.Qualified, ...]:
    return ledger_map.accounts.qualified, ledger_map.entries.qualified


def statements_of(dsn: str, ledger_map: LedgerMap, options: Options) -> list[str]:
    """Every statement that a check would send to the database, page ranges aside."""
    with _work(None) as work, opened(dsn, work.directory) as source:
        ledger = catalog.ledger(source.connection, ledger_map)
        reading = Reading(ledger, source, options, work, ids=_reads_ids(ledger, options))
        try:
            return [*catalog.STATEMENTS, *reading.statements()]
        finally:
            reading.close()


def tables(dsn: str) -> list[Table]:
    """What the catalogue has, to propose a map from."""
    with _work(None) as work, opened(dsn, work.directory) as source:
        return catalog.tables(source.connection)


@contextlib.contextmanager
def _work(given: Path | None) -> Iterator[Work]:
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield Work(given, resumable=True)
        return
    with tempfile.TemporaryDirectory(prefix="siaga-ledger-", ignore_cleanup_errors=True) as directory:
        yield Work(Path(directory))


def unique_index(ledger: Ledger) -> str:
    """The index that keeps two entries from sharing an id; empty where there is none."""
    column = ledger.map.entries.id
    return next((name for name, columns in ledger.entries.unique.items() if set(columns) == {column}), "")


def _reads_ids(ledger: Ledger, options: Options) -> bool:
    return not options.sums_only and bool(ledger.map.entries.id) and (options.deep or not unique_index(ledger))


class _Pass:
    """One pass and what is made of it."""

    def __init__(self, ledger: Ledger, source: Source, options: Options, work: Work, on_progress: OnProgress) -> None:
        self._ledger, self._source, self._options, self._work = ledger, source, options, work
        self._on_progress = on_progress

    def run(self) -> Report:
        structural = structure.examine(self._source.connection, self._ledger) if self._options.deep else None
        reading = Reading(
            self._ledger, self._source, self._options, self._work, ids=_reads_ids(self._ledger, self._options)
        )
        try:
            reading.read(self._on_progress)
            report = self._judged(reading, structural)
            if files_now(self._source, _tables(self._ledger.map)) != self._source.files:
                why = "a table was rewritten, emptied, attached or detached while it was read: check again"
                return _cut_short(self._ledger, self._source, self._options, why)
            undone = [*self._sealed(reading, report)]
            if self._options.export is not None:
                undone += _tried("not exported", lambda: self._exported(reading, replace(report, undone=tuple(undone))))
            return replace(report, undone=tuple(undone))
        finally:
            reading.close()

    def _sealed(self, reading: Reading, report: Report) -> list[str]:
        directory = self._options.seal
        if directory is None:
            return []
        if report.verdict is not Verdict.VERIFIED:
            return [f"nothing was sealed: the ledger is `{report.verdict}`, expected `verified`"]
        return _tried("not sealed", lambda: reading.seal(directory, report))

    def _exported(self, reading: Reading, report: Report) -> None:
        assert self._options.export is not None, "asked before"
        export.write(self._options.export, reading.engine, self._ledger, report)

    # --- judging -----------------------------------------------------------------------------------------------

    def _judged(self, reading: Reading, structural: Check | None) -> Report:
        engine = reading.engine
        totals = engine.totals()
        wrong = sum(total.wrong for total in totals)
        unbalanced = self._unbalanced(engine, totals)
        duplicates = engine.duplicates(TRANSACTIONS_MAX) if reading.reads_ids else []
        journal = self._compared(reading)
        sealed = reading.compared()
        figures = engine.suspects(LISTED_MAX) if wrong else []
        found = Findings(self._source.connection, self._ledger, figures, unbalanced, duplicates, journal, sealed)
        untouched = reading.untouched()
        outcome = Outcome(
            accounts=sum(total.accounts for total in totals) + untouched.accounts,
            entries=sum(total.entries for total in totals) + untouched.entries,
            failing=found.failing,
            unbalanced=len(unbalanced),
            currencies_unbalanced=sum(1 for total in totals if self._zero_sum and total.amount_sum),
            duplicates=len(duplicates),
            ids_read=reading.reads_ids,
            unique_index=unique_index(self._ledger),
            sums_only=self._options.sums_only,
            journal_left="a tail alone was read: --reread reads and compares all" if self._options.journal else "",
        )
        checks = listed(self._ledger.map, outcome, journal, sealed, structural)
        not_verified = wrong + found.only_beyond + len(found.tainted)
        verdict, why = judge.verdict(checks, not_verified)
        all_named = found.all_named and wrong == len(figures)
        notes = list(reading.notes)
        if not all_named:
            notes.append("more is wrong than can be named: somebody else may be concerned, so nobody is verified")
        if not outcome.accounts:
            notes.append("the accounts' table has no row (of this map): there was nothing to verify")
        every = all_named and not any(c.state is State.NOT_RUN and not c.covered for c in checks)
        verified = outcome.accounts - (not_verified - found.without_row)
        return replace(
            _empty(self._ledger, self._source, engine.name),
            verdict=verdict,
            scope=Scope.JOURNAL if journal is not None and journal.covered else Scope.INTERNAL,
            grade=reading.grade,
            accounts=outcome.accounts,
            entries=outcome.entries,
            # Whoever is not at fault is proven only where everything was read, and everybody concerned is named.
            verified=verified if every else 0,
            all_named=all_named,
            mismatched_count=wrong + found.only_beyond,
            tainted_count=len(found.tainted),
            mismatched=tuple(found.mismatched),
            tainted=tuple(found.tainted),
            causes=tuple(judge.causes(found.mismatched)),
            checks=tuple(checks),
            system_accounts=sum(total.system for total in totals) + untouched.system,
            system_verified=sum(total.system_right for total in totals) + untouched.system,
            verdicts_digest=self._digest(engine, found, known=every and verdict is not Verdict.INCOMPLETE),
            notes=tuple(notes),
            why=why,
        )

    def _digest(self, engine: Engine, found: Findings, *, known: bool) -> str:
        """Of every account's verdict; empty where not every one is known."""
        if not known:
            return ""
        exceptions = [(a, c, fingerprint.VERDICT_WEIGHTS[word]) for a, c, word in found.exceptions]
        if isinstance(engine, FingerprintEngine) and not exceptions:
            return engine.verdicts_digest
        statement = fingerprint.verdicts(self._ledger, exceptions=bool(exceptions))
        row = self._source.connection.execute(
            # Without parameters a percent sign of the map's condition is one.
            statement,
            [list(column) for column in zip(*exceptions, strict=True)] or None,
        ).fetchone()
        assert row is not None, "an aggregate has one row"
        return f"{int(row[0]) % LANE:016x}"

    @property
    def _zero_sum(self) -> bool:
        return self._ledger.map.entries.sums_to_zero and not self._options.sums_only

    def _unbalanced(self, engine: Engine, totals: Sequence[CurrencyTotals]) -> Sequence[Unbalanced]:
        """Exact, and only where a sum that stands for all transactions is not zero."""
        if not self._zero_sum or not any(total.lane or total.amount_sum for total in totals):
            return []
        return engine.unbalanced(TRANSACTIONS_MAX)

    def _compared(self, reading: Reading) -> JournalResult | None:
        if self._options.journal is None or not reading.compares_journal:
            return None
        engine = reading.engine
        if not isinstance(engine, SealingEngine) or isinstance(engine, TailEngine):
            return JournalResult(covered=False, why="only a full pass of the duckdb engine has all accumulators")
        path = self._work.directory / "accumulators.parquet"
        engine.save_accumulators(path)
        return self._options.journal.compare(path, self._source.position)


def _empty(ledger: Ledger, source: Source, engine: str) -> Report:
    """Nothing was read, so nothing is verified."""
    return Report(
        verdict=Verdict.INCOMPLETE,
        scope=Scope.INTERNAL,
        grade=Grade.FULL,
        accounts=0,
        entries=0,
        verified=0,
        mismatched_count=0,
        tainted_count=0,
        mismatched=(),
        tainted=(),
        causes=(),
        checks=(),
        position=source.position,
        map_digest=ledger.map.digest(),
        engine=engine,
        began=datetime.now(UTC),
        seconds=0.0,
    )


def _tried(what: str, act: Callable[[], None]) -> list[str]:
    """A verdict that was reached stays, whatever becomes of what is made of it."""
    try:
        act()
    except (OSError, psycopg.Error, duckdb_driver.Error) as error:
        return [f"{what}: {first_line(error)}"]
    return []


def _cut_short(ledger: Ledger, source: Source, options: Options, error: str) -> Report:
    why = f"the pass was cut short: {error}"
    names = (Name.BALANCE, *judge.chain_checks(ledger.map))
    checks = tuple(Check(name, State.NOT_RUN, why="the pass was cut short") for name in names)
    return replace(_empty(ledger, source, options.engine), checks=checks, why=why)
