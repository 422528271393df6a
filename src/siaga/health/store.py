"""Past observations, in one SQLite file of the controller's directory: for trends, and for what stands after a restart.

One row an hour and subject: a second look within the hour takes the first one's place, so that no number of looks
pushes the past out. Losing the file costs the trends, no more; the weekly record is in the evidence.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from siaga.health.model import Kind, Observation, Point

_log = structlog.get_logger()

FILE_NAME = "health.db"
HOURS_KEPT = 35 * 24
_BUSY_S = 5.0
_HOUR_S = 3600
_SCHEMA = """
create table if not exists observation (
    hour integer not null,
    reader text not null,
    kind text not null,
    host text not null,
    subject text not null,
    at_s real not null,
    value real,
    why text not null,
    applicable integer not null default 1,
    primary key (hour, reader, kind, host, subject)
) without rowid
"""
_INSERT = (
    "insert or replace into observation (hour, reader, kind, host, subject, at_s, value, why, applicable) "
    "values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

Key = tuple[Kind, str, str]
"""Kind, host and subject."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a reader saw when it last looked."""

    at: datetime
    observations: tuple[Observation, ...]


class Store:
    """The file is opened for each call: a few times an hour."""

    def __init__(self, path: Path, hours_kept: int = HOURS_KEPT) -> None:
        self._path = path
        self._hours_kept = hours_kept

    def append(self, reader: str, observations: Sequence[Observation], at: datetime) -> None:
        """Keep what a reader saw, and forget the oldest of more hours than are kept."""
        at_s = at.timestamp()
        hour = int(at_s // _HOUR_S)
        rows = [
            (hour, reader, o.kind.value, o.host, o.subject, at_s, o.value, o.why, o.applicable) for o in observations
        ]
        with self._opened() as connection:
            connection.execute("delete from observation where hour = ? and reader = ?", (hour, reader))
            connection.executemany(_INSERT, rows)
            # By their number, not their age: a clock that jumps ahead must not empty the file.
            connection.execute(
                "delete from observation where hour < (select min(hour) from "
                "(select distinct hour from observation order by hour desc limit ?))",
                (self._hours_kept,),
            )

    def history(self, since: datetime) -> Mapping[Key, list[Point]]:
        """Every value since then, by what it is of."""
        found: dict[Key, list[Point]] = {}
        query = "select kind, host, subject, at_s, value from observation where at_s >= ? and value is not null"
        with self._opened() as connection:
            for kind, host, subject, at_s, value in connection.execute(query, (since.timestamp(),)):
                if kind in _KINDS:
                    found.setdefault((Kind(kind), host, subject), []).append(Point(at_s, value))
        return found

    def latest(self, now: datetime) -> Mapping[str, Remembered]:
        """What each reader saw when it last looked, not after `now`."""
        found: dict[str, Remembered] = {}
        query = (
            "select reader, kind, host, subject, at_s, value, why, applicable from observation as o where hour = "
            "(select max(hour) from observation where reader = o.reader and at_s <= ?)"
        )
        with self._opened() as connection:
            rows = connection.execute(query, (now.timestamp(),))
            for reader, kind, host, subject, at_s, value, why, applicable in rows:
                if kind in _KINDS:
                    before = found[reader].observations if reader in found else ()
                    seen = Observation(Kind(kind), host, subject, value, why, bool(applicable))
                    found[reader] = Remembered(datetime.fromtimestamp(at_s, UTC), (*before, seen))
        return found

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S)
        try:
            with connection:
                connection.execute(_SCHEMA)
                if "applicable" not in {row[1] for row in connection.execute("pragma table_info(observation)")}:
                    # A file of an earlier release.
                    connection.execute("alter table observation add column applicable integer not null default 1")
                yield connection
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._set_aside(error)
            raise
        finally:
            connection.close()

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """A damaged file would stay so: it is kept under another name, and the next call begins a new one."""
        self._path.replace(self._path.with_suffix(".damaged"))
        _log.error("the file of past readings is damaged, trends begin anew", why=str(error))


_KINDS = frozenset(Kind)
"""A kind of another release is passed over."""
