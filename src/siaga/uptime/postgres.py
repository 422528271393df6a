"""The slices in PostgreSQL, for two controllers that share their state: only the one that leads can add to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import psycopg

from siaga.errors import Unreachable
from siaga.state_database import Connect, StateDatabase
from siaga.uptime.model import Reclassification, Slice, State
from siaga.uptime.store import changes, detail_of, slice_of

_SCHEMA = """
create schema if not exists siaga_uptime;
create table if not exists siaga_uptime.fact (name text primary key, value bigint not null);
create table if not exists siaga_uptime.slice (
    begin_ms bigint primary key,
    end_ms bigint not null,
    state text not null,
    detail text,
    check (begin_ms < end_ms)
);
create table if not exists siaga_uptime.reclassification (
    record bigint primary key,
    begin_ms bigint not null,
    end_ms bigint not null,
    state text not null,
    actor text not null,
    reason text not null
)
"""
# Rows do not overlap: of those that begin before the stretch only the last can reach into it.
_SLICES = """
select begin_ms, end_ms, state, detail from siaga_uptime.slice
where begin_ms < %(end)s and end_ms > %(begin)s and begin_ms >= coalesce(
    (select max(begin_ms) from siaga_uptime.slice where begin_ms <= %(begin)s), %(begin)s)
order by begin_ms
"""
_KEEP = """
insert into siaga_uptime.slice values (%s, %s, %s, %s) on conflict (begin_ms) do update
set end_ms = excluded.end_ms, state = excluded.state, detail = excluded.detail
"""
_BEGIN = """
insert into siaga_uptime.fact values ('began_ms', %s)
on conflict (name) do update set value = least(fact.value, excluded.value)
"""
_RECLASSIFY = """
insert into siaga_uptime.reclassification values (%s, %s, %s, %s, %s, %s) on conflict (record) do update
set begin_ms = excluded.begin_ms, end_ms = excluded.end_ms, state = excluded.state, actor = excluded.actor,
    reason = excluded.reason
"""


class PostgresStore:
    """A SliceStore in the state's database, fenced by the leader's epoch."""

    def __init__(self, connect: Connect, *, epoch: int) -> None:
        """Nothing is asked of the database yet; epoch 0 only reads."""
        self._database = StateDatabase(connect, _SCHEMA, epoch=epoch)

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def record(self, measured: Sequence[Slice]) -> None:
        """Lay the slices over what is recorded."""
        if not measured:
            return
        with self._database.writing() as connection, connection.cursor() as cursor:
            done = changes(_slices(connection, measured[0].begin_ms - 1, measured[-1].end_ms + 1), measured)
            if done.grown_only:
                cursor.execute("set local synchronous_commit = off")
            cursor.execute("delete from siaga_uptime.slice where begin_ms = any(%s)", [list(done.gone_ms)])
            cursor.executemany(
                _KEEP, [(each.begin_ms, each.end_ms, str(each.state), detail_of(each)) for each in done.changed]
            )

    def slices(self, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
        """Everything recorded that touches the stretch, in order."""
        with self._reading() as connection:
            return _slices(connection, begin_ms, end_ms)

    def began_ms(self) -> int | None:
        """When the site was first served."""
        with self._reading() as connection:
            row = connection.execute("select value from siaga_uptime.fact where name = 'began_ms'").fetchone()
        return int(row[0]) if row else None

    def begin(self, moment_ms: int) -> None:
        """Note when the site was first served."""
        with self._database.writing() as connection:
            connection.execute(_BEGIN, [moment_ms])

    def reclassify(self, word: Reclassification) -> None:
        """Keep a person's word."""
        row = (word.record, word.begin_ms, word.end_ms, str(word.state), word.actor, word.reason)
        with self._database.writing() as connection:
            connection.execute(_RECLASSIFY, row)

    def reclassifications(self) -> tuple[Reclassification, ...]:
        """Every word, the latest last."""
        with self._reading() as connection:
            rows = connection.execute(
                "select begin_ms, end_ms, state, actor, reason, record from siaga_uptime.reclassification"
                " order by record"
            ).fetchall()
        return tuple(Reclassification(begin, end, State(state), *rest) for begin, end, state, *rest in rows)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[psycopg.Connection]:
        with self._database.reading() as connection:
            try:
                yield connection
            except psycopg.errors.UndefinedTable as error:
                raise Unreachable(
                    "nothing was measured yet, and no controller answers", hint="`siaga up` starts the controller."
                ) from error


def _slices(connection: psycopg.Connection, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
    rows = connection.execute(_SLICES, {"begin": begin_ms, "end": end_ms})
    return tuple(slice_of(begin, end, State(state), detail) for begin, end, state, detail in rows)
