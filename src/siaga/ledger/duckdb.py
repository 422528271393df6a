"""The engine of choice: PostgreSQL sends rows in binary, DuckDB folds them, several times faster than the server could.

The table is read in ranges of pages, each in a transaction of its own under one exported snapshot. DuckDB's scanner
would parallelise by itself, but on a replica its connections do not share a snapshot (1.5.5: no SET TRANSACTION
SNAPSHOT where pg_is_in_recovery), and it hides the statements. Ranges of our own also make progress, bounded load and
resumption plain: a finished range is in the sums, or not at all.
"""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from siaga.errors import BadInput, Refused
from siaga.ledger import engine, statements, verdicts
from siaga.ledger.dialects import DuckDb
from siaga.ledger.engine import CurrencyTotals, OnProgress, Pace, Source, Unbalanced, Want, Work
from siaga.ledger.model import Figures, Progress
from siaga.ledger.ranges import GENTLE_ROWS, PAGE_RANGES_VERSION, ROWS_TO_SHARE, Chunk, chunks
from siaga.ledger.schema import Kind, Ledger
from siaga.ledger.statements import Pages
from siaga.ledger.team import Team

WORK_FILE = "check.duckdb"
RESUMABLE_ROWS = 4_000_000
"""Of a range where a stopped pass may be taken up again; else each worker has one, since the sums of a range hold
nearly every account once, and all of them are merged in the end."""
POLL_S = 0.5
CANCEL_DEADLINE_S = 5.0
"""For workers to notice; a source that hangs is not waited for."""
_DIGITS_MAX = 38
"""Of DuckDB's decimals."""

_READ = """
select coalesce(sum(p.tuples_processed), 0) from pg_stat_progress_copy p
join pg_stat_activity a using (pid) where a.application_name = %s
"""

_CANCEL = "select pg_cancel_backend(pid) from pg_stat_activity where application_name = %s"


def missing() -> str:
    """Why DuckDB cannot read PostgreSQL here; empty where it can."""
    return "" if _extension() else "the package duckdb-extension-postgres-scanner is not installed"


def unsupported(ledger: Ledger) -> str:
    """Why this ledger needs the database's own arithmetic; empty where it does not."""
    for relation, mapped in ((ledger.accounts, ledger.map.accounts), (ledger.entries, ledger.map.entries)):
        for name in mapped.model_dump().values():
            column = relation.columns.get(name) if isinstance(name, str) else None
            if column is None or column.kind is not Kind.NUMERIC or column.precision is None:
                continue
            if column.precision - (column.scale or 0) + ledger.decimals > _DIGITS_MAX:
                return f"`{column.name}` is numeric({column.precision},{column.scale}), more than {_DIGITS_MAX} digits"
    return ""


def _extension() -> Path | None:
    found = importlib.util.find_spec("duckdb_extension_postgres_scanner")
    if found is None or found.origin is None:
        return None
    version = f"v{duckdb.__version__}"
    return next(
        (p for p in Path(found.origin).parent.rglob("postgres_scanner.duckdb_extension") if version in p.parts), None
    )


