"""A plain connection beside the stream: what the primary says of our slot, its log and its synchronous standbys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from siaga.journal import lsn as positions
from siaga.journal.gaps import Slot
from siaga.journal.quorum import Standby, acknowledged
from siaga.journal.replication import cut_after, unreachable

DEADLINE_S = 5.0

_SLOT = """
    select confirmed_flush_lsn::text, wal_status, safe_wal_size,
           coalesce(to_jsonb(s) ->> 'invalidation_reason', case wal_status when 'lost' then 'wal_removed' end, '')
    from pg_replication_slots s where slot_name = %s and slot_type = 'logical' and database = current_database()
"""
_STANDBYS = "select sync_state, flush_lsn::text from pg_stat_replication where sync_state is not null"
_SERVER = "select pg_current_wal_flush_lsn()::text, current_setting('synchronous_standby_names')"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the primary."""

    written: int
    acknowledged: int | None
    slot: Slot | None
    wal_status: str
    safe_wal_bytes: int | None
    """How much more the server writes before it gives our slot up; None where it never does."""


class Watch:
    """One connection, made anew when it breaks."""

    def __init__(self, conninfo: str, slot: str) -> None:
        self._conninfo = conninfo
        self._slot = slot
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def look(self) -> Look:
        """Ask once; Unreachable when there is no answer in time."""
        ((written, names),) = await self._ask(_SERVER)
        standbys = [Standby(state, positions.parse(at) if at else None) for state, at in await self._ask(_STANDBYS)]
        rows = await self._ask(_SLOT, self._slot)
        slot, wal_status, safe = None, "", None
        if rows:
            ((confirmed, wal_status, safe, lost),) = rows
            slot = Slot(positions.parse(confirmed), lost)
        at = positions.parse(written)
        return Look(at, acknowledged(names, standbys, at), slot, wal_status, safe)

    async def next_xid(self) -> int:
        """The 64-bit transaction id that comes next, to know the epoch of those in the stream."""
        ((found,),) = await self._ask("select pg_snapshot_xmax(pg_current_snapshot())::text")
        return int(found)

    async def publications(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the wanted that exist."""
        rows = await self._ask("select pubname from pg_publication where pubname = any(%s) order by 1", list(wanted))
        return tuple(str(name) for (name,) in rows)

    async def _ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            with cut_after(DEADLINE_S, self._connection.pgconn):
                cursor = await self._connection.execute(query.encode(), parameters or None)
                return await cursor.fetchall()
        except psycopg.Error as error:
            await self.close()
            raise unreachable(error) from error
