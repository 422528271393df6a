"""The mapped tables as the stream shows them; one that is not what the base was read from stops the journal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any

from siaga.errors import Exit, SiagaError
from siaga.journal.pgoutput import Relation, Row, Unchanged
from siaga.journal.records import ENTRY_FIELDS, Record

_SAME = ({20, 21, 23}, {25, 1043})
"""Types that may follow each other: whole numbers of any width, text and varchar. All are written alike."""


class SchemaChanged(SiagaError):
    """The ledger's tables are not what the map and the base say."""

    exit_code = Exit.DOES_NOT_HOLD

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            hint="Undo the change, or correct the map and start the journal anew in an empty directory; "
            "nothing was acknowledged, so the server keeps what comes.",
        )


class Role(StrEnum):
    """What a journaled table is."""

    ENTRIES = "entries"
    TRANSACTIONS = "transactions"
    MARKER = "marker"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapped table as it was when the base was read."""

    role: Role
    schema: str
    name: str
    columns: Mapping[str, str]
    """Column by field (`account`, `amount`, ...); for transactions and the marker each column by its own name."""
    types: Mapping[str, int]
    """Type by column."""

    @property
    def qualified(self) -> str:
        """As people write it."""
        return f"{self.schema}.{self.name}"

    def document(self) -> dict[str, Any]:
        """As the base keeps it."""
        return {
            "role": str(self.role),
            "schema": self.schema,
            "name": self.name,
            "columns": dict(self.columns),
            "types": dict(self.types),
        }


def table_from(document: Mapping[str, Any]) -> Table:
    """Back from the base."""
    return Table(**{**document, "role": Role(document["role"])})


@dataclass(frozen=True, slots=True)
class Followed:
    """A relation of the stream, checked: how its rows become records."""

    table: Table
    names: tuple[str, ...]
    pick: Callable[[Row], Any]
    """The values of ENTRY_FIELDS of an entries' row, None where the map has no such column."""

    def entry(self, row: Row) -> Record:
        """The `entry` record of a new row."""
        return ["entry", *self.pick((*row, None))]

    def values(self, row: Row) -> dict[str, str | None]:
        """A row by column; a large value that an update did not touch is left out."""
        return {name: value for name, value in zip(self.names, row, strict=True) if not isinstance(value, Unchanged)}


def follow(relation: Relation, tables: Mapping[tuple[str, str], Table]) -> Followed:
    """Check a relation against the mapped tables; SchemaChanged names the table and the column."""
    table = tables.get((relation.schema, relation.table))
    if table is None:
        wanted = ", ".join(t.qualified for t in tables.values())
        raise SchemaChanged(f"the stream holds table {relation.schema}.{relation.table}, expected {wanted}")
    found = {column.name: column.type_oid for column in relation.columns}
    for column, kind in table.types.items():
        if column not in found:
            raise SchemaChanged(f"table {table.qualified} has no column `{column}` any more")
        if not _follows(kind, found[column]):
            raise SchemaChanged(
                f"column `{column}` of {table.qualified} has another type (oid {found[column]}, expected {kind})"
            )
    names = tuple(column.name for column in relation.columns)
    # One past the end is the None that `entry` adds.
    indexes = [names.index(table.columns[f]) if f in table.columns else len(names) for f in ENTRY_FIELDS]
    return Followed(table, names, itemgetter(*indexes))


def _follows(kind: int, found: int) -> bool:
    return kind == found or any(kind in same and found in same for same in _SAME)
