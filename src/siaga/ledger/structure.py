"""Structure before sums (`--deep`): what the server knows of its own pages and indexes, and what amcheck finds in them.

Page checksums are verified by the server for every page that it reads from disk; one that it holds in memory is not
read again. `pg_checksums` on a stopped clone reads them all. That the pass itself believes no index is the other half:
it reads page by page, and the database's own engine has index scans switched off.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from siaga.ledger.catalog import Connection
from siaga.ledger.model import Check, Name, State
from siaga.ledger.schema import Ledger, Relation

_INDEXES_OFF = (
    "set local enable_indexscan = off; set local enable_indexonlyscan = off; set local enable_bitmapscan = off"
)

_LEAVES = """
select c.oid::regclass::text, c.relkind::text from pg_class c
where c.relkind <> 'p' and (c.oid = %(oid)s::regclass or c.oid in (
      select relid from pg_partition_tree(%(oid)s::regclass) where isleaf))
"""

_BTREES = """
select i.indexrelid::regclass::text, i.indisvalid from pg_index i
join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
where i.indrelid = %(leaf)s::regclass and a.amname = 'btree'
"""


_WITHOUT_PAGES = {"v": "view", "f": "foreign table"}


def examine(connection: Connection, ledger: Ledger) -> Check:
    """Both tables and their indexes; not run where amcheck is missing or refused, or where rows are in no table."""
    connection.execute(_INDEXES_OFF)
    failures: list[str] = []
    row = connection.execute(
        "select checksum_failures, current_setting('data_checksums') from pg_stat_database "
        "where datname = current_database()"
    ).fetchone()
    assert row is not None, "we are connected to it"
    if row[0]:
        failures.append(f"{row[0]} pages failed their checksum since the statistics began")
    checksums = "page checksums are on" if row[1] == "on" else "page checksums are off"
    schema = connection.execute(
        "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'amcheck'"
    ).fetchone()
    if schema is None:
        return Check(
            Name.STRUCTURE,
            State.NOT_RUN,
            failed=len(failures),
            why=f"the extension amcheck is not installed in this database (create extension amcheck); {checksums}",
        )
    try:
        with connection.transaction():
            examined, without_pages = 0, []
            for relation in (ledger.accounts, ledger.entries):
                for leaf, kind in _leaves(connection, relation):
                    if kind in _WITHOUT_PAGES:
                        without_pages.append(f"{leaf} is a {_WITHOUT_PAGES[kind]}")
                        continue
                    count, found = _amcheck(connection, str(schema[0]), leaf)
                    examined += count
                    failures += found
    except psycopg.errors.InsufficientPrivilege as error:
        return Check(
            Name.STRUCTURE,
            State.NOT_RUN,
            failed=len(failures),
            why=f"{str(error).splitlines()[0]} (grant execute on the functions of amcheck); {checksums}",
        )
    if without_pages:
        unread = f"{', '.join(without_pages[:20])}, and amcheck reads tables alone: map or examine what is beneath"
        why = "; ".join([*failures[:20], unread, checksums])
        return Check(Name.STRUCTURE, State.NOT_RUN, examined, len(failures), why)
    why = "; ".join([*failures[:20], checksums])
    return Check(Name.STRUCTURE, State.RUN, examined, len(failures), why)


def _leaves(connection: Connection, relation: Relation) -> list[tuple[str, str]]:
    """Name and kind of the tables that hold its rows: itself, or its partitions."""
    name = sql.Identifier(relation.schema, relation.name).as_string(None)
    return [(leaf, kind) for leaf, kind in connection.execute(_LEAVES, {"oid": name}).fetchall()]


def _amcheck(connection: Connection, schema: str, leaf: str) -> tuple[int, list[str]]:
    """How many tables and indexes were looked at, and what is wrong with them."""
    heap = sql.SQL("select blkno, msg from {}.verify_heapam(%s::regclass) limit 20").format(sql.Identifier(schema))
    failures = [f"{leaf}: page {page}: {message}" for page, message in connection.execute(heap, [leaf]).fetchall()]
    examined = 1
    for index, valid in connection.execute(_BTREES, {"leaf": leaf}).fetchall():
        examined += 1
        if not valid:
            failures.append(f"index {index} is not valid")
            continue
        try:
            with connection.transaction():
                tree = sql.SQL("select {}.bt_index_check(%s::regclass, true)").format(sql.Identifier(schema))
                connection.execute(tree, [index])
        except (psycopg.errors.IndexCorrupted, psycopg.errors.DataCorrupted) as error:
            failures.append(f"index {index}: {str(error).splitlines()[0]}")
    return examined, failures
