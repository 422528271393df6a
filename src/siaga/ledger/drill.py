"""Names the entries at fault: all bad accounts in one scan, all bad transactions in another, at the same snapshot."""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from psycopg import sql

from siaga.ledger import statements
from siaga.ledger.accumulators import Key
from siaga.ledger.catalog import Connection
from siaga.ledger.dialects import Postgres
from siaga.ledger.judge import Leg
from siaga.ledger.schema import Ledger
from siaga.ledger.walk import Step

STEPS_AN_ACCOUNT_MAX = 100
"""Broken places shown of one account."""
LEGS_MAX = 100_000
"""Entries of bad transactions looked at."""


def steps(connection: Connection, ledger: Ledger, accounts: Sequence[str]) -> dict[Key, list[Step]]:
    """By account: first and last entry, and each one that does not follow from the one before it."""
    if not accounts or not ledger.map.entries.sequence:
        return {}
    found: dict[Key, list[Step]] = defaultdict(list)
    for row in connection.execute(_steps(ledger), [list(accounts)]):
        # sequence, amount, before, after, previous_sequence, previous_after
        whole = [_whole(number) for number in row[4:10]]
        step = Step(*row[:4], *whole, *row[10:])
        found[step.account, step.currency if ledger.shape.by_currency else None].append(step)
    return found


def legs(connection: Connection, ledger: Ledger, transactions: Sequence[str]) -> list[Leg]:
    """The entries of these transactions."""
    if not transactions or not ledger.map.entries.transaction:
        return []
    return _legs(connection, ledger, "transaction", transactions)


def legs_of_ids(connection: Connection, ledger: Ledger, ids: Sequence[str]) -> list[Leg]:
    """The entries with these ids; their transaction is empty where the ledger has none."""
    return _legs(connection, ledger, "id", ids) if ids else []


def known_accounts(connection: Connection, ledger: Ledger, accounts: Sequence[str]) -> set[str]:
    """Which of these ids the accounts' table has, in whatever currency."""
    if not accounts:
        return set()
    rows = statements.accounts(ledger, bounded=False)
    return {row[0] for row in connection.execute(_known_statement(rows), [list(accounts)])}


def _known_statement(rows: str) -> str:
    return _percent(f"select distinct account::text from ({rows}) r where account::text = any(%s)", rows)


def statements_of(ledger: Ledger) -> list[str]:
    """What is sent where something is wrong; `%s` stands for what was found."""
    rows = statements.accounts(ledger, bounded=False)
    mapped = ledger.map.entries
    found = [_steps(ledger)] if mapped.sequence else []
    found += [_legs_statement(ledger, role) for role in ("transaction", "id") if getattr(mapped, role)]
    return [*found, _known_statement(rows)]


def _legs(connection: Connection, ledger: Ledger, field: str, values: Sequence[str]) -> list[Leg]:
    found = connection.execute(_legs_statement(ledger, field), [list(values)]).fetchall()
    by_currency = ledger.shape.by_currency
    return [
        Leg(account, currency if by_currency else None, transaction or "", id_, sequence, _whole(amount))
        for account, currency, transaction, id_, sequence, amount in found
    ]


def _legs_statement(ledger: Ledger, field: str) -> str:
    dialect, fields = Postgres(ledger, wide=True), ledger.shape.fields
    column = ledger.entry_column(field)
    assert column is not None, "asked before"
    rows = statements.entries(ledger, fields, bounded=False)
    columns = [_text(f, fields) for f in ("account", "currency", "transaction", "id")]
    columns += ["sequence" if "sequence" in fields else "null", dialect.unit("amount", ledger.decimals)]
    statement = (
        f"select {', '.join(columns)} from ({rows}) r "
        f"where {field} = any(%s::{_array_type(ledger, field)}) limit {LEGS_MAX}"
    )
    return _percent(statement, rows)


def _steps(ledger: Ledger) -> str:
    dialect, fields, entries = Postgres(ledger, wide=True), ledger.shape.fields, ledger.map.entries
    rows = statements.entries(ledger, fields, bounded=False)
    unit = {field: dialect.unit(field, ledger.decimals) for field in ("amount", "balance_before", "balance_after")}
    after = unit["balance_after"] if entries.balance_after else f"{unit['balance_before']} + {unit['amount']}"
    before = unit["balance_before"] if entries.balance_before else f"{unit['balance_after']} - {unit['amount']}"
    running = bool(entries.balance_after or entries.balance_before)
    unreadable = " or ".join(f"{field} is null" for field in fields if field not in ("id", "transaction", "currency"))
    partition = "account, currency" if ledger.shape.by_currency else "account"
    ids = [_text(field, fields) + f" as {field}" for field in ("account", "currency", "id", "transaction")]
    walked = (
        f"select {', '.join(ids)}, sequence, {unit['amount']} as amount, {before if running else 'null'} as before, "
        f"{after if running else 'null'} as after, ({unreadable}) as unreadable from ({rows}) r "
        f"where account = any(%s::{_array_type(ledger, 'account')})"
    )
    linked = (
        "select w.*, lag(sequence) over a as previous_sequence, lag(after) over a as previous_after, "
        f"lead(1) over a is null as last, lead(sequence) over a = sequence as doubled from ({walked}) w "
        f"window a as (partition by {partition} order by sequence, after)"
    )
    broken = (
        "previous_sequence is null or last or doubled or unreadable or sequence is distinct from previous_sequence + 1 "
        "or before is distinct from previous_after or before + amount is distinct from after"
    )
    numbered = (
        f"select l.*, row_number() over (partition by {partition} order by last desc, sequence) as place "
        f"from ({linked}) l where {broken}"
    )
    statement = (
        "select account, currency, id, transaction, sequence, amount, before, after, previous_sequence, "
        f"previous_after, last, unreadable from ({numbered}) n where place <= {STEPS_AN_ACCOUNT_MAX} "
        f"order by {partition}, sequence, after"
    )
    return _percent(statement, rows)


def _text(field: str, fields: tuple[str, ...]) -> str:
    return f"{field}::text" if field in fields else "null::text"


def _array_type(ledger: Ledger, field: str) -> str:
    """Of the column itself, so that an index can serve."""
    column = ledger.entry_column(field)
    assert column is not None, "asked before"
    as_text = field in ledger.shape.texts and column.type not in ("text", "character varying")
    return "text[]" if as_text else sql.SQL("{}[]").format(sql.SQL(column.type)).as_string(None)


def _percent(statement: str, rows: str) -> str:
    """A map's condition may hold a percent sign; the placeholders are ours alone."""
    return statement.replace(rows, rows.replace("%", "%%"))


def _whole(value: object) -> int | None:
    return None if value is None else int(value)  # type: ignore[call-overload]  # an int or a Decimal
