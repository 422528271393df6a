"""The statements that read and fold a ledger, made from its map alone; `verdicts.py` has those that judge.

Rows are read by a plain SELECT on PostgreSQL (`entries`, `accounts`), folded into sums per account (`folded`), and
judged account by account; folding and judging run in DuckDB or in PostgreSQL itself, from the same text
but for what a dialect must say differently (`dialects.py`). Nothing is sorted and nothing joined:

- The *chain*: for every entry t(sequence, balance after) - t(sequence - 1, balance before) is added to its account,
  t being a 64-bit hash. Where the sequence has no gap and each balance follows from the one before, all of it cancels
  but t(last, balance) - t(first - 1, opening): one number proves both, in any order (research, section 2b).
- The *lane*: for every entry amount x h(transaction) is added to its account. Over all accounts the sum is zero where
  each transaction sums to zero, save with a chance of 2^-31; an exact statement then names the ones that do not.
- Rows of the accounts' table are added to the same groups, so that entries without account, accounts without entries,
  and accounts that are there twice all show in their counts.
"""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from siaga.ledger.accumulators import FIELDS
from siaga.ledger.dialects import Dialect
from siaga.ledger.schema import Column, Kind, Ledger, Relation

Pages = tuple[int, int | None]
"""First page and the one after the last; None: to the end."""


def quoted(*names: str) -> str:
    """A name, quoted; PostgreSQL and DuckDB quote alike."""
    return sql.Identifier(*names).as_string(None)


def literal(value: str | int) -> str:
    """A value of the map within a statement."""
    return sql.Literal(value).as_string(None)


# --- Reading: always on PostgreSQL ---------------------------------------------------------------------------------


def entries(
    ledger: Ledger, fields: tuple[str, ...], *, bounded: bool, pages: Pages | None = None, only: str = ""
) -> str:
    """The entries' rows: `fields` of accumulators.FIELDS under their own names, money exact or NULL.

    `bounded` casts money to numeric(38, decimals) where the column declares nothing, for an engine with such a limit;
    `only` is one more condition.
    """
    columns = [f"{_entry_field(ledger, field, bounded)} as {quoted(field)}" for field in fields]
    return _select(columns, ledger.entries, ledger.map.entries.where, pages, only)


def accounts(ledger: Ledger, *, bounded: bool, pages: Pages | None = None, only: str = "") -> str:
    """The accounts' rows: account, currency, balance, opening, version, system."""
    mapped = ledger.map.accounts
    opening = ledger.account_column("opening")
    columns = [
        f"{_id(_known(ledger.account_column('id')), ledger.id_as_text)} as account",
        f"{_money(_known(ledger.account_column('balance')), ledger, bounded)} as balance",
        f"{_money(opening, ledger, bounded) if opening else literal(mapped.opening)} as opening",
    ]
    currency, version = ledger.account_column("currency"), ledger.account_column("version")
    if currency:
        columns.append(f"{_id(currency, False)} as currency")
    if version:
        columns.append(f"{_whole(version)} as version")
    columns.append(f"{_system(ledger)} as system")
    return _select(columns, ledger.accounts, mapped.where, pages, only)


def _select(columns: list[str], relation: Relation, where: str | None, pages: Pages | None, only: str) -> str:
    conditions = [f"({condition})" for condition in (where, only) if condition]
    if pages is not None and relation.by_pages:
        conditions.append(f"ctid >= '({pages[0]},0)'")
        if pages[1] is not None:
            conditions.append(f"ctid < '({pages[1]},0)'")
    tail = f" where {' and '.join(conditions)}" if conditions else ""
    return f"select {', '.join(columns)} from {quoted(relation.schema, relation.name)}{tail}"


def _entry_field(ledger: Ledger, field: str, bounded: bool) -> str:
    if field == "amount" and ledger.map.entries.amount is None:
        return _amount(ledger, bounded)
    column = _known(ledger.entry_column(field))
    if field in ("amount", "balance_before", "balance_after"):
        return _money(column, ledger, bounded)
    if field == "sequence":
        return _whole(column)
    return _id(column, field == "account" and ledger.id_as_text)


