"""The base: accumulators of everything that one snapshot of the database sees, read by the database itself.

At the journal's beginning and after each gap. The snapshot is the one that the slot was made with, so that what the
base holds and what the stream brings are neighbours: nothing in between, nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from siaga.errors import BadInput
from siaga.journal import columnar
from siaga.journal.install import marker_table
from siaga.journal.replication import unreachable
from siaga.journal.schema import Role, Table
from siaga.journal.state import shape_document
from siaga.ledger import catalog, statements
from siaga.ledger.accumulators import LANE
from siaga.ledger.dialects import Postgres
from siaga.ledger.map import LedgerMap
from siaga.ledger.schema import Ledger

if TYPE_CHECKING:
    # Whoever only compares with a journal need not load what consumes one.
    from siaga.journal.consumer import BaseOrder

Connection = psycopg.Connection[Any]


class Base:
    """Reads bases of one ledger."""

    def __init__(self, ledger_map: LedgerMap, marker: str | None) -> None:
        self._map = ledger_map
        self._marker = marker

    async def __call__(self, order: BaseOrder) -> dict[str, Any]:
        """The base's document, with its file written; Unreachable when the server is gone meanwhile."""
        return await asyncio.to_thread(self._read, order)

    def _read(self, order: BaseOrder) -> dict[str, Any]:
        try:
            with psycopg.connect(order.conninfo) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(order.snapshot)))
                ledger = catalog.ledger(connection, self._map)
                tables = [table.document() for table in self._tables(connection, ledger)]
                row = connection.execute("select pg_current_snapshot()::text").fetchone()
                assert row is not None, "the query has one row"
                digest = read_accumulators(connection, ledger, order.directory, order.directory / order.name)
        except psycopg.Error as error:
            raise unreachable(error) from error
        return {
            "file": order.name,
            "sha256": digest,
            "map": self._map.digest(),
            "shape": shape_document(ledger.shape),
            "tables": tables,
            "seen": str(row[0]),
        }

    def _tables(self, connection: Connection, ledger: Ledger) -> list[Table]:
        if ledger.entries.kind not in ("r", "p"):
            raise BadInput(
                f"entries.table = `{ledger.entries.name}` is a view or foreign table, expected a table",
                hint="The journal reads the server's log, which holds tables alone: map the table beneath.",
            )
        time = {"time": self._map.entries.time} if self._map.entries.time is not None else {}
        found = [self._table(connection, Role.ENTRIES, self._map.entries.qualified, ledger.entry_columns | time)]
        rows = self._map.transactions
        if rows is not None:
            names = dict.fromkeys(name for name in (rows.id, rows.type, rows.key, *rows.columns) if name is not None)
            found.append(self._table(connection, Role.TRANSACTIONS, rows.qualified, {name: name for name in names}))
        if self._marker is not None:
            found.append(self._table(connection, Role.MARKER, marker_table(self._marker), {"n": "n"}))
        return found

    def _table(
        self, connection: Connection, role: Role, qualified: tuple[str | None, str], columns: Mapping[str, str]
    ) -> Table:
        relation = catalog.relation(connection, qualified, f"{role}.table")
        missing = [name for name in columns.values() if name not in relation.columns]
        if missing:
            raise BadInput(
                f"{role}: {relation.schema}.{relation.name} has no column `{missing[0]}`",
                hint="Correct the ledger map.",
            )
        rows = connection.execute(
            "select a.attname, a.atttypid::int8 from pg_attribute a join pg_class c on c.oid = a.attrelid "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = %s and c.relname = %s and a.attname = any(%s)",
            (relation.schema, relation.name, list(columns.values())),
        ).fetchall()
        return Table(role, relation.schema, relation.name, dict(columns), {str(name): int(oid) for name, oid in rows})


def read_accumulators(connection: Connection, ledger: Ledger, directory: Path, path: Path) -> str:
    """All accounts' accumulators, as the connection's transaction sees them, into a columnar file; its SHA-256."""
    text = path.with_suffix(".rows")
    copy = f"copy ({statement(ledger)}) to stdout (format csv, null '\\N', force_quote *)"
    try:
        with text.open("wb") as file, connection.cursor().copy(copy.encode()) as rows:
            for block in rows:
                file.write(block)
        types = dict.fromkeys(columnar.ACCUMULATOR_FIELDS, "VARCHAR")
        with columnar.database(directory) as engine:
            return columnar.write_parquet(engine, f"from {columnar.rows_from(text, types)}", path)
    finally:
        text.unlink(missing_ok=True)


def statement(ledger: Ledger) -> str:
    """SQL for rows of ACCUMULATOR_FIELDS, from the cross-check's own statements."""
    rows = statements.entries(ledger, ledger.shape.fields, bounded=False)
    sums = statements.folded(ledger, Postgres(ledger, wide=True), rows, key=None, digests=True)
    # The remainder of a negative number is negative here.
    digest = f"mod(mod(digest, {LANE}) + {LANE}, {LANE})"
    texts = [_escaped(name) for name in ("account", "key_currency")]
    sequences = "sequence_sum" if "sequence_sum" in statements.made(ledger, key=None, digests=True) else "0"
    return f"select {', '.join(texts)}, entries, amount_sum, {sequences}, {digest} from ({sums}) s"  # noqa: S608


def _escaped(name: str) -> str:
    """As `columnar.rows_from` reads it."""
    return f"case when starts_with({name}::text, '\\') then '\\' || {name}::text else {name}::text end"
