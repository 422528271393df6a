"""Reads the catalogue of a PostgreSQL server: tables, columns, indexes, sizes, and where the server stands.

Needs only SELECT on the mapped tables; nothing here writes, and everything works on a replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from siaga.errors import BadInput
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Position
from siaga.ledger.propose import Table
from siaga.ledger.schema import MAP_HINT, Column, Ledger, Relation, resolve
from siaga.site.wording import nearest

Connection = psycopg.Connection[Any]
Qualified = tuple[str | None, str]
"""Schema (None: by search path) and table."""

_RELATION = """
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       has_table_privilege(c.oid, 'select') as readable, has_any_column_privilege(c.oid, 'select') as readable_in_part,
       row_security_active(c.oid) as hides_rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass(%(name)s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""

# A domain is what it is made of; only the outermost modifier counts (PostgreSQL allows none inside).
_COLUMNS = """
with recursive column_type as (
    select a.attnum, a.attname, a.atttypid as type, a.atttypmod as modifier,
           -- PostgreSQL 18 knows a NOT NULL that nobody has checked (NOT VALID); heirs may have none; and a
           -- domain's own does not keep NULL out of a column (manual, CREATE DOMAIN).
           a.attnotnull and not exists (select from pg_constraint k where k.conrelid = a.attrelid and k.contype = 'n'
                                        and not k.convalidated and a.attnum = any(k.conkey))
                        and not exists (select from pg_inherits h join pg_class p on p.oid = h.inhparent
                                        where h.inhparent = a.attrelid and p.relkind = 'r') as attnotnull
    from pg_attribute a where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
    union all
    select c.attnum, c.attname, t.typbasetype, t.typtypmod, c.attnotnull
    from column_type c join pg_type t on t.oid = c.type where t.typtype = 'd'
)
select attname as name, format_type(type, null) as type, modifier, attnotnull as not_null,
       has_column_privilege(%(oid)s::oid, attnum, 'select') as readable
from column_type c join pg_type t on t.oid = c.type where t.typtype <> 'd' order by attnum
"""

# A range of pages of a partitioned table is that range of each leaf, so that the largest one decides.
_SIZE = """
select coalesce(max(pg_relation_size(c.oid) / current_setting('block_size')::int)
                filter (where c.relkind in ('r', 'm')), 0) as pages,
       coalesce(bool_and(c.relkind in ('r', 'm')), true) as has_pages,
       coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint as rows,
       coalesce(array_agg(c.relfilenode::bigint order by c.oid), '{}') as filenodes
from pg_class c
where c.oid = %(oid)s and c.relkind <> 'p' or c.oid in (select relid from pg_partition_tree(%(oid)s) where isleaf)
"""

_INDEXES = """
select i.indexrelid::regclass::text as name, i.indisunique as is_unique,
       array(select a.attname::text from unnest(i.indkey::int[]) with ordinality k(attnum, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.place) as columns,
       i.indnkeyatts as keys
from pg_index i
where i.indrelid = %(oid)s and i.indisvalid and i.indisready and i.indpred is null and i.indexprs is null
  -- Tables that inherit have indexes of their own, and may share a key with this one.
  and not exists (select from pg_inherits h join pg_class p on p.oid = h.inhparent
                  where h.inhparent = %(oid)s and p.relkind = 'r')
order by 1
"""

# Of tables, their partitions and heirs, and whatever a view is made of.
_FILES = """
with recursive part(oid) as (
    select to_regclass(name)::oid from unnest(%(names)s::text[]) name
    union
    select u.oid from part p cross join lateral (
        select h.inhrelid as oid from pg_inherits h where h.inhparent = p.oid
        union all
        select d.refobjid from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
        where r.ev_class = p.oid and d.refclassid = 'pg_class'::regclass) u
)
select c.oid || ':' || c.relfilenode from part p join pg_class c on c.oid = p.oid order by 1
"""

_KNOWN_TABLES = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
"""

# The control file knows a new timeline only after the checkpoint that follows a promotion; the WAL knows at once.
_POSITION = """
select (pg_control_system()).system_identifier::text as system_id,
       case when pg_is_in_recovery() then (pg_control_checkpoint()).timeline_id
            else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end as timeline,
       current_database() as database,
       pg_is_in_recovery() as in_recovery,
       pg_is_in_recovery() and pg_is_wal_replay_paused() as paused,
       (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end)::text as lsn,
       pg_current_snapshot()::text as snapshot,
       current_setting('server_version_num')::int as version
"""


STATEMENTS = (_RELATION, _COLUMNS, _SIZE, _INDEXES, _POSITION, "select pg_export_snapshot()")
"""What is asked of the catalogue and the server before a row is read."""


def ledger(connection: Connection, ledger_map: LedgerMap, origin: str = "map") -> Ledger:
    """The ledger that the map describes; BadInput names each table, column or condition that cannot be used."""
    accounts = relation(connection, ledger_map.accounts.qualified, f"{origin}: accounts.table")
    entries = relation(connection, ledger_map.entries.qualified, f"{origin}: entries.table")
    found = resolve(ledger_map, accounts, entries, origin)
    for place, relation_, condition in (
        ("accounts.where", accounts, ledger_map.accounts.where),
        ("entries.where", entries, ledger_map.entries.where),
        ("system_accounts.where", accounts, ledger_map.system_accounts.where),
    ):
        if condition is not None:
            _try(connection, f"{origin}: {place}", relation_, condition)
    return found


def files(connection: Connection, tables: Sequence[Qualified]) -> tuple[str, ...]:
    """The files that hold these tables now: others once somebody rewrites, empties, attaches or detaches one.

    Such an act does not reach back to a snapshot: what the snapshot saw is gone, or stands elsewhere.
    """
    names = [_quoted(qualified) for qualified in tables]
    return tuple(row[0] for row in connection.execute(_FILES, {"names": names}).fetchall())


def _try(connection: Connection, place: str, relation_: Relation, condition: str) -> None:
    """BadInput unless it is one SQL condition over the table's columns."""
    # In CASE, a condition can't leave its parentheses; prepared, it can't be two statements.
    table = _quoted((relation_.schema, relation_.name))
    statement = f"select case when {condition} then 1 end from {table} limit 0"  # noqa: S608 (the map's own SQL)
    try:
        with connection.transaction():
            connection.execute(statement, prepare=True)
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(
            f"{place} = `{condition}`: {said}, expected an SQL condition over the columns of "
            f"{relation_.schema}.{relation_.name}",
            hint="try it in psql: select count(*) from TABLE where CONDITION",
        ) from None


def relation(connection: Connection, qualified: tuple[str | None, str], place: str) -> Relation:
    """One table or view; BadInput when it is missing or may not be read, naming near ones."""
    shown = ".".join(part for part in qualified if part is not None)
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_RELATION, {"name": _quoted(qualified)}).fetchone()
        if found is None:
            known = [row["?column?"] for row in cursor.execute(_KNOWN_TABLES).fetchall()]
            bare = [name.partition(".")[2] for name in known]
            advice = nearest(shown, bare if qualified[0] is None else known)
            raise BadInput(f"{place} = `{shown}`: no such table or view{advice}", hint=MAP_HINT)
        if not found["readable_in_part"]:
            user = connection.info.user
            raise BadInput(
                f"{place} = `{shown}`: user `{user}` may not read it",
                hint=f"`grant select on {shown} to {user}`; the check needs nothing else",
            )
        if found["hides_rows"]:
            raise BadInput(
                f"{place} = `{shown}`: row-level security hides rows of it from user `{connection.info.user}`",
                hint="check as a role with BYPASSRLS, or as the table's owner: all rows have to be read",
            )
        oid, kind = found["oid"], found["kind"]
        columns = [_column(row) for row in cursor.execute(_COLUMNS, {"oid": oid}).fetchall()]
        size = cursor.execute(_SIZE, {"oid": oid}).fetchone()
        indexes = cursor.execute(_INDEXES, {"oid": oid}).fetchall()
    assert size is not None, "an aggregate has one row"
    return Relation(
        schema=found["schema"],
        name=found["name"],
        kind=kind,
        columns={column.name: column for column in columns},
        pages=size["pages"],
        rows=size["rows"],
        filenodes=tuple(size["filenodes"]),
        by_pages=bool(size["has_pages"]) and found["readable"],
        unique={row["name"]: tuple(row["columns"][: row["keys"]]) for row in indexes if row["is_unique"]},
    )