def _amount(ledger: Ledger, bounded: bool) -> str:
    """Made of debit and credit, which are never negative."""
    credit = _money(_known(ledger.entry_column("credit")), ledger, bounded)
    debit = _money(_known(ledger.entry_column("debit")), ledger, bounded)
    rise, fall = (credit, debit) if ledger.map.entries.increases == "credit" else (debit, credit)
    made = f"case when {rise} < 0 or {fall} < 0 then null else coalesce({rise}, {fall} * 0) - coalesce({fall}, 0) end"
    kinds = {_known(ledger.entry_column(role)).kind for role in ("credit", "debit")}
    return f"({made})::{_bounded_type(ledger)}" if Kind.NUMERIC in kinds and bounded else made


def _money(column: Column, ledger: Ledger, bounded: bool) -> str:
    """NULL where a numeric is not finite or has more decimals than the ledger: such a value has no exact sum."""
    name = quoted(column.name)
    if column.kind is Kind.INTEGER:
        return name
    # NaN and infinity minus themselves are NaN, which is not 0.
    if column.precision is not None and column.scale is not None:
        cast = f"::numeric({column.precision},{column.scale})" if bounded else ""
        return f"(case when {name} - {name} = 0 then {name} end){cast}"
    exact = f"case when {name} - {name} = 0 and {name} = round({name}, {ledger.decimals}) then {name} end"
    return f"({exact})::{_bounded_type(ledger)}" if bounded else f"({exact})"


def _bounded_type(ledger: Ledger) -> str:
    return f"numeric(38,{ledger.decimals})"


def _whole(column: Column) -> str:
    name = quoted(column.name)
    return name if column.kind is Kind.INTEGER else f"case when {name} = trunc({name}) then {name}::bigint end"


def _id(column: Column, as_text: bool) -> str:
    name = quoted(column.name)
    return f"{name}::text" if as_text or column.kind in (Kind.OTHER, Kind.NUMERIC) else name


def _system(ledger: Ledger) -> str:
    system = ledger.map.system_accounts
    conditions = [f"({system.where})"] if system.where else []
    if system.ids:
        ids = ", ".join(literal(str(account)) for account in system.ids)
        conditions.append(f"{quoted(ledger.map.accounts.id)}::text in ({ids})")
    return f"coalesce({' or '.join(conditions)}, false)" if conditions else "false"


def _known(column: Column | None) -> Column:
    assert column is not None, "the map names it"
    return column


# --- Folding -------------------------------------------------------------------------------------------------------

SUMS = (
    "entries", "amount_sum", "chain", "lane", "arithmetic", "unreadable", "sequence_sum", "digest", "digest_keyed",
)  # fmt: skip
"""Of the entries of an account; all are added up, in any order."""


def fields_read(ledger: Ledger, *, with_ids: bool) -> tuple[str, ...]:
    """What the pass needs of an entry; ids only where something is made of them."""
    left_out = set() if with_ids else {"id"}
    if not with_ids and not ledger.map.entries.sums_to_zero:
        left_out.add("transaction")
    return tuple(field for field in ledger.shape.fields if field not in left_out)


def made(ledger: Ledger, *, key: str | None, digests: bool) -> tuple[str, ...]:
    """The sums that something is made of; whoever adds them up leaves the others alone."""
    entries, digested = ledger.map.entries, digests or key is not None
    wanted = {
        "entries": True,
        "amount_sum": True,
        "chain": has_chain(ledger),
        "lane": entries.sums_to_zero,
        "arithmetic": arithmetic(ledger) != "0",
        "unreadable": unreadable(ledger) != "0",
        "sequence_sum": digested and entries.sequence is not None,
        "digest": digests,
        "digest_keyed": key is not None,
    }
    return tuple(name for name in SUMS if wanted[name])


