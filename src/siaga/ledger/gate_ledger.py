"""What the gate asks the ledger's own tables: is there such an account, what was written since, what may move now.

The tables are those of the map that the gate was installed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from siaga.errors import BadInput
from siaga.ledger.fence import Facts, Standing
from siaga.ledger.gate_connection import Connection
from siaga.ledger.map import LedgerMap
from siaga.ledger.proof import Proof, Source
from siaga.ledger.source import first_line

RECENT_BYTES = 8 << 20
RECENT_TIME = "7 days"
RECENT_ENTRIES_MAX = 100_000
"""How much of the table of entries is read for the share of movements."""


@dataclass(frozen=True, slots=True)
class Movements:
    """Recent movements, and how many of them would go through now: all their accounts are open."""

    recent: int
    possible: int

    @property
    def share(self) -> float | None:
        """None where nothing moved."""
        return self.possible / self.recent if self.recent else None


@dataclass(frozen=True, slots=True)
class _Tables:
    map: LedgerMap
    accounts: sql.Identifier
    entries: sql.Identifier
    account_type: str
    """Of the accounts' id, as the catalogue writes it."""
    entries_kind: str
    """As in pg_class: r a table, p a partitioned one, others have no rows of their own."""
    entries_bytes: int
    is_guarded: bool
    """Whether the trigger refuses movements of closed accounts, so that those let through are all noted."""

    @property
    def can_tell_recent(self) -> bool:
        return self.entries_kind == "r" or (self.entries_kind == "p" and self.map.entries.time is not None)


async def require_accounts(connection: Connection, accounts: Sequence[str]) -> None:
    """BadInput when the ledger has no account of one of these ids."""
    tables = await _tables(connection)
    if tables is None:
        return
    column = sql.Identifier(tables.map.accounts.id)
    kind = sql.SQL(tables.account_type)
    statement = sql.SQL("select w from unnest(%s::text[]) w where not exists (select from {} where {} = w::{})").format(
        tables.accounts, column, kind
    )
    try:
        async with connection.transaction():
            missing = await (await connection.execute(statement, (list(accounts),))).fetchone()
    except psycopg.DataError as error:
        raise BadInput(f"account: {first_line(error)}", hint=f"Ids are of type {tables.account_type}.") from None
    if missing is not None:
        raise BadInput(
            f"account: found {missing[0]}, expected an id of {tables.map.accounts.table}",
            hint="Ids are written as PostgreSQL writes them.",
        )


async def facts(connection: Connection, standing: Standing, proof: Proof) -> Facts:
    """What `fence.py` judges by; to be asked while the gate's row is locked."""
    named = {"snapshot": proof.snapshot, "lsn": proof.lsn, "system": proof.source.system_id}
    try:
        async with connection.transaction():
            cursor = await connection.execute(
                "select (select system_identifier::text from pg_control_system()),"
                " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer, current_database(),"
                " coalesce(pg_visible_in_snapshot(settled_xid, %(snapshot)s::pg_snapshot), false),"
                " coalesce(verdict_system = %(system)s and verdict_lsn > %(lsn)s::pg_lsn, false) from siaga.gate",
                named,
            )
            row = await cursor.fetchone()
    except psycopg.DataError as error:
        raise BadInput(f"report: {first_line(error)}", hint="Keep the output of the check whole in a file.") from None
    assert row is not None, "the row is locked"
    system_id, timeline, database, sees_settled, is_superseded = row
    cursor = await connection.execute(
        "select account, lsn is null from siaga.gate_exceptions where generation = %(generation)s"
        " and ((is_open and lsn is null) or (not is_open and system = %(system)s and lsn > %(lsn)s::pg_lsn))",
        {**named, "generation": standing.generation},
    )
    exceptions = await cursor.fetchall()
    tables = await _tables(connection)
    return Facts(
        standing=standing,
        source=Source(system_id, timeline, database),
        map_digest=tables.map.digest() if tables else None,
        sees_settled=sees_settled,
        is_superseded=is_superseded,
        written_after=await _written_after(connection, tables, proof.snapshot) if sees_settled else frozenset(),
        newer=frozenset(account for account, is_override in exceptions if not is_override),
        overridden=frozenset(account for account, is_override in exceptions if is_override),
        system_accounts=await _system_accounts(connection, tables, list(proof.faults)),
    )


async def movements(connection: Connection) -> Movements | None:
    """Share of recent movements that are possible; None where it cannot be told which are recent."""
    tables = await _tables(connection)
    if tables is None or not tables.can_tell_recent:
        return None
    statement = sql.SQL(
        "select count(*), count(*) filter (where is_possible) from ("
        " select bool_and(coalesce(x.is_open, g.is_open)) as is_possible"
        " from ({recent} limit {limit}) e cross join siaga.gate g"
        " left join siaga.gate_exceptions x on x.generation = g.generation and x.account = e.account"
        " group by e.movement) m"
    ).format(recent=_recent(tables), limit=sql.Literal(RECENT_ENTRIES_MAX))
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None, "an aggregate has a row"
    return Movements(*row)


