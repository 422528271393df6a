"""Proposes a map from a catalogue: which tables look like balances and movements, which columns like what. Pure.

A proposal is a beginning: a person reads it, and the first check says whether it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from siaga.ledger.schema import Column, Kind, Relation

_ACCOUNT_ROLES: Mapping[str, tuple[str, ...]] = {
    "balance": ("balance", "current_balance", "available", "abalance", "amount"),
    "opening": ("opening", "opening_balance", "initial_balance", "start_balance"),
    "version": ("version", "last_sequence", "last_entry", "entry_count", "sequence", "lock_version"),
    "currency": ("currency", "currency_code", "asset", "ccy"),
}
_ENTRY_ROLES: Mapping[str, tuple[str, ...]] = {
    "amount": ("amount", "delta", "value", "change", "signed_amount"),
    "debit": ("debit", "debit_amount", "dr"),
    "credit": ("credit", "credit_amount", "cr"),
    "id": ("id", "entry_id", "posting_id", "uuid"),
    "transaction": ("transaction_id", "transaction", "tx_id", "tx", "transfer", "transfer_id", "journal", "journal_id"),
    "sequence": ("sequence", "seq", "account_version", "entry_number", "number", "position"),
    "balance_before": ("balance_before", "previous_balance", "before", "opening_balance"),
    "balance_after": ("balance_after", "current_balance", "after", "running_balance", "new_balance", "closing_balance"),
    "time": ("created_at", "time", "timestamp", "booked_at", "mtime", "inserted_at", "occurred_at"),
    "currency": ("currency", "currency_code", "asset", "ccy"),
}
_ACCOUNT_REFERENCES = ("account", "account_id", "wallet", "wallet_id", "user_id", "aid", "owner_id")
_ACCOUNT_TABLES = ("account", "wallet", "balance")
_ENTRY_TABLES = ("entr", "posting", "histor", "ledger", "movement", "transaction", "line", "journal")
_MONEY = {"balance", "opening", "amount", "debit", "credit", "balance_before", "balance_after"}
_WHOLE = {"version", "sequence"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalogue, with what points where."""

    relation: Relation
    primary: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    """Column -> `schema.table` that a foreign key leads to."""

    @property
    def shown(self) -> str:
        """As a map names it."""
        return ".".join(_part(name) for name in (self.relation.schema, self.relation.name))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A map, and how sure it is."""

    accounts: Table
    entries: Table
    account_columns: Mapping[str, str]
    entry_columns: Mapping[str, str]
    score: int
    linked: bool
    """A foreign key leads from the entries to the accounts."""


def propose(tables: Sequence[Table]) -> Proposal | None:
    """The best pair of tables; None where nothing looks like a ledger."""
    found = [
        proposal
        for accounts in tables
        for entries in tables
        if accounts is not entries and (proposal := _pair(accounts, entries)) is not None
    ]
    return max(found, key=lambda proposal: proposal.score, default=None)


def toml(proposal: Proposal) -> str:
    """The proposal as a map, with what is left to say as comments."""
    why = "a foreign key links them" if proposal.linked else "guessed by names: no foreign key links them"
    lines = [f"# Proposed from the catalogue ({why}). Read it, then run `siaga ledger check --map FILE`.", "[accounts]"]
    lines += [f"table = {_quoted(proposal.accounts.shown)}"]
    lines += [f"{role} = {_quoted(name)}" for role, name in proposal.account_columns.items()]
    if _loose(proposal):
        lines.append("decimals = 2  # a numeric column declares no scale: say how many decimals money has")
    lines += ["", "[entries]", f"table = {_quoted(proposal.entries.shown)}"]
    lines += [f"{role} = {_quoted(name)}" for role, name in proposal.entry_columns.items()]
    if "transaction" in proposal.entry_columns:
        lines.append("# zero_sum = false  # where the entries of one transaction need not sum to zero")
    lines += ["", "# [system_accounts]", "# where = \"kind = 'float'\"  # the platform's own: fees, float, settlement"]
    return "\n".join([*lines, ""])


def _pair(accounts: Table, entries: Table) -> Proposal | None:
    own = _roles(_ACCOUNT_ROLES, accounts.relation)
    identity = _identity(accounts, own)
    if "balance" not in own or identity is None:
        return None
    reference, linked = _reference(accounts, entries, identity)
    moved = _roles(_ENTRY_ROLES, entries.relation, taken=reference)
    if not {"debit", "credit"} <= moved.keys():
        moved = {role: name for role, name in moved.items() if role not in ("debit", "credit")}
    elif "amount" in moved:
        moved = {role: name for role, name in moved.items() if role != "amount"}
    if reference is None or not ("amount" in moved or "debit" in moved):
        return None
    if entries.primary and moved.get("id") not in (None, *entries.primary):
        del moved["id"]
    score = 20 * linked + _named(accounts, _ACCOUNT_TABLES) + _named(entries, _ENTRY_TABLES) + len(own) + len(moved)
    return Proposal(accounts, entries, {"id": identity, **own}, {"account": reference, **moved}, score, linked)


def _identity(accounts: Table, own: Mapping[str, str]) -> str | None:
    """The key, without the currency where balances are kept by currency."""
    key = [name for name in accounts.primary if name != own.get("currency")]
    if len(key) == 1:
        return key[0]
    return next((name for name in ("id", "account_id", "number") if name in accounts.relation.columns), None)


def _reference(accounts: Table, entries: Table, identity: str) -> tuple[str | None, bool]:
    target = f"{accounts.relation.schema}.{accounts.relation.name}"
    for column, table in entries.references.items():
        if table == target:
            return column, True
    kind = accounts.relation.columns[identity].kind
    for name in (*_ACCOUNT_REFERENCES, identity):
        column_found = entries.relation.columns.get(name)
        if column_found is not None and column_found.kind is kind and name != "id":
            return name, False
    return None, False


def _roles(roles: Mapping[str, tuple[str, ...]], relation: Relation, taken: str | None = None) -> dict[str, str]:
    found: dict[str, str] = {}
    for role, names in roles.items():
        for name in names:
            column = relation.columns.get(name)
            if column is not None and _fits(role, column) and name != taken and name not in found.values():
                found[role] = name
                break
    return found


def _fits(role: str, column: Column) -> bool:
    if role in _MONEY:
        return column.kind in (Kind.INTEGER, Kind.NUMERIC)
    return column.kind is Kind.INTEGER if role in _WHOLE else True


def _named(table: Table, words: Sequence[str]) -> int:
    return 5 if any(word in table.relation.name.lower() for word in words) else 0


def _loose(proposal: Proposal) -> bool:
    pairs = ((proposal.accounts, proposal.account_columns), (proposal.entries, proposal.entry_columns))
    columns = [table.relation.columns[n] for table, mapped in pairs for role, n in mapped.items() if role in _MONEY]
    return any(column.kind is Kind.NUMERIC and column.precision is None for column in columns)


def _part(name: str) -> str:
    plain = name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    """As a TOML string."""
    return f"'{text}'" if '"' in text else f'"{text}"'