def folded(ledger: Ledger, dialect: Dialect, source: str, *, key: str | None, digests: bool) -> str:
    """Sums per account of the rows that `source` reads."""
    mapped, shape, sums = ledger.map.entries, ledger.shape, made(ledger, key=key, digests=digests)
    money = {field: dialect.unit(field, ledger.decimals) for field in ("amount", "balance_before", "balance_after")}
    fields = fields_read(ledger, with_ids=digests or key is not None)
    inner = [money[f] + f" as {f}" if f in money else quoted(f) for f in fields]
    written = dialect.joined([dialect.written(field, field in shape.texts) for field in shape.fields])
    columns = ["account", f"{'currency' if shape.by_currency else 'null::text'} as key_currency"]
    made_of = {
        "entries": "count(*)",
        "amount_sum": "coalesce(sum(amount), 0)",
        "chain": _chain_sum(ledger, dialect),
        "lane": dialect.lane(),
        "arithmetic": arithmetic(ledger),
        "unreadable": unreadable(ledger),
        "sequence_sum": "coalesce(sum(sequence), 0)",
        "digest": dialect.digest_sum(written, ""),
        "digest_keyed": dialect.digest_sum(written, key),
    }
    columns += [f"{made_of[name]} as {name}" for name in sums]
    if mapped.currency and not shape.by_currency:
        columns += ["min(currency) as currency_low", "max(currency) as currency_high"]
    group = "account, currency" if shape.by_currency else "account"
    return f"select {', '.join(columns)} from (select {', '.join(inner)} from ({source}) r) u group by {group}"


def has_chain(ledger: Ledger) -> bool:
    """Whether its entries say anything of what follows what."""
    entries = ledger.map.entries
    return bool(entries.sequence or entries.balance_after or entries.balance_before)


def link(ledger: Ledger, dialect: Dialect, sequence: str, balance: str) -> str:
    """t(sequence, balance), of what the map has of the two."""
    entries = ledger.map.entries
    running = entries.balance_after or entries.balance_before
    return dialect.link(sequence if entries.sequence else None, balance if running else None)


def _chain_sum(ledger: Ledger, dialect: Dialect) -> str:
    if not has_chain(ledger):
        return "0"
    entries = ledger.map.entries
    after = "balance_after" if entries.balance_after else "balance_before + amount"
    before = "balance_before" if entries.balance_before else "balance_after - amount"
    return dialect.difference_sum(
        link(ledger, dialect, "sequence", after), link(ledger, dialect, "sequence - 1", before)
    )


def arithmetic(ledger: Ledger) -> str:
    """Counts rows whose balances before and after do not differ by their amount."""
    if not (ledger.map.entries.balance_before and ledger.map.entries.balance_after):
        return "0"
    return "count(*) filter (where balance_before + amount <> balance_after)"


def unreadable(ledger: Ledger) -> str:
    """Counts rows with a NULL where the checks need a value; columns that cannot have one are not asked."""
    entries = ledger.map.entries
    needed = [field for field in FIELDS if field not in ("id", "transaction") and field in ledger.shape.fields]
    if entries.sums_to_zero:
        needed.append("transaction")
    return _null_count(field for field in needed if _may_be_null(ledger.entry_column(field), ledger.entries))


def unreadable_accounts(ledger: Ledger) -> str:
    """The same of the accounts' rows."""
    mapped = ledger.map.accounts
    needed = {"account": "id", "balance": "balance"}
    needed |= {"opening": "opening"} if ledger.account_column("opening") else {}
    needed |= {"version": "version"} if mapped.version else {}
    needed |= {"currency": "currency"} if ledger.map.keyed_by_currency else {}
    return _null_count(n for n, role in needed.items() if _may_be_null(ledger.account_column(role), ledger.accounts))


def _may_be_null(column: Column | None, relation: Relation) -> bool:
    return column is None or column.nullable or column.kind is Kind.NUMERIC or relation.kind != "r"


def _null_count(names: Iterable[str]) -> str:
    conditions = " or ".join(f"{name} is null" for name in names)
    return f"count(*) filter (where {conditions})" if conditions else "0"
