"""A map laid over what the catalogue says: the columns of a ledger with their types. Pure; `catalog.py` reads.

Every mistake is named at once, with what was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from siaga.errors import BadInput
from siaga.ledger.accumulators import FIELDS, Shape
from siaga.ledger.map import LedgerMap
from siaga.site.wording import nearest

_INTEGERS = {"smallint", "integer", "bigint"}
_TEXTS = {"text", "character varying"}
_FLOATS = {"real", "double precision"}

MAP_HINT = "`siaga ledger map --dsn DSN` proposes a map from the catalogue"


class Kind(StrEnum):
    """What can be done with a column."""

    INTEGER = "integer"
    NUMERIC = "numeric"
    TEXT = "text"
    UUID = "uuid"
    OTHER = "other"
    """Compared and shown as text."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the catalogue has it, domains resolved."""

    name: str
    type: str
    """As `format_type` writes it, without its modifier."""
    precision: int | None = None
    """Digits of a numeric; None where it declares none."""
    scale: int | None = None
    nullable: bool = True
    readable: bool = True
    """Whether our role may select it."""

    @property
    def kind(self) -> Kind:
        """What can be done with it."""
        if self.type in _INTEGERS:
            return Kind.INTEGER
        if self.type in _TEXTS:
            return Kind.TEXT
        return Kind(self.type) if self.type in ("numeric", "uuid") else Kind.OTHER


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view, found."""

    schema: str
    name: str
    kind: str
    """`relkind`: r, p, v, m, f."""
    columns: Mapping[str, Column]
    pages: int
    """Of the largest leaf of a partitioned table."""
    rows: int
    """The planner's estimate."""
    filenodes: tuple[int, ...]
    """Of its leaves: others after a rewrite, which moves every row."""
    unique: Mapping[str, tuple[str, ...]]
    """Columns of each valid unique index without expression or condition, by name."""
    by_pages: bool = True
    """Whether rows can be asked for their place and transaction: no view, and all of it may be read."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger that can be read: map, tables, and the columns by role."""

    map: LedgerMap
    accounts: Relation
    entries: Relation
    decimals: int

    def account_column(self, role: str) -> Column | None:
        """The accounts' column with that role; None where the map has none."""
        name = getattr(self.map.accounts, role)
        return self.accounts.columns[name] if isinstance(name, str) else None

    def entry_column(self, role: str) -> Column | None:
        """The entries' column with that role; None where the map has none."""
        name = getattr(self.map.entries, role)
        return self.entries.columns[name] if isinstance(name, str) else None

    @property
    def entry_columns(self) -> dict[str, str]:
        """Column of each mapped field of an entry, `debit` and `credit` where they make the amount."""
        roles = (*FIELDS, "debit", "credit")
        return {role: name for role in roles if (name := getattr(self.map.entries, role)) is not None}

    @property
    def id_as_text(self) -> bool:
        """Whether account ids are compared as text: their two columns differ in kind, or are of an unusual one."""
        kinds = {_required(self.account_column("id")).kind, _required(self.entry_column("account")).kind}
        return len(kinds) > 1 or bool(kinds & {Kind.OTHER, Kind.NUMERIC})

    @property
    def shape(self) -> Shape:
        """How its entries are written for their digests."""
        mapped = {role for role in FIELDS if role == "amount" or getattr(self.map.entries, role) is not None}
        ids = {role for role in mapped if role in ("account", "currency", "id", "transaction")}
        plain = {Kind.INTEGER, Kind.UUID}
        texts = {role for role in ids if _required(self.entry_column(role)).kind not in plain}
        if self.id_as_text:
            texts.add("account")
        entries = self.map.entries
        return Shape(
            fields=tuple(role for role in FIELDS if role in mapped),
            texts=frozenset(texts),
            decimals=self.decimals,
            by_currency=self.map.keyed_by_currency,
            rises_with="amount" if entries.amount is not None else entries.increases,
        )


_MONEY_ROLES = {"balance", "opening", "amount", "debit", "credit", "balance_before", "balance_after"}
_WHOLE_ROLES = {"version", "sequence"}
_ACCOUNT_ROLES = ("id", "balance", "opening", "version", "currency")
_ENTRY_ROLES = (*FIELDS, "debit", "credit", "time")


def resolve(ledger_map: LedgerMap, accounts: Relation, entries: Relation, origin: str) -> Ledger:
    """The ledger; BadInput names every column that is missing or of a wrong type."""
    lines = [
        *_mistakes("accounts", _ACCOUNT_ROLES, ledger_map.accounts, accounts),
        *_mistakes("entries", _ENTRY_ROLES, ledger_map.entries, entries),
    ]
    decimals = 0
    if not lines:
        decimals, lines = _decimals(ledger_map, accounts, entries)
    if lines:
        raise BadInput("\n".join(f"{origin}: {line}" for line in lines), hint=MAP_HINT)
    return Ledger(ledger_map, accounts, entries, decimals)


def _mistakes(table: str, roles: tuple[str, ...], mapped: object, relation: Relation) -> Iterator[str]:
    for role in roles:
        name = getattr(mapped, role, None)
        if not isinstance(name, str):
            continue
        column = relation.columns.get(name)
        place = f"{table}.{role} = `{name}`"
        if column is None:
            advice = nearest(name, relation.columns) or f", expected one of {', '.join(relation.columns)}"
            yield f"{place}: {relation.schema}.{relation.name} has no such column{advice}"
        elif not column.readable:
            yield f"{place}: may not be read; grant select ({name}) on {relation.schema}.{relation.name}"
        elif role in _MONEY_ROLES and column.type in _FLOATS:
            yield (
                f"{place}: {column.type}, expected an integer or numeric: floating point has no exact sums, "
                "so that no balance could be proven"
            )
        elif role in _MONEY_ROLES | _WHOLE_ROLES and column.kind not in (Kind.INTEGER, Kind.NUMERIC):
            yield f"{place}: {column.type}, expected an integer or numeric"


def _decimals(ledger_map: LedgerMap, accounts: Relation, entries: Relation) -> tuple[int, list[str]]:
    """Decimals of all money: the map's, else the largest scale that the columns declare."""
    found = [
        relation.columns[name]
        for relation, mapped in ((accounts, ledger_map.accounts), (entries, ledger_map.entries))
        for role in sorted(_MONEY_ROLES)
        if isinstance(name := getattr(mapped, role, None), str)
    ]
    declared = max((column.scale or 0 for column in found), default=0)
    given = ledger_map.accounts.decimals
    if given is None:
        loose = [column.name for column in found if column.kind is Kind.NUMERIC and column.precision is None]
        if loose:
            return 0, [
                f"accounts.decimals: missing, but required: {', '.join(f'`{name}`' for name in dict.fromkeys(loose))} "
                "declares no scale, expected the number of decimals of all money"
            ]
        return declared, []
    if given < declared:
        return 0, [f"accounts.decimals = {given}: a column holds {declared} decimals, expected at least {declared}"]
    return given, []


def _required(column: Column | None) -> Column:
    assert column is not None, "the map requires it"
    return column
