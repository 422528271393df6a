"""The slices in one SQLite file, which may be read while the controller writes, and when the controller is dead."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from siaga.errors import BadInput, StoreFault, Unreachable
from siaga.uptime.model import Reclassification, Slice, State
from siaga.uptime.store import changes, detail_of, slice_of

_log = structlog.get_logger()

FILE_NAME = "uptime.sqlite"
FORMAT = 1
_BUSY_S = 5.0
_STATES = (State.GOOD, State.BAD, State.UNKNOWN)
"""Kept by their place in this row: never change the order."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slices (
    begin_ms INTEGER PRIMARY KEY, end_ms INTEGER NOT NULL, state INTEGER NOT NULL, detail TEXT,
    CHECK (begin_ms < end_ms));
CREATE TABLE IF NOT EXISTS reclassifications (
    record INTEGER PRIMARY KEY, begin_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, state INTEGER NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL);
"""


class SqliteStore:
    """A SliceStore in a file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, or make it; BadInput when it is damaged or of another version."""
        self._path = path
        # Calls come from threads, one after the other.
        self._lock = threading.Lock()
        try:
            self._connection = self._open(read_only=read_only)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise Unreachable(
                    f"{path} can't be opened: {error}", hint="Look at the disk and at who may read the file."
                ) from error
            raise BadInput(
                f"{path} is damaged: {error}",
                hint="Restore it from a backup of the state directory; without it the time before is unknown.",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def record(self, measured: Sequence[Slice]) -> None:
        """Lay the slices over what is recorded."""
        if not measured:
            return
        with self._using():
            done = changes(self._slices(measured[0].begin_ms - 1, measured[-1].end_ms + 1), measured)
            self._connection.execute(f"PRAGMA synchronous={'NORMAL' if done.grown_only else 'FULL'}")
            with self._transaction():
                self._connection.executemany(
                    "DELETE FROM slices WHERE begin_ms = ?", [(begin_ms,) for begin_ms in done.gone_ms]
                )
                self._connection.executemany(
                    "INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?)",
                    [(each.begin_ms, each.end_ms, _STATES.index(each.state), detail_of(each)) for each in done.changed],
                )

    def slices(self, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
        """Everything recorded that touches the stretch, in order."""
        with self._using():
            return self._slices(begin_ms, end_ms)

    def began_ms(self) -> int | None:
        """When the site was first served."""
        with self._using():
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'began_ms'").fetchone()
        return int(row[0]) if row else None

    def begin(self, moment_ms: int) -> None:
        """Note when the site was first served."""
        with self._using(), self._transaction():
            self._connection.execute(
                "INSERT INTO facts VALUES ('began_ms', ?) ON CONFLICT (name) DO UPDATE SET value = min(value, ?)",
                (moment_ms, moment_ms),
            )

    def reclassify(self, word: Reclassification) -> None:
        """Keep a person's word."""
        row = (word.record, word.begin_ms, word.end_ms, _STATES.index(word.state), word.actor, word.reason)
        with self._using(), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO reclassifications VALUES (?, ?, ?, ?, ?, ?)", row)

    def reclassifications(self) -> tuple[Reclassification, ...]:
        """Every word, the latest last."""
        with self._using():
            rows = self._connection.execute("SELECT * FROM reclassifications ORDER BY record").fetchall()
        return tuple(
            Reclassification(begin_ms, end_ms, _STATES[state], actor, reason, record)
            for record, begin_ms, end_ms, state, actor, reason in rows
        )

    def _open(self, *, read_only: bool) -> sqlite3.Connection:
        if read_only and not self._path.exists():
            raise Unreachable(
                "nothing was measured yet, and no controller answers", hint="`siaga up` starts the controller."
            )
        uri = f"{self._path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        if not read_only:
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO facts VALUES ('format', ?)", (FORMAT,))
        (found,) = connection.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
        if found != FORMAT:
            connection.close()
            raise BadInput(
                f"{self._path} has format {found}, this version reads format {FORMAT}",
                hint="Use the version of siaga that made it.",
            )
        return connection

    def _slices(self, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
        # Rows do not overlap: of those that begin before the stretch only the last can reach into it.
        rows = self._connection.execute(
            "SELECT * FROM slices WHERE begin_ms < ? AND end_ms > ? AND begin_ms >= "
            "coalesce((SELECT max(begin_ms) FROM slices WHERE begin_ms <= ?), ?) ORDER BY begin_ms",
            (end_ms, begin_ms, begin_ms, begin_ms),
        )
        return tuple(slice_of(begin, end, _STATES[state], detail) for begin, end, state, detail in rows)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StoreFault(f"{self._path}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk has SQLite roll back by itself; either way nothing of it was done.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def opened(path: Path) -> SqliteStore:
    """The store, or a new one where the file can't be used; what was there is set aside, never removed.

    A controller that never starts is worse than one that knows nothing of the past: the evidence still says when the
    site began, so that the time before is unknown and not forgotten.
    """
    try:
        return SqliteStore(path)
    except BadInput as error:
        _log.error("the slices can't be read and are set aside", why=error.message)
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            if each.exists():
                each.replace(each.with_name(f"{each.name}.damaged"))
        return SqliteStore(path)
