"""The row, the lock and the sessions that leadership over PostgreSQL is made of: one call each, no judgement.

Standbys are called `siaga standby` in `application_name`, leaders `siaga leader EPOCH`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from siaga.controller.election import Lease
from siaga.controller.state_version import FORMAT

STANDBY = "siaga standby"
"""What sessions of standbys call themselves; a new leader ends all others."""
LOCK = 0x51A6A
"""The advisory lock of the state's database; any number that nobody else there uses."""

_SCHEMA = """
create schema if not exists siaga_state;
create table if not exists siaga_state.leader (
    one boolean primary key default true check (one),
    epoch bigint not null,
    renewals bigint not null,
    released boolean not null,
    settled boolean not null,
    holder text not null,
    host text not null,
    machine text not null,
    pid bigint not null,
    started_ticks bigint not null,
    since timestamptz not null,
    format integer not null,
    siaga text not null,
    renewed_at timestamptz not null
);
insert into siaga_state.leader values
    (true, 0, 0, true, true, '', '', '', 0, 0, clock_timestamp(), 0, '', clock_timestamp())
    on conflict do nothing
"""
_READ = """
select epoch, renewals, released, settled, holder, host, machine, pid, started_ticks, since::text as since,
    format, siaga
from siaga_state.leader
"""
_CLAIM = """
update siaga_state.leader set epoch = greatest(epoch, %(epoch_last)s) + 1, renewals = 0, released = false,
    settled = false, holder = %(holder)s, host = %(host)s, machine = %(machine)s, pid = %(pid)s,
    started_ticks = %(started_ticks)s, format = %(format)s, siaga = %(siaga)s,
    since = clock_timestamp(), renewed_at = clock_timestamp()
where epoch = %(epoch)s and renewals = %(renewals)s returning epoch
"""
_RENEW = """
update siaga_state.leader set renewals = renewals + 1, settled = settled or %s, renewed_at = clock_timestamp()
where epoch = %s
"""
_RELEASE = "update siaga_state.leader set renewals = renewals + 1, released = true where epoch = %s"
# Only while the epoch is still ours: one that was overtaken must not cut off its successor.
_END_OTHERS = """
select count(pg_terminate_backend(a.pid)) from pg_stat_activity a, siaga_state.leader l
where l.epoch = %s and a.datname = current_database() and a.usename = current_user
    and a.backend_type = 'client backend' and a.pid <> pg_backend_pid() and a.application_name <> %s
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who we are, as it is written into the row."""

    holder: str
    """The controller's name."""
    host: str
    machine: str
    pid: int
    started_ticks: int
    siaga: str
    """Our version."""


_CONNECTION: Mapping[str, Any] = {
    "autocommit": True,
    "application_name": STANDBY,
    "connect_timeout": 2,
    # A host that is gone is noticed by TCP alone.
    "keepalives": 1,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 2000,
    "options": "-c statement_timeout=2000 -c lock_timeout=2000 -c synchronous_commit=on",
}


def session_name(epoch: int) -> str:
    """What a leader's sessions in the state's database call themselves."""
    return f"siaga leader {epoch}"


async def connect(conninfo: str, deadline_s: float) -> psycopg.AsyncConnection:
    """A standby's session; psycopg.Error or TimeoutError when there is none to be had."""
    async with asyncio.timeout(deadline_s):
        return await psycopg.AsyncConnection.connect(conninfo, **_CONNECTION)


class LeaderRow:
    """One session's view of the row and the lock."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def create(self) -> None:
        """Make the table unless it is there."""
        if await self._one("select to_regclass('siaga_state.leader') is not null") == (True,):
            return
        async with self._connection.transaction():
            # Two controllers may start at once, and `if not exists` alone does not keep them apart.
            await self._connection.execute("select pg_advisory_xact_lock(%s)", (LOCK + 1,))
            for statement in _SCHEMA.split(";"):
                await self._connection.execute(statement.encode())

    async def read(self) -> Lease:
        """The row."""
        async with self._connection.cursor(row_factory=class_row(Lease)) as cursor:
            lease = await (await cursor.execute(_READ)).fetchone()
        if lease is None:
            raise psycopg.DataError("the table siaga_state.leader is empty, expected its one row")
        return lease

    async def try_lock(self) -> bool:
        """Whether the lock is this session's now."""
        return await self._one("select pg_try_advisory_lock(%s)", LOCK) == (True,)

    async def unlock(self) -> None:
        """Give the lock back."""
        await self._connection.execute("select pg_advisory_unlock(%s)", (LOCK,))

    async def claim(self, candidate: Candidate, seen: Lease, epoch_last: int) -> int | None:
        """Raise the epoch if the row is still as it was seen, and name this session after it; None if it is not.

        `epoch_last` is the last epoch known outside the database, which may be a restored one.
        """
        seen_as = {"epoch": seen.epoch, "renewals": seen.renewals, "epoch_last": epoch_last}
        fields = {**asdict(candidate), "format": FORMAT, **seen_as}
        row = await (await self._connection.execute(_CLAIM, fields)).fetchone()
        if row is None:
            return None
        epoch = int(row[0])
        await self._one("select set_config('application_name', %s, false)", session_name(epoch))
        # From now on only renewals: one that a crash forgets lets a standby wait for less, and none waits for a disk.
        await self._connection.execute("set synchronous_commit = off")
        return epoch

    async def end_other_sessions(self, epoch: int) -> None:
        """End every session that an old leader may still write through, and return when they are gone."""
        ended = await self._one(_END_OTHERS, epoch, STANDBY)
        while ended != (0,):
            await asyncio.sleep(0.02)
            ended = await self._one(_END_OTHERS, epoch, STANDBY)

    async def renew(self, epoch: int, *, settled: bool) -> bool:
        """Whether the epoch is still ours; `settled` once we may act under it."""
        return (await self._connection.execute(_RENEW, (settled, epoch))).rowcount == 1

    async def release(self, epoch: int) -> None:
        """Say that we left in good order."""
        await self._connection.execute(_RELEASE, (epoch,))

    async def _one(self, query: LiteralString, *parameters: object) -> tuple[Any, ...] | None:
        return await (await self._connection.execute(query, parameters)).fetchone()