def _recent(tables: _Tables) -> sql.Composed:
    """Recent entries: the end of a plain table, which is append-only; of a partitioned one those of the last days."""
    entries = tables.map.entries
    if tables.entries_kind == "r":
        first = f"({max(0, tables.entries_bytes - RECENT_BYTES) // 8192},0)"
        recent = sql.SQL("ctid >= {}::tid").format(sql.Literal(first))
    else:
        recent = sql.SQL("{} > now() - {}::interval").format(
            sql.Identifier(entries.time or ""), sql.Literal(RECENT_TIME)
        )
    return sql.SQL(
        "select {account}::text as account, {movement}::text as movement"
        " from {table} where {recent} and ({where}) is true"
    ).format(
        account=sql.Identifier(entries.account),
        # Without a transaction's id every entry is a movement of its own.
        movement=sql.Identifier(entries.transaction or "ctid"),
        table=tables.entries,
        recent=recent,
        where=_condition(entries.where),
    )


async def _written_after(connection: Connection, tables: _Tables | None, snapshot: str) -> frozenset[str] | None:
    """Accounts closed now that wrote entries in transactions which this snapshot did not see."""
    if tables is None or tables.entries_kind not in ("r", "p"):
        return None
    if tables.is_guarded:
        written = sql.Composed(
            [sql.SQL("select account from siaga.gate_passes where not pg_visible_in_snapshot(xid, %(snapshot)s)")]
        )
    else:
        # No index knows who wrote a row, so this reads the whole table; `age` first, since it costs next to nothing.
        # A row that is four billion transactions old may be taken for a new one: then its account stays closed.
        written = sql.SQL(
            "select {account}::text as account from {entries}"
            " where age(xmin) <= (select n.id - pg_snapshot_xmin(%(snapshot)s)::text::bigint from now_id n)"
            " and not pg_visible_in_snapshot(((select n.id from now_id n) - age(xmin))::text::xid8, %(snapshot)s)"
        ).format(account=sql.Identifier(tables.map.entries.account), entries=tables.entries)
    statement = sql.SQL(
        "with now_id as materialized (select pg_current_xact_id()::text::bigint as id)"
        " select distinct w.account from ({written}) w cross join siaga.gate g"
        " left join siaga.gate_exceptions x on x.generation = g.generation and x.account = w.account"
        " where not coalesce(x.is_open, g.is_open)"
    ).format(written=written)
    rows = await (await connection.execute(statement, {"snapshot": snapshot})).fetchall()
    return frozenset(account for (account,) in rows)


async def _system_accounts(connection: Connection, tables: _Tables | None, accounts: Sequence[str]) -> frozenset[str]:
    """Which of these accounts the map calls the platform's own."""
    if tables is None or not accounts:
        return frozenset()
    system = tables.map.system_accounts
    named = {str(account) for account in system.ids} & set(accounts)
    if system.where is None:
        return frozenset(named)
    column = sql.Identifier(tables.map.accounts.id)
    statement = sql.SQL("select {id}::text from {table} where ({where}) is true and {id} = any (%s::{kind}[])").format(
        id=column,
        table=tables.accounts,
        where=_condition(system.where.replace("%", "%%")),
        kind=sql.SQL(tables.account_type),
    )
    rows = await (await connection.execute(statement, (list(accounts),))).fetchall()
    return frozenset(named | {account for (account,) in rows})


async def _tables(connection: Connection) -> _Tables | None:
    """The tables of the map as they stand; None before the gate was put before any."""
    row = await (await connection.execute("select map from siaga.gate_ledger")).fetchone()
    if row is None:
        return None
    ledger = LedgerMap.model_validate(row[0])
    accounts, entries = _identifier(ledger.accounts.qualified), _identifier(ledger.entries.qualified)
    kind = await _one(
        connection,
        "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attname = %s",
        (accounts.as_string(connection), ledger.accounts.id),
    )
    cursor = await connection.execute(
        "select relkind::text, pg_relation_size(oid) from pg_class where oid = %s::regclass",
        (entries.as_string(connection),),
    )
    found = await cursor.fetchone()
    assert found is not None, "the cast to regclass raises first"
    guarded = await _one(
        connection,
        "select exists (select from pg_trigger where tgrelid = %s::regclass and tgname = 'siaga_refuse_movements'"
        " and tgenabled in ('O', 'A'))",
        (entries.as_string(connection),),
    )
    return _Tables(ledger, accounts, entries, kind, found[0], found[1], guarded)


async def _one(connection: Connection, statement: LiteralString, parameters: tuple[object, ...]) -> Any:
    row = await (await connection.execute(statement, parameters)).fetchone()
    return row[0] if row else None


def _identifier(name: tuple[str | None, str]) -> sql.Identifier:
    return sql.Identifier(*(part for part in name if part is not None))


def _condition(where: str | None) -> sql.SQL:
    """A condition of the map: SQL by its nature, written by whoever installed the gate."""
    return sql.SQL(where or "true")
