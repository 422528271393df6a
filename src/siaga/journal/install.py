"""What the journal needs in the database, made by the owner of the ledger's tables: publications and rights.

Idempotent. The journal's own role needs REPLICATION, SELECT on the mapped tables, and `pg_read_all_stats` to see the
quorum; it can change nothing. A publication that would refuse the application an update is never made: updates and
deletions are published only of tables whose replica identity allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from siaga.errors import BadInput, Unreachable
from siaga.journal.config import PUBLICATIONS
from siaga.ledger.map import LedgerMap
from siaga.ledger.source import first_line

_IDENTITY = """
    select n.nspname, c.relname, c.relkind::text, c.relreplident::text,
           (select array_agg(a.attname::text order by a.attnum) from pg_index i
            join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
            where i.indrelid = c.oid
              and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%s)
"""

CONNECT_S = 10
"""Until a server that does not answer is called unreachable."""
Connection = psycopg.AsyncConnection[Any]
Qualified = tuple[str | None, str]


async def prepare_at(conninfo: str, ledger_map: LedgerMap, marker: str | None, role: str) -> None:
    """`prepare` on the server of `conninfo`; Unreachable where it does not answer or does not let us in."""
    try:
        connection = await psycopg.AsyncConnection.connect(conninfo, connect_timeout=CONNECT_S, autocommit=True)
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"no connection for --dsn: {first_line(error)}", hint="check the address, the role and its passfile"
        ) from None
    async with connection:
        await prepare(connection, ledger_map, marker, role)


async def prepare(connection: Connection, ledger_map: LedgerMap, marker: str | None, role: str) -> None:
    """Publish the mapped columns of the mapped tables, and let `role` read them; BadInput names what can't be.

    All of it or nothing: one transaction.
    """
    try:
        await _prepare(connection, ledger_map, marker, role)
    except psycopg.errors.InsufficientPrivilege as error:
        raise BadInput(
            f"{first_line(error)}, expected the owner of the ledger's tables who may create publications here",
            hint="log in as the owner with CREATE on the database and ADMIN on pg_read_all_stats, or as a superuser",
        ) from None
    except psycopg.ProgrammingError as error:
        raise BadInput(
            f"not published: {first_line(error)}", hint="correct the ledger map: `siaga ledger map` proposes one"
        ) from None


async def _prepare(connection: Connection, ledger_map: LedgerMap, marker: str | None, role: str) -> None:
    entries, rows = ledger_map.entries, ledger_map.transactions
    fields = ("account", "amount", "debit", "credit", "id", "transaction", "sequence", "balance_before")
    columns = [getattr(entries, field) for field in (*fields, "balance_after", "time", "currency")]
    changes = ("insert", "update", "delete", "truncate")
    async with connection.transaction():
        found = await connection.execute("select from pg_roles where rolname = %s", (role,))
        if await found.fetchone() is None:
            raise BadInput(
                f"--role {role}: there is no such role, expected the journal's own",
                hint=f"make it: create role {role} login replication",
            )
        readable = [await _publish(connection, PUBLICATIONS[0], entries.qualified, columns, changes, entries.where)]
        if rows is not None:
            columns = [rows.id, rows.type, rows.key, *rows.columns]
            readable.append(
                await _publish(connection, PUBLICATIONS[1], rows.qualified, columns, changes[:2], rows.where)
            )
        if marker is not None:
            schema, _, name = marker.rpartition(".")
            readable.append(
                await _publish(connection, PUBLICATIONS[2], (schema or None, name), ["n"], changes[:2], None)
            )
        schema, name, *_ = await _identity(connection, ledger_map.accounts.qualified)
        await _grant(connection, [*readable, (schema, name)], role)


def marker_table(name: str) -> Qualified:
    """Schema and table of the marker."""
    schema, _, table = name.rpartition(".")
    return schema or None, table


async def _publish(
    connection: Connection,
    publication: str,
    qualified: Qualified,
    columns: Sequence[str | None],
    changes: Sequence[str],
    where: str | None,
) -> tuple[str, str]:
    schema, table, kind, identity, key = await _identity(connection, qualified)
    if kind not in ("r", "p"):
        raise BadInput(
            f"{schema}.{table} is a view or foreign table, expected a table",
            hint="The journal reads the server's log, which holds tables alone: map the table beneath.",
        )
    # With a row filter, or without a key, an update could not be published, and the server would refuse it outright.
    if key is None or where is not None or identity == "f":
        changes = [change for change in changes if change in ("insert", "truncate")]
    names = dict.fromkeys(name for name in (*columns, *(key or ())) if name is not None)
    target = sql.SQL("table {} ({}) {}").format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL("where (" + where + ")") if where is not None else sql.SQL(""),
    )
    options = sql.SQL("publish = {}, publish_via_partition_root = true").format(sql.Literal(", ".join(changes)))
    found = await connection.execute("select from pg_publication where pubname = %s", (publication,))
    name = sql.Identifier(publication)
    if await found.fetchone() is None:
        await connection.execute(sql.SQL("create publication {} for {} with ({})").format(name, target, options))
    else:
        await connection.execute(sql.SQL("alter publication {} set {}").format(name, target))
        await connection.execute(sql.SQL("alter publication {} set ({})").format(name, options))
    return schema, table


async def _identity(connection: Connection, qualified: Qualified) -> tuple[str, str, str, str, list[str] | None]:
    shown = sql.Identifier(*(part for part in qualified if part is not None)).as_string(None)
    found = await (await connection.execute(_IDENTITY, (shown,))).fetchone()
    if found is None:
        raise BadInput(f"there is no table {shown}", hint="Correct the ledger map: `siaga ledger map` proposes one.")
    schema, table, kind, identity, key = found
    return schema, table, kind, identity, key


async def _grant(connection: Connection, tables: Sequence[tuple[str, str]], role: str) -> None:
    reader = sql.Identifier(role)
    for schema, table in dict.fromkeys(tables):
        await connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), reader))
        await connection.execute(sql.SQL("grant select on {} to {}").format(sql.Identifier(schema, table), reader))
    await connection.execute(sql.SQL("grant pg_read_all_stats to {}").format(reader))
