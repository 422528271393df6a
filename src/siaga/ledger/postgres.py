"""The engine where DuckDB cannot be: one statement, folded by the server itself.

Slower, and without limits: money of any number of digits, ids of any type. The keyed digests are not computed here:
their key would have to travel to the database's host.
"""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psycopg

from siaga.ledger import engine, statements, verdicts
from siaga.ledger.dialects import Postgres
from siaga.ledger.engine import CurrencyTotals, OnProgress, Pace, Source, Unbalanced, Want
from siaga.ledger.model import Figures, Progress
from siaga.ledger.schema import Ledger

SUSPECTS_READ = 100_000
GROUP_BYTES = 200
"""Of the server's hash table, an account."""
WORK_MEMORY_MB_MAX = 1024


class PostgresEngine:
    """One pass within the transaction of its source."""

    name = "postgres"

    def __init__(self, ledger: Ledger, source: Source, want: Want, pace: Pace, *, parallel: bool = False) -> None:
        self._ledger, self._source, self._want, self._pace = ledger, source, want, pace
        self._parallel = parallel
        self._dialect = Postgres(ledger)
        self._totals: list[CurrencyTotals] = []
        self._suspects: list[Figures] = []

    def read(self, on_progress: OnProgress) -> None:
        """One statement; a second one with unlimited numbers where 64 bits were not enough."""
        connection = self._source.connection
        self._settings()
        connection.execute("savepoint narrow")
        began = time.monotonic()
        ended = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(on_progress, began, ended), daemon=True)
        ticking.start()
        try:
            try:
                rows = connection.execute(self._statement()).fetchall()
            except psycopg.errors.NumericValueOutOfRange:
                connection.execute("rollback to savepoint narrow")
                self._settings()
                self._dialect = Postgres(self._ledger, wide=True)
                rows = connection.execute(self._statement()).fetchall()
        finally:
            ended.set()
            ticking.join()
        self._totals = [engine.currency_totals(row[1:10]) for row in rows if row[0] == "totals"]
        self._suspects = [engine.figures(row[10:]) for row in rows if row[0] == "suspect"]

    def totals(self) -> Sequence[CurrencyTotals]:
        """One for each currency."""
        return self._totals

    def suspects(self, limit: int) -> Sequence[Figures]:
        """The accounts that are not plainly right, the platform's own first."""
        return self._suspects[:limit]

    def unbalanced(self, limit: int) -> Sequence[Unbalanced]:
        """One more statement."""
        fields = ["account", "transaction", "amount"] + (["currency"] if self._ledger.map.entries.currency else [])
        rows = statements.entries(self._ledger, tuple(fields), bounded=False)
        statement = verdicts.unbalanced(self._ledger, self._dialect, rows, self._accounts(), limit)
        return [engine.unbalanced(row) for row in self._source.connection.execute(statement).fetchall()]

    def duplicates(self, limit: int) -> Sequence[str]:
        """One more statement."""
        rows = statements.entries(self._ledger, ("id",), bounded=False)
        found = self._source.connection.execute(verdicts.duplicates(rows, limit)).fetchall()
        return [str(row[0]) for row in found]

    def statements(self) -> Sequence[str]:
        """The one that reads everything."""
        return [self._statement()]

    def close(self) -> None:
        """The transaction belongs to the source."""

    def _settings(self) -> None:
        """For this transaction alone: hash tables in memory, no just-in-time compiler (research, section 2a)."""
        wanted = max(self._ledger.accounts.rows * GROUP_BYTES >> 20, 64)
        memory_mb = min(wanted, WORK_MEMORY_MB_MAX if self._pace.share == 1 else 64)
        workers = "" if self._parallel else "set local max_parallel_workers_per_gather = 0;"
        self._source.connection.execute(f"set local jit = off; {workers} set local work_mem = '{memory_mb}MB'")

    def _statement(self) -> str:
        """Totals and suspects of one judgement, told apart by their first column."""
        totals = verdicts.totals("select * from judged")
        suspects = verdicts.suspects("select * from judged", SUSPECTS_READ)
        no_totals, no_suspects = ", ".join(["null"] * 9), ", ".join(["null"] * 13)
        return (
            f"with judged as materialized ({self._judged()}) "
            f"select 'totals', t.*, {no_suspects} from ({totals}) t "
            f"union all select 'suspect', {no_totals}, s.* from ({suspects}) s"
        )

    def _judged(self) -> str:
        with_ids = self._want.digests
        fields = statements.fields_read(self._ledger, with_ids=with_ids)
        rows = statements.entries(self._ledger, fields, bounded=False)
        folded = statements.folded(self._ledger, self._dialect, rows, key=None, digests=self._want.digests)
        sums = statements.made(self._ledger, key=None, digests=self._want.digests)
        return verdicts.judged(self._ledger, self._dialect, folded, self._accounts(), sums)

    def _accounts(self) -> str:
        rows = statements.accounts(self._ledger, bounded=False)
        return verdicts.account_sums(self._ledger, self._dialect, rows)

    def _tick(self, on_progress: OnProgress, began: float, ended: threading.Event) -> None:
        """The server says nothing of its progress here: only the time is known."""
        while not ended.wait(0.5):
            on_progress(Progress("reading in the database", 0, 0, time.monotonic() - began))
