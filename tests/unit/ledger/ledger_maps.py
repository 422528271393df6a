"""Maps and tables for the unit tests of the ledger."""

from __future__ import annotations

from typing import Any

from siaga.ledger.map import LedgerMap
from siaga.ledger.schema import Column, Ledger, Relation, resolve

FULL: dict[str, Any] = {
    "accounts": {"table": "accounts", "id": "id", "balance": "balance", "version": "version"},
    "entries": {
        "table": "entries",
        "account": "account",
        "amount": "amount",
        "id": "id",
        "transaction": "transaction",
        "sequence": "sequence",
        "balance_after": "after",
    },
}


def ledger_map(**changes: dict[str, Any]) -> LedgerMap:
    """FULL with some keys replaced; None takes one away."""
    document = {table: dict(FULL.get(table, {})) for table in (*FULL, *changes)}
    for table, values in changes.items():
        document[table] |= values
        document[table] = {key: value for key, value in document[table].items() if value is not None}
    return LedgerMap.model_validate({key: value for key, value in document.items() if value})


def relation(name: str, **types: str) -> Relation:
    """A table; `numeric(12,2)` and `bigint!` (not null) are understood."""
    columns = {}
    for column, declared in types.items():
        kind = declared.rstrip("!")
        precision = scale = None
        if "(" in kind:
            kind, _, rest = kind.partition("(")
            precision, scale = (int(part) for part in rest.rstrip(")").split(","))
        columns[column] = Column(column, kind, precision, scale, nullable=not declared.endswith("!"))
    return Relation("public", name, "r", columns, 10, 100, (1,), {})


def full_ledger(**types: str) -> Ledger:
    """The ledger of FULL, all bigint but for the types given."""
    bigint = {"id": "bigint!", "balance": "bigint!", "version": "bigint!"}
    entry = dict.fromkeys(("account", "amount", "id", "transaction", "sequence", "after"), "bigint!")
    accounts = relation("accounts", **{name: types.get(name, kind) for name, kind in bigint.items()})
    entries = relation("entries", **{name: types.get(name, kind) for name, kind in entry.items()})
    return resolve(ledger_map(), accounts, entries, "map")