def position(connection: Connection) -> Position:
    """Where this transaction's snapshot stands."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_POSITION).fetchone()
    assert found is not None, "the query has one row"
    return Position(**found)


def _column(row: dict[str, Any]) -> Column:
    precision = scale = None
    if row["type"] == "numeric" and row["modifier"] >= 4:
        # numeric.c: precision in the upper 16 bits, scale in the lower 11, signed since PostgreSQL 15.
        precision, scale = (row["modifier"] - 4) >> 16, (row["modifier"] - 4) & 0x7FF
        scale = scale - 0x800 if scale >= 0x400 else scale
    return Column(row["name"], row["type"], precision, scale, nullable=not row["not_null"], readable=row["readable"])


def _quoted(qualified: tuple[str | None, str]) -> str:
    return psycopg.sql.Identifier(*(part for part in qualified if part is not None)).as_string(None)


_CANDIDATES = """
select c.oid, n.nspname as schema, c.relname as name,
       array(select a.attname::text from pg_constraint k cross join unnest(k.conkey) with ordinality p(attnum, place)
             join pg_attribute a on a.attrelid = c.oid and a.attnum = p.attnum
             where k.conrelid = c.oid and k.contype = 'p' order by p.place) as key,
       coalesce((select json_object_agg(a.attname, fn.nspname || '.' || f.relname) from pg_constraint k
             join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1]
             join pg_class f on f.oid = k.confrelid join pg_namespace fn on fn.oid = f.relnamespace
             where k.conrelid = c.oid and k.contype = 'f' and array_length(k.conkey, 1) = 1), '{}') as references
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
  and (has_table_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'select'))
order by 2, 3
"""


def tables(connection: Connection) -> list[Table]:
    """Every table and view that we may read, with its keys."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_CANDIDATES).fetchall()
    return [
        Table(
            relation(connection, (row["schema"], row["name"]), "catalogue"), tuple(row["key"]), dict(row["references"])
        )
        for row in found
    ]
