"""The engine that is asked first: PostgreSQL adds up the ledger's fingerprint, over ranges of pages side by side.

It knows only whether everything is right. Where it is not, or where sums per account are wanted, another engine reads.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from siaga.ledger import fingerprint, ranges, statements, tail, verdicts
from siaga.ledger.accumulators import LANE
from siaga.ledger.catalog import Connection
from siaga.ledger.engine import NOTHING_HIDDEN, CurrencyTotals, OnProgress, Pace, Source, Unbalanced
from siaga.ledger.fingerprint import Sums
from siaga.ledger.model import Figures, JournalTail, Progress
from siaga.ledger.ranges import Chunk
from siaga.ledger.schema import Ledger
from siaga.ledger.seal import Seal
from siaga.ledger.team import Team

RANGE_ROWS = 1_000_000
"""Some 0.3 s of reading: often enough to show how far it is, and to share the last of it."""
POLL_S = 0.1
CANCEL_DEADLINE_S = 5.0
"""For workers to notice; a source that hangs is not waited for."""
AskJournal = Callable[[bool], JournalTail]
"""With whether it has to be complete (`model.Journal.tail`)."""


class FingerprintEngine:
    """One pass, within transactions under one snapshot."""

    name = "fingerprint"

    def __init__(
        self,
        ledger: Ledger,
        source: Source,
        pace: Pace,
        *,
        ids: bool,
        sums_only: bool = False,
        since: Seal | None = None,
        journal: AskJournal | None = None,
    ) -> None:
        """`ids`: look for ids that two entries share; `sums_only`: a statement a table, so that an index may serve.

        `since`: a seal with a fingerprint; all accounts are read, and of the entries those that came after it.
        `journal`: asked where they lie, while the accounts are read.
        """
        self._ledger, self._source, self._pace, self._ids, self.since = ledger, source, pace, ids, since
        self._ask, self.tail = journal, JournalTail(False, "no journal was asked")
        self._wide = False
        self._weights: fingerprint.Weights = "a" if sums_only else "ab"
        self._chunks = _chunks(ledger, source.position.version, pace, whole=sums_only)
        self._parallel = pace.workers if pace.share == 1 and all(c.pages is None for c in self._chunks) else 0
        self._lock = threading.Lock()
        self._open: list[Connection] = []
        self._stop = threading.Event()
        self._rows = self._expected = 0
        self._sums = {"accounts": Sums(), "entries": Sums()}
        self._twice = self._orphans = 0

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, on_progress: OnProgress) -> None:
        """Add up every range; once more where a number needs more than 64 bits."""
        try:
            self._read(on_progress)
        except psycopg.errors.NumericValueOutOfRange:
            if self._wide or self.since is not None:
                raise
            self._wide, self._rows = True, 0
            self._sums = {"accounts": Sums(), "entries": Sums()}
            self._stop.clear()
            self._read(on_progress)

    def _read(self, on_progress: OnProgress) -> None:
        began = time.monotonic()
        if self._ask is None:
            self._add_up(self._chunks, on_progress, began)
        else:
            accounts = [chunk for chunk in self._chunks if chunk.table == "accounts"]
            self._add_up(accounts, on_progress, began, lambda: self._new(complete=False))
            if self.differs_from_journal:
                # As it may where the last commits had not reached the disk, and so the journal, when it was asked.
                self._sums["entries"] = Sums()
                self._add_up((), on_progress, began, lambda: self._new(complete=True))
        on_progress(Progress("judging", self._rows, self._rows, time.monotonic() - began))
        self._twice = 0 if fingerprint.unique_accounts(self._ledger) else self._number(fingerprint.twice(self._ledger))
        orphans = fingerprint.orphans(self._ledger)
        self._orphans = self._number(orphans) if orphans else 0

    def _new(self, *, complete: bool) -> Sequence[Chunk]:
        """Entries after the seal: by an index, where the journal knows which they are; else every row is asked."""
        assert self._ask is not None, "asked before"
        self.tail = self._ask(complete)
        by = tail.ordered(self._ledger)
        if self.tail.known and by is not None:
            pieces = max(-(-self.tail.entries // _rows_max(self._pace)), self._pace.workers)
            conditions = tail.between(self._ledger, by, self.tail, pieces)
            return [Chunk("entries", None, self.tail.entries // len(conditions), only) for only in conditions]
        return [chunk for chunk in self._chunks if chunk.table == "entries"]

    def _add_up(
        self,
        chunks: Sequence[Chunk],
        on_progress: OnProgress,
        began: float,
        ask: Callable[[], Sequence[Chunk]] | None = None,
    ) -> None:
        """All of them, and those that `ask` names while others are read already."""
        left: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        size = self._pace.workers if ask is not None else min(self._pace.workers, len(chunks))
        self._expected = self._rows

        def give(more: Sequence[Chunk]) -> None:
            self._expected += sum(chunk.rows for chunk in more)
            for chunk in more:
                left.put(chunk)

        def work(number: int) -> None:
            if number < size:
                self._work(left)
                return
            try:
                give(ask() if ask is not None else ())
            finally:
                for _ in range(size):
                    left.put(None)

        give(chunks)
        team = Team(size + 1, work)
        try:
            while not team.ended(within_s=POLL_S):
                on_progress(Progress("reading", self._rows, self._expected, time.monotonic() - began))
        except BaseException:
            # Ctrl-C, or a range that could not be read: the others need not go on.
            self._stop.set()
            self._cancel()
            team.gone(within_s=CANCEL_DEADLINE_S)
            raise

    def _work(self, left: queue.SimpleQueue[Chunk | None]) -> None:
        with self._connected() as connection:
            while (chunk := left.get()) is not None and not self._stop.is_set():
                began = time.monotonic()
                row = connection.execute(self._statement(chunk)).fetchone()
                assert row is not None, "an aggregate has one row"
                with self._lock:
                    self._sums[chunk.table] += fingerprint.of_row(row)
                    self._rows += int(row[0])
                self._stop.wait((time.monotonic() - began) * (1 / self._pace.share - 1))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection of its own that sees what the check's own transaction sees."""
        name = f"siaga ledger {self._source.exported}"
        with contextlib.closing(psycopg.connect(self._source.conninfo, application_name=name)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(self._source.exported)))
            connection.execute(_settings(self._parallel))
            with self._lock:
                self._open.append(connection)
            yield connection

    def _cancel(self) -> None:
        """End what the connections are at; best effort."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(psycopg.Error):
                    connection.cancel_safe(timeout=1)

    def _number(self, statement: str) -> int:
        """In the check's own transaction, by all workers."""
        self._source.connection.execute(_settings(self._pace.workers if self._pace.share == 1 else 0))
        row = self._source.connection.execute(statement).fetchone()
        assert row is not None, "an aggregate has one row"
        return int(row[0])

    # --- what was found ----------------------------------------------------------------------------------------

    def disagrees(self) -> bool:
        """Whether anything is wrong, and has to be looked for account by account."""
        before = self.since.fingerprint if self.since is not None else None
        balanced = fingerprint.agree(self._ledger, self._sums["entries"], self._sums["accounts"], before or Sums())
        return not balanced or bool(self._twice or self._orphans)

    @property
    def differs_from_journal(self) -> str:
        """How what came after the seal is not what the journal has; empty where it cannot tell, too."""
        if not self.tail.known:
            return ""
        if self.tail.altered:
            return f"the log was altered {self.tail.altered} times after the seal"
        read = int(self._sums["entries"].rows)
        if self.tail.entries != read:
            return f"{read} entries came after the seal, and the journal has {self.tail.entries}"
        # Entries elsewhere than the journal says, perhaps: the database alone would find nothing wrong with them.
        return "what the journal says came after the seal does not lead to the balances" if self.disagrees() else ""

    def totals(self) -> Sequence[CurrencyTotals]:
        """Of all currencies together; asked only where nothing is wrong."""
        accounts, entries = self._sums["accounts"], self._sums["entries"]
        return [
            CurrencyTotals(
                currency=None,
                accounts=int(accounts.rows),
                entries=int(entries.rows) + (self.since.entries if self.since is not None else 0),
                wrong=0,
                lane=0,
                amount_sum=0,
                digest_keyed=0,
                system=int(accounts.system),
                system_right=int(accounts.system),
            )
        ]

    @property
    def verdicts_digest(self) -> str:
        """Of every account's verdict: all are verified."""
        return f"{int(self._sums['accounts'].verdicts) % LANE:016x}"

    def suspects(self, limit: int) -> Sequence[Figures]:
        """None: see `disagrees`."""
        return []

    def unbalanced(self, limit: int) -> Sequence[Unbalanced]:
        """None: see `disagrees`."""
        return []

    def duplicates(self, limit: int) -> Sequence[str]:
        """Ids that more than one entry has."""
        rows = self._source.connection.execute(self._duplicates(limit)).fetchall()
        return [str(row[0]) for row in rows]

    def statements(self) -> Sequence[str]:
        """Those that PostgreSQL sees."""
        found = [self._statement(chunk) for chunk in self._chunks]
        found += [] if fingerprint.unique_accounts(self._ledger) else [fingerprint.twice(self._ledger)]
        found += [statement] if (statement := fingerprint.orphans(self._ledger)) else []
        return [*found, self._duplicates(1)] if self._ids else found

    def close(self) -> None:
        """Workers close their own connections."""
        self._stop.set()

    # --- statements --------------------------------------------------------------------------------------------

    def _statement(self, chunk: Chunk) -> Any:
        if chunk.table == "accounts":
            return fingerprint.accounts(self._ledger, pages=chunk.pages, wide=self._wide, weights=self._weights)
        only = tail.since(self.since, self._source.position) if self.since is not None else ""
        only += f" and {chunk.only}" if chunk.only else ""
        return fingerprint.entries(self._ledger, pages=chunk.pages, only=only, wide=self._wide, weights=self._weights)

    def _duplicates(self, limit: int) -> Any:
        rows = statements.entries(self._ledger, ("id",), bounded=False)
        return verdicts.duplicates(rows, limit)


def _settings(parallel: int) -> Any:
    """For this transaction alone. Compiling takes longer than it saves; our own ranges are what runs side by side."""
    return (
        f"{NOTHING_HIDDEN}; set local jit = off; set local work_mem = '64MB'; "
        f"set local max_parallel_workers_per_gather = {parallel:d}"
    )


def _rows_max(pace: Pace) -> int:
    return ranges.GENTLE_ROWS if pace.share < 1 else RANGE_ROWS


def _chunks(ledger: Ledger, version: int, pace: Pace, *, whole: bool) -> list[Chunk]:
    if whole:
        return [Chunk("accounts", None, ledger.accounts.rows), Chunk("entries", None, ledger.entries.rows)]
    rows_max = _rows_max(pace)
    shared = pace.workers if pace.share == 1 else 1
    return ranges.chunks(
        ledger, version, lambda rows: max(-(-rows // rows_max), shared if rows >= ranges.ROWS_TO_SHARE else 1)
    )
