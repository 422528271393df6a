"""The log in PostgreSQL, for two controllers that share their state: only the one that leads can add to it.

A row a record, holding the same chain value and the same bytes as a line of the files. Whoever may read the table may
not need Siaga to ask it: `body` is JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from siaga.errors import BadInput, StoreFault
from siaga.evidence.chain import Position, beginning
from siaga.evidence.segments import checkpoint_lines
from siaga.evidence.store import Cut
from siaga.state_database import Connect, faults, prepared

PAGE_ROWS = 5000

_SCHEMA = """
create schema if not exists siaga_evidence;
create table if not exists siaga_evidence.log (
    origin text not null,
    number bigint not null,
    chain bytea not null,
    body text not null,
    primary key (origin, number)
);
create table if not exists siaga_evidence.segment (
    origin text not null,
    first bigint not null,
    position text not null,
    primary key (origin, first)
);
create table if not exists siaga_evidence.pruned (
    origin text primary key,
    position text not null
)
"""
# The leader's row is locked until the records are committed: a new leader can't come between the two.
_APPEND = """
with leader as (select epoch from siaga_state.leader where epoch = %(epoch)s for share)
insert into siaga_evidence.log (origin, number, chain, body)
select %(origin)s, line.number, line.chain, line.body
from leader, unnest(%(numbers)s::bigint[], %(chains)s::bytea[], %(bodies)s::text[]) as line (number, chain, body)
"""
_PAGE = """
select number, chain, body from siaga_evidence.log
where origin = %(origin)s and number >= %(first)s order by number limit %(rows)s
"""
_PAGE_BACKWARDS = """
select number, chain, body from siaga_evidence.log
where origin = %(origin)s and number < %(end)s order by number desc limit %(rows)s
"""


class PostgresStore:
    """Writes the log of one origin, fenced by the leader's epoch."""

    unfinished_bytes = 0
    """A transaction leaves nothing half-written."""
    reserve_bytes = 0
    """Its server's disk is its server's."""

    def __init__(self, connect: Connect, *, origin: str, epoch: int, directory: Path) -> None:
        """`connect` makes a connection, with its password from a file; `directory` holds the checkpoints."""
        self.origin = origin
        self._connect = connect
        self._epoch = epoch
        self._directory = directory
        self._connection: psycopg.Connection | None = None

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def start(self) -> Position:
        """Where the records that are left begin."""
        with self._reader() as connection:
            row = connection.execute(
                "select position from siaga_evidence.pruned where origin = %s", [self.origin]
            ).fetchone()
        return Position.from_document(json.loads(row[0])) if row else beginning(self.origin)

    def checkpoints(self) -> list[bytes]:
        """The lines of the signed checkpoints, oldest first."""
        return checkpoint_lines(self._directory)

    def blocks(self, first: int = 0) -> Iterator[list[bytes]]:
        """Lines in order, from record `first` on."""
        with self._reader() as connection:
            while True:
                rows = connection.execute(
                    _PAGE, {"origin": self.origin, "first": first, "rows": PAGE_ROWS}, binary=True
                ).fetchall()
                if not rows:
                    return
                yield [_line(chain, body) for _, chain, body in rows]
                first = rows[-1][0] + 1

    def newest_first(self) -> Iterator[bytes]:
        """Lines, the last one first."""
        end = 2**63 - 1
        with self._reader() as connection:
            while rows := connection.execute(
                _PAGE_BACKWARDS, {"origin": self.origin, "end": end, "rows": PAGE_ROWS // 10}, binary=True
            ).fetchall():
                yield from (_line(chain, body) for _, chain, body in rows)
                end = rows[-1][0]

    def segment_starts(self) -> list[int]:
        """The first record of every segment that is left."""
        with self._reader() as connection:
            rows = connection.execute(
                "select first from siaga_evidence.segment where origin = %s order by first", [self.origin]
            ).fetchall()
        return [first for (first,) in rows]

    def position_before(self, size: int) -> Position:
        """The latest start of a segment that is known and not after `size`."""
        with self._reader() as connection:
            row = connection.execute(
                "select position from siaga_evidence.segment where origin = %s and first <= %s"
                " order by first desc limit 1",
                [self.origin, size],
            ).fetchone()
        return Position.from_document(json.loads(row[0])) if row else self.start

    # Writing ----------------------------------------------------------------------------------------------------

    def open(self) -> Cut | None:
        """Make the tables where there are none; BadInput when the database can't hold every text."""
        with faults():
            self._connection = prepared(self._connect)
            row = self._connection.execute("show server_encoding").fetchone()
            if row != ("UTF8",):
                raise BadInput(
                    f"the state's database has the encoding {row[0] if row else 'unknown'}, expected UTF8",
                    hint="Make the database anew with `encoding UTF8`.",
                )
            self._connection.execute(_SCHEMA)
        if not self.segment_starts():
            self._begin_segment(beginning(self.origin))
        return None

    def append(self, lines: Sequence[bytes], at: Position, *, fresh: bool) -> None:
        """Insert and commit; StoreFault when that fails, or when another controller leads."""
        if fresh:
            self._begin_segment(at)
        values = {
            "epoch": self._epoch,
            "origin": self.origin,
            "numbers": list(range(at.size, at.size + len(lines))),
            "chains": [bytes.fromhex(line[:64].decode()) for line in lines],
            "bodies": [line[65:-1].decode() for line in lines],
        }
        with faults():
            inserted = self._writing().execute(_APPEND, values).rowcount
        if inserted != len(lines):
            raise StoreFault(f"another controller leads, epoch {self._epoch} is over")

    def recover(self, at: Position) -> None:
        """A new connection: whether the last transaction was committed shows in what can be read then."""
        self.close()
        with faults():
            self._connection = prepared(self._connect)

    def prune(self, to: Position) -> None:
        """Remove every segment before `to`, in one transaction."""
        with faults():
            connection = self._writing()
            with connection.transaction():
                connection.execute(
                    "insert into siaga_evidence.pruned values (%(origin)s, %(position)s)"
                    " on conflict (origin) do update set position = excluded.position",
                    {"origin": self.origin, "position": json.dumps(to.document())},
                )
                connection.execute(
                    "delete from siaga_evidence.segment where origin = %s and first < %s", [self.origin, to.size]
                )
                connection.execute(
                    "delete from siaga_evidence.log where origin = %s and number < %s", [self.origin, to.size]
                )

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _begin_segment(self, at: Position) -> None:
        with faults():
            self._writing().execute(
                "insert into siaga_evidence.segment values (%s, %s, %s) on conflict do nothing",
                [self.origin, at.size, json.dumps(at.document())],
            )

    def _writing(self) -> psycopg.Connection:
        if self._connection is None:
            raise StoreFault("the connection to the state's database is lost")
        return self._connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[psycopg.Connection]:
        """A connection of its own, so that reading never holds up writing."""
        with faults(), contextlib.closing(prepared(self._connect)) as connection:
            yield connection


def _line(chain: bytes, body: str) -> bytes:
    return b"%b %b" % (chain.hex().encode(), body.encode())