class DuckDbEngine:
    """One pass; its sums are in a DuckDB of its own."""

    name = "duckdb"

    def __init__(self, ledger: Ledger, source: Source, want: Want, pace: Pace, work: Work, *, only: str = "") -> None:
        """`only` is one more condition on the rows of both tables."""
        self._ledger, self._source, self._want, self._pace, self._only = ledger, source, want, pace, only
        self._dialect = DuckDb(ledger, wide=want.wide)
        self._application = f"siaga ledger {source.exported}"
        self._directory = work.directory
        self._database = _open(work, pace)
        self._stop = threading.Event()
        self._abandoned = False
        self._chunks = chunks(
            ledger, source.position.version, lambda rows: _ranges(rows, pace, resumable=work.resumable)
        )
        self.resumed = self._prepare()

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, on_progress: OnProgress) -> None:
        """Every range that is not yet in the sums, side by side."""
        began = time.monotonic()
        done = {row[0] for row in self._database.execute("select place from done").fetchall()}
        left: queue.SimpleQueue[tuple[int, Chunk]] = queue.SimpleQueue()
        for place, chunk in enumerate(self._chunks):
            if place not in done:
                left.put((place, chunk))
        expected = sum(chunk.rows for chunk in self._chunks)
        team = Team(self._pace.workers, lambda number: self._work(number, left))
        try:
            while not team.ended(within_s=POLL_S):
                on_progress(Progress("reading", self._rows_read(), expected, time.monotonic() - began))
        except BaseException:
            # Ctrl-C, or a range that could not be read: the others need not go on.
            self._stop.set()
            self._cancel()
            self._abandoned = not team.gone(within_s=CANCEL_DEADLINE_S)
            raise
        on_progress(Progress("judging", expected, expected, time.monotonic() - began))

    def _work(self, number: int, left: queue.SimpleQueue[tuple[int, Chunk]]) -> None:
        with contextlib.closing(self._database.cursor()) as cursor:
            while not self._stop.is_set():
                try:
                    place, chunk = left.get_nowait()
                except queue.Empty:
                    return
                began = time.monotonic()
                self._read(cursor, f"source{number}", place, chunk)
                busy_s = time.monotonic() - began
                self._stop.wait(busy_s * (1 / self._pace.share - 1))

    def _cancel(self) -> None:
        """End what the sources are at: a worker in libpq hears of nothing else. Best effort."""
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self._source.conninfo, connect_timeout=2, autocommit=True) as connection,
        ):
            connection.execute(_CANCEL, [self._application])

    def _read(self, cursor: duckdb.DuckDBPyConnection, name: str, place: int, chunk: Chunk) -> None:
        """One range and the mark that it was read, in one transaction."""
        with self._snapshot(cursor, name):
            for statement in self._steps(chunk, name):
                cursor.execute(statement)
            cursor.execute("insert into done values (?)", [place])

    @contextlib.contextmanager
    def _snapshot(self, cursor: duckdb.DuckDBPyConnection, name: str) -> Iterator[None]:
        """A transaction in which one of the sources reads what the check's own transaction sees."""
        cursor.execute("begin")
        try:
            snapshot = f"set transaction snapshot {statements.literal(self._source.exported)}"
            for statement in (snapshot, engine.NOTHING_HIDDEN):
                cursor.execute(f"call postgres_execute('{name}', {statements.literal(statement)})")
            yield
            cursor.execute("commit")
        except BaseException:
            cursor.execute("rollback")
            raise

    def _in_snapshot(self, statement: str) -> list[tuple[Any, ...]]:
        with self._snapshot(self._database, "source0"):
            return self._database.execute(statement).fetchall()

    def _steps(self, chunk: Chunk, name: str) -> list[str]:
        if chunk.table == "accounts":
            rows = remote(name, self._accounts(chunk.pages))
            return [f"insert into account_rows {verdicts.account_sums(self._ledger, self._dialect, rows)}"]
        rows = remote(name, self._entries(chunk.pages))
        if not self._want.unique_entries:
            return [f"insert into entry_sums {self._folded(rows)}"]
        raw = f"raw_{name}"
        return [
            f"create or replace temp table {raw} as {rows}",
            f"insert into entry_sums {self._folded(f'select * from {raw}')}",
            f"insert into ids select id from {raw}",
            f"drop table {raw}",
        ]

    def _rows_read(self) -> int:
        cursor = self._database.cursor()
        done = {row[0] for row in cursor.execute("select place from done").fetchall()}
        cursor.close()
        finished = sum(chunk.rows for place, chunk in enumerate(self._chunks) if place in done)
        if self._source.position.version < PAGE_RANGES_VERSION:
            return finished
        with self._source.connection.cursor() as own:
            # Within a transaction the server shows one picture of its activity unless asked for a new one.
            own.execute("select pg_stat_clear_snapshot()")
            row = own.execute(_READ, [self._application]).fetchone()
        return finished + int(row[0] if row else 0)

    # --- what was found ----------------------------------------------------------------------------------------

    def totals(self) -> Sequence[CurrencyTotals]:
        """One for each currency."""
        rows = self._database.execute(verdicts.totals(self._judged())).fetchall()
        return [engine.currency_totals(row) for row in rows]

    def suspects(self, limit: int) -> Sequence[Figures]:
        """The accounts that are not plainly right, the platform's own first."""
        rows = self._database.execute(verdicts.suspects(self._judged(), limit)).fetchall()
        return [engine.figures(row) for row in rows]

    def unbalanced(self, limit: int) -> Sequence[Unbalanced]:
        """Reads transactions and amounts again, on one connection."""
        rows = remote("source0", self._parties())
        statement = verdicts.unbalanced(self._ledger, self._dialect, rows, "select * from account_rows", limit)
        return [engine.unbalanced(row) for row in self._in_snapshot(statement)]

    def _parties(self) -> str:
        fields = ["account", "transaction", "amount"] + (["currency"] if self._ledger.map.entries.currency else [])
        return statements.entries(self._ledger, tuple(fields), bounded=True)

    def duplicates(self, limit: int) -> Sequence[str]:
        """Ids that more than one entry has."""
        found = self._database.execute(verdicts.duplicates("select id from ids", limit)).fetchall()
        return [str(row[0]) for row in found]

    def statements(self) -> Sequence[str]:
        """Those that PostgreSQL sees."""
        read = [
            self._accounts(chunk.pages) if chunk.table == "accounts" else self._entries(chunk.pages)
            for chunk in self._chunks
        ]
        return [*read, self._parties()] if self._ledger.map.entries.sums_to_zero else read

    def save_accumulators(self, path: Path, *, keyed: bool = False) -> int:
        """Accumulators of every account with entries as a Parquet file of texts, which have no limit; how many."""
        digest = "digest_keyed" if keyed else "digest"
        numbers = ["entries::varchar as count", "amount_sum::varchar as amount_sum"]
        numbers += ["sequence_sum::varchar as sequence_sum", f"{self._dialect.remainder(digest)}::varchar as digest"]
        return self._copy(
            f"select account::varchar as account, key_currency::varchar as currency, {', '.join(numbers)} "
            f"from ({self._judged()}) j where entries <> 0",
            path,
            "parquet",
        )

    def save_verdicts(self, path: Path, exceptions: Sequence[tuple[str | None, str | None, str]], others: str) -> int:
        """Every account's verdict, in the order of the ids: those of `exceptions` (account, currency), and `others`."""
        columns = [list(column) for column in zip(*exceptions, strict=True)] or [[], [], []]
        self._database.execute(
            "create or replace temp table excepted as select unnest($1::varchar[]) as account, "
            "unnest($2::varchar[]) as currency, unnest($3::varchar[]) as verdict",
            columns,
        )
        return self._copy(
            "select j.account, key_currency as currency, balance, entries, coalesce(x.verdict, "
            f"case when is_right then {statements.literal(others)} else 'mismatch' end) as verdict "
            f"from ({self._judged()}) j left join excepted x on x.account is not distinct from j.account::varchar "
            "and x.currency is not distinct from key_currency order by 1, 2",
            path,
            "csv",
        )

    def close(self) -> None:
        """Close the sums; a work file stays. Those that a hung source still holds are left as they are."""
        self._stop.set()
        if not self._abandoned:
            self._database.close()

    def _copy(self, query: str, path: Path, format_: str) -> int:
        done = self._database.execute(f"copy ({query}) to {statements.literal(str(path))} (format {format_})")
        return int(done.fetchall()[0][0])

    # --- statements and tables ---------------------------------------------------------------------------------

    def _entries(self, pages: Pages | None) -> str:
        with_ids = self._want.digests or self._want.key is not None or self._want.unique_entries
        fields = statements.fields_read(self._ledger, with_ids=with_ids)
        return statements.entries(self._ledger, fields, bounded=True, pages=pages, only=self._only)

    def _accounts(self, pages: Pages | None) -> str:
        return statements.accounts(self._ledger, bounded=True, pages=pages, only=self._only)

    def _folded(self, rows: str) -> str:
        return statements.folded(self._ledger, self._dialect, rows, key=self._want.key, digests=self._want.digests)

    def _judged(self) -> str:
        sums = statements.made(self._ledger, key=self._want.key, digests=self._want.digests)
        entry_sums, account_rows = "select * from entry_sums", "select * from account_rows"
        return verdicts.judged(self._ledger, self._dialect, entry_sums, account_rows, sums)

    def _prepare(self) -> bool:
        """Connect, and make the tables unless they hold part of this very pass; whether it does."""
        extension = _extension()
        assert extension is not None, "asked before"
        self._database.execute(f"load {statements.literal(str(extension))}")
        conninfo = statements.literal(f"{self._source.conninfo} application_name='{self._application}'")
        for number in range(self._pace.workers):
            self._database.execute(
                f"attach {conninfo} as source{number} (type postgres, schema 'pg_catalog', read_only)"
            )
        identity = self._identity()
        self._database.execute("create table if not exists pass (identity varchar)")
        try:
            if self._database.execute("select identity from pass").fetchall() == [(identity,)]:
                return True
        except duckdb.Error as error:
            raise _damaged(self._directory, error) from error
        folded = self._folded(remote("source0", self._entries((0, 0))))
        accounts = verdicts.account_sums(self._ledger, self._dialect, remote("source0", self._accounts((0, 0))))
        for statement in (
            "begin",
            f"create or replace table entry_sums as {folded} limit 0",
            f"create or replace table account_rows as {accounts} limit 0",
            f"create or replace table ids as select id from ({remote('source0', self._entries((0, 0)))}) limit 0"
            if self._want.unique_entries
            else "select 1",
            "create or replace table done (place integer)",
            "delete from pass",
        ):
            self._database.execute(statement)
        self._database.execute("insert into pass values (?)", [identity])
        self._database.execute("commit")
        return False

    def _identity(self) -> str:
        """What two runs have in common that may share their work."""
        position = {key: value for key, value in asdict(self._source.position).items() if key not in ("lsn", "paused")}
        return json.dumps(
            {
                "position": position,
                "map": self._ledger.map.model_dump(mode="json"),
                "files": [self._ledger.accounts.filenodes, self._ledger.entries.filenodes],
                "chunks": [asdict(chunk) for chunk in self._chunks],
                "only": self._only,
                "want": [self._want.digests, self._want.unique_entries, self._want.wide],
                "key": hashlib.sha256(self._want.key.encode()).hexdigest() if self._want.key else "",
            },
            sort_keys=True,
        )


