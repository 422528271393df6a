"""The cross-check (DRP-3.2b): every account's balance against the log of its entries, at one snapshot.

Blocking, as its two engines are: whoever runs an event loop calls it in a thread. It needs nothing else of Siaga.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb as duckdb_driver
import psycopg

from siaga.errors import BadInput
from siaga.ledger import catalog, duckdb, judge, structure
from siaga.ledger.accumulators import LANE
from siaga.ledger.checks import Outcome, listed
from siaga.ledger.duckdb import DuckDbEngine
from siaga.ledger.engine import CurrencyTotals, Engine, OnProgress, Pace, Source, Unbalanced, Want
from siaga.ledger.findings import Findings
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Check, Grade, Journal, JournalResult, Name, Report, Scope, State, Verdict
from siaga.ledger.postgres import PostgresEngine
from siaga.ledger.schema import Ledger
from siaga.ledger.source import opened

LISTED_MAX = 100_000
"""Accounts named in a report; beyond it the whole ledger is at fault, or the map is."""
TRANSACTIONS_MAX = 10_000
GENTLE = Pace(workers=1, share=0.15, memory_mb=400)
"""For a live primary."""

EngineName = Literal["auto", "duckdb", "postgres"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to check."""

    engine: EngineName = "auto"
    pace: Pace = Pace()
    deep: bool = False
    """Structure first, and nothing that an index says is believed."""
    sums_only: bool = False
    """Sums and counts alone: fast over a covering index; the verdict is `incomplete` at best."""
    work: Path | None = None
    """Where a stopped pass may be taken up again, if its source stood still."""
    journal: Journal | None = None
    key: str | None = None
    """Of the keyed digests; see `keys.py`."""
    save: Callable[[Engine, Ledger, Report], None] | None = None
    """Called with the engine's sums while they exist, for a seal or an export."""


def check(
    dsn: str, ledger_map: LedgerMap, options: Options | None = None, *, on_progress: OnProgress = lambda _: None
) -> Report:
    """The verdict over the ledger that `ledger_map` describes in the database at `dsn`.

    BadInput where the map does not fit, Unreachable where nobody answers, Refused where another check uses the same
    work directory. A check that loses its connection, or is cut short by a time-out, is `incomplete`.
    """
    options = options or Options()
    began, started = datetime.now(UTC), time.monotonic()
    with _work(options.work) as work, opened(dsn, work) as source:
        ledger = catalog.ledger(source.connection, ledger_map)
        try:
            found = _Pass(ledger, source, options, work, on_progress).run()
        except (psycopg.Error, duckdb_driver.Error) as error:
            found = _cut_short(ledger, source, options, error)
        return replace(found, began=began, seconds=round(time.monotonic() - started, 3))


