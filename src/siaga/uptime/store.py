"""Where slices are kept: one SQLite file, a row for a change and not for a slice (five years of a site in megabytes).

Nothing is ever removed, and time in no row was not measured. The file may be read while the controller writes, and
when the controller is dead.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from siaga.errors import BadInput, Unreachable
from siaga.uptime.model import Reclassification, Slice, Source, State, Step
from siaga.uptime.timeline import overlay

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


class SliceStore:
    """One writer, any number of readers. Calls block; sqlite3.Error where they can't be carried out."""

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
        """Lay the slices, in order and without overlaps, over what is recorded; see `overlay`.

        Survives a killed process when it returns, and a failed machine when something changed; while all stays the
        same, the last seconds before a failed machine are lost and then count as not measured.
        """
        if not measured:
            return
        begin_ms, end_ms = measured[0].begin_ms, measured[-1].end_ms
        with self._lock:
            before = self._slices(begin_ms - 1, end_ms + 1)
            after = overlay(before, measured)
            kept = {each.begin_ms: each for each in after}
            gone = [(each.begin_ms,) for each in before if each.begin_ms not in kept]
            changed = [kept[moment] for moment in kept if kept[moment] not in before]
            grown_only = not gone and len(changed) == 1 and len(before) == len(after)
            # An fsync a second would be a load of its own on a machine that has a database to serve.
            self._connection.execute(f"PRAGMA synchronous={'NORMAL' if grown_only else 'FULL'}")
            with self._transaction():
                self._connection.executemany("DELETE FROM slices WHERE begin_ms = ?", gone)
                self._connection.executemany("INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?)", map(_row, changed))

    def slices(self, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
        """Everything recorded that touches the stretch, in order."""
        with self._lock:
            return self._slices(begin_ms, end_ms)

    def began_ms(self) -> int | None:
        """When the site was first served."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'began_ms'").fetchone()
        return int(row[0]) if row else None

    def begin(self, moment_ms: int) -> None:
        """Note when the site was first served; an earlier moment stays."""
        with self._lock, self._transaction():
            self._connection.execute(
                "INSERT INTO facts VALUES ('began_ms', ?) ON CONFLICT (name) DO UPDATE SET value = min(value, ?)",
                (moment_ms, moment_ms),
            )

    def reclassify(self, word: Reclassification) -> None:
        """Keep a person's word, whose record is in the evidence; the same record twice is once."""
        row = (word.record, word.begin_ms, word.end_ms, _STATES.index(word.state), word.actor, word.reason)
        with self._lock, self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO reclassifications VALUES (?, ?, ?, ?, ?, ?)", row)

    def reclassifications(self) -> tuple[Reclassification, ...]:
        """Every word, the latest last."""
        with self._lock:
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
        return tuple(_slice(row) for row in rows)

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


def opened(path: Path) -> SliceStore:
    """The store, or a new one where the file can't be used; what was there is set aside, never removed.

    A controller that never starts is worse than one that knows nothing of the past: the evidence still says when the
    site began, so that the time before is unknown and not forgotten.
    """
    try:
        return SliceStore(path)
    except BadInput as error:
        _log.error("the slices can't be read and are set aside", why=error.message)
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            if each.exists():
                each.replace(each.with_name(f"{each.name}.damaged"))
        return SliceStore(path)


def _row(each: Slice) -> tuple[int, int, int, str | None]:
    detail: dict[str, Any] = {
        "share_ppm": each.share_ppm,
        "confirmed": each.confirmed,
        "regions": each.regions,
        "steps": each.steps,
        "sources": each.sources,
        "why": each.why,
    }
    said = {name: value for name, value in detail.items() if value}
    return each.begin_ms, each.end_ms, _STATES.index(each.state), json.dumps(said) if said else None


def _slice(row: Sequence[Any]) -> Slice:
    begin_ms, end_ms, state, detail = row
    if detail is None:
        return Slice(begin_ms, end_ms, _STATES[state])
    said = json.loads(detail)
    return Slice(
        begin_ms,
        end_ms,
        _STATES[state],
        share_ppm=said.get("share_ppm", 0),
        confirmed=said.get("confirmed", False),
        regions=tuple(said.get("regions", ())),
        steps=tuple(Step(each) for each in said.get("steps", ())),
        sources=tuple(Source(each) for each in said.get("sources", ())),
        why=said.get("why", ""),
    )
