"""Replication slots: how much write-ahead log each keeps on the disk, of what it may keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from siaga.health.model import Kind, Observation, Reader
from siaga.health.postgres import Server, ask

# On a standby there is no current position; what it received stands for it.
QUESTION = """
select slot_name, active, wal_status,
       pg_wal_lsn_diff(
           case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                else pg_current_wal_lsn() end,
           restart_lsn
       )::bigint as kept_bytes,
       restart_lsn is null as keeps_nothing,
       (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as keep_mb_max
  from pg_replication_slots
 where not temporary
"""
_MB = 1 << 20


def reader(server: Server) -> Reader:
    """Read every slot of one server of PostgreSQL 13 or newer."""

    async def read(now: datetime) -> Sequence[Observation]:
        return [observation(row, server) for row in await ask(server, QUESTION)]

    return Reader(f"slots of {server.name}", server.host, (Kind.SLOT_WAL,), read, server.name)


def observation(row: Mapping[str, Any], server: Server) -> Observation:
    """One slot, from a row of the question."""
    subject = f"{server.name}/{row['slot_name']}"
    idle = "" if row["active"] else "; nobody reads it"
    if row["wal_status"] == "lost":
        return Observation(Kind.SLOT_WAL, server.host, subject, 100.0, "lost: its reader has to begin anew")
    if row["keeps_nothing"]:
        return Observation(Kind.SLOT_WAL, server.host, subject, 0.0, f"keeps nothing yet{idle}")
    kept_bytes, keep_mb_max = row["kept_bytes"], row["keep_mb_max"]
    if kept_bytes is None:
        return Observation(Kind.SLOT_WAL, server.host, subject, None, "the server does not know how far it is")
    kept = f"keeps {kept_bytes / _MB:.1f} MB, {row['wal_status']}{idle}"
    if keep_mb_max is None or keep_mb_max < 0:
        return Observation(
            Kind.SLOT_WAL,
            server.host,
            subject,
            None,
            f"{kept}; max_slot_wal_keep_size is unlimited: it may fill the disk",
        )
    percent = 100 * kept_bytes / max(1, keep_mb_max * _MB)
    return Observation(Kind.SLOT_WAL, server.host, subject, round(max(0.0, percent), 3), kept)