def _open(work: Work, pace: Pace) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(
            str(work.directory / WORK_FILE) if work.resumable else ":memory:",
            config={
                "threads": str(pace.workers),
                "memory_limit": f"{pace.memory_mb}MB",
                "temp_directory": str(work.directory / "spill"),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
    except duckdb.Error as error:
        if "set lock" not in str(error):
            raise _damaged(work.directory, error) from error
        raise Refused(
            f"{work.directory}: another check works there",
            hint="wait for it, or give this one a directory of its own (--work)",
        ) from error


def _damaged(directory: Path, error: duckdb.Error) -> BadInput:
    return BadInput(
        f"{directory / WORK_FILE}: not what a check left there ({str(error).splitlines()[0][:200]})",
        hint="remove the file: the check then starts from the beginning",
    )


def remote(name: str, statement: str) -> str:
    """What one of the attached sources answers to a statement."""
    return f"select * from postgres_query('{name}', {statements.literal(statement)})"


def _ranges(rows: int, pace: Pace, *, resumable: bool) -> int:
    """Into how many ranges so many rows are cut."""
    if pace.share < 1:
        return -(-rows // GENTLE_ROWS) or 1
    if rows < ROWS_TO_SHARE:
        return 1
    turns = -(-rows // (RESUMABLE_ROWS * pace.workers)) if resumable else 1
    return turns * pace.workers