@contextlib.contextmanager
def _work(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="siaga-ledger-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def choose(ledger: Ledger, name: EngineName) -> tuple[str, str]:
    """The engine to use, and why; BadInput where the one asked for cannot read this ledger."""
    obstacle = duckdb.missing() or duckdb.unsupported(ledger)
    if name == "duckdb" and obstacle:
        raise BadInput(f"--engine duckdb: {obstacle}", hint="leave the engine to Siaga, or use `--engine postgres`")
    if name == "postgres" or obstacle:
        return "postgres", obstacle or "asked for"
    return "duckdb", ""


def unique_index(ledger: Ledger) -> str:
    """The index that keeps two entries from sharing an id; empty where there is none."""
    column = ledger.map.entries.id
    return next((name for name, columns in ledger.entries.unique.items() if set(columns) == {column}), "")


class _Pass:
    """One pass and what is made of it."""

    def __init__(self, ledger: Ledger, source: Source, options: Options, work: Path, on_progress: OnProgress) -> None:
        self._ledger, self._source, self._options, self._work = ledger, source, options, work
        self._on_progress = on_progress
        self._notes: list[str] = []
        self._reads_ids = bool(ledger.map.entries.id) and (options.deep or not unique_index(ledger))

    def run(self) -> Report:
        structural = structure.examine(self._source.connection, self._ledger) if self._options.deep else None
        engine = self._read()
        try:
            report = self._judged(engine, structural)
            if self._options.save is not None:
                self._options.save(engine, self._ledger, report)
            return report
        finally:
            engine.close()

    def _read(self) -> Engine:
        """Through DuckDB where it can be; a number beyond its 128 bits goes to the database's own arithmetic."""
        name, why = choose(self._ledger, "postgres" if self._options.sums_only else self._options.engine)
        if name == "duckdb":
            engine = DuckDbEngine(self._ledger, self._source, self._want(), self._options.pace, self._work)
            if engine.resumed:
                self._notes.append("took up a pass that was stopped: the source has not changed since")
            elif self._options.work is not None:
                self._notes.append("started from the beginning: nothing of this snapshot was in the work directory")
            try:
                engine.read(self._on_progress)
            except (duckdb_driver.OutOfRangeException, duckdb_driver.ConversionException) as error:
                engine.close()
                if self._options.engine == "duckdb":
                    raise
                why = f"a number too large for DuckDB ({str(error).splitlines()[0]})"
            except duckdb_driver.Error as error:
                engine.close()
                if "22003" not in str(error) and "overflow" not in str(error) or self._options.engine == "duckdb":
                    raise
                why = "a number too large for DuckDB"
            except BaseException:
                engine.close()
                raise
            else:
                return engine
        if why != "asked for":
            self._notes.append(f"read by the database itself: {why}")
        slow = PostgresEngine(
            self._ledger, self._source, self._want(), self._options.pace, sums_only=self._options.sums_only
        )
        slow.read(self._on_progress)
        return slow

    def _want(self) -> Want:
        digests = self._options.journal is not None or self._options.key is not None
        return Want(digests=digests, key=self._options.key, unique_entries=self._reads_ids)

    # --- judging -----------------------------------------------------------------------------------------------

    def _judged(self, engine: Engine, structural: Check | None) -> Report:
        totals = engine.totals()
        wrong = sum(total.wrong for total in totals)
        unbalanced = self._unbalanced(engine, totals)
        duplicates = engine.duplicates(TRANSACTIONS_MAX) if self._reads_ids else []
        journal = self._compared(engine)
        figures = engine.suspects(LISTED_MAX) if wrong else []
        found = Findings(self._source.connection, self._ledger, figures, unbalanced, duplicates, journal)
        outcome = Outcome(
            accounts=sum(total.accounts for total in totals),
            entries=sum(total.entries for total in totals),
            failing=found.failing,
            unbalanced=len(unbalanced),
            currencies_unbalanced=sum(1 for total in totals if self._zero_sum and total.amount_sum),
            duplicates=len(duplicates),
            ids_read=self._reads_ids,
            unique_index=unique_index(self._ledger),
            sums_only=self._options.sums_only,
        )
        checks = listed(self._ledger.map, outcome, journal, structural)
        not_verified = wrong + found.only_beyond + len(found.tainted)
        verdict, why = judge.verdict(checks, not_verified)
        verified = outcome.accounts - (not_verified - found.without_row)
        return replace(
            _empty(self._ledger, self._source, engine.name),
            verdict=verdict,
            scope=Scope.JOURNAL if journal is not None and journal.covered else Scope.INTERNAL,
            grade=Grade.SUMS if self._options.sums_only else Grade.FULL,
            accounts=outcome.accounts,
            entries=outcome.entries,
            # Whoever is not at fault is proven only where everything was read.
            verified=0 if any(c.state is State.NOT_RUN and not c.covered for c in checks) else verified,
            mismatched_count=wrong + found.only_beyond,
            tainted_count=len(found.tainted),
            mismatched=tuple(found.mismatched),
            tainted=tuple(found.tainted),
            causes=tuple(judge.causes(found.mismatched)),
            checks=tuple(checks),
            system_accounts=sum(total.system for total in totals),
            system_verified=sum(total.system_right for total in totals),
            verdicts_digest=f"{sum(total.verdicts_digest for total in totals) % LANE:016x}",
            notes=tuple(self._notes),
            why=why,
        )

    @property
    def _zero_sum(self) -> bool:
        return self._ledger.map.entries.sums_to_zero and not self._options.sums_only

    def _unbalanced(self, engine: Engine, totals: Sequence[CurrencyTotals]) -> Sequence[Unbalanced]:
        """Exact, and only where a sum that stands for all transactions is not zero."""
        if not self._zero_sum or not any(total.lane or total.amount_sum for total in totals):
            return []
        return engine.unbalanced(TRANSACTIONS_MAX)

    def _compared(self, engine: Engine) -> JournalResult | None:
        if self._options.journal is None:
            return None
        if not isinstance(engine, DuckDbEngine):
            return JournalResult(covered=False, why="the database's own engine keeps no accumulators on this side")
        path = self._work / "accumulators.parquet"
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


def _cut_short(ledger: Ledger, source: Source, options: Options, error: Exception) -> Report:
    why = f"the pass was cut short: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
    names = (Name.BALANCE, *judge.chain_checks(ledger.map))
    checks = tuple(Check(name, State.NOT_RUN, why="the pass was cut short") for name in names)
    return replace(_empty(ledger, source, options.engine), checks=checks, why=why)
