"""The statements that turn sums into verdicts, account by account; `statements.py` has those that read and fold."""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from siaga.ledger.dialects import Dialect
from siaga.ledger.schema import Ledger
from siaga.ledger.statements import SUMS, has_chain, link, literal


def account_sums(ledger: Ledger, dialect: Dialect, source: str) -> str:
    """Rows of the accounts' table, in the columns of the groups."""
    shape, mapped = ledger.shape, ledger.map.accounts
    columns = [
        "account",
        f"{'currency' if shape.by_currency else 'null::text'} as key_currency",
        f"{'currency' if mapped.currency else 'null::text'} as account_currency",
        f"{dialect.unit('balance', ledger.decimals)} as balance",
        f"{_opening(ledger, dialect)} as opening",
        f"{'version' if mapped.version else 'null'} as version",
        "case when system then 1 else 0 end as system",
    ]
    return f"select {', '.join(columns)} from ({source}) r"


def _opening(ledger: Ledger, dialect: Dialect) -> str:
    if ledger.account_column("opening") is not None:
        return dialect.unit("opening", ledger.decimals)
    return f"cast({literal(ledger.map.accounts.opening)} as {dialect.unit_type}) * {10**ledger.decimals}"


def chain_of(ledger: Ledger, dialect: Dialect) -> str:
    """The chain of an account with so many `entries` that leads from `opening` to `balance`."""
    if not has_chain(ledger):
        return "0"
    first = ledger.map.entries.first_sequence
    last = link(ledger, dialect, f"{first - 1} + entries", "balance")
    start = link(ledger, dialect, str(first - 1), "opening")
    return f"{dialect.wide(last)} - {dialect.wide(start)}"


def judged(ledger: Ledger, dialect: Dialect, entry_sums: str, account_rows: str, sums: tuple[str, ...]) -> str:
    """One row an account: its figures and whether it is right; `sums` are those that were made (`statements.made`).

    Each column costs a wide addition for every account of every range, so that only those are grouped that differ.
    """
    present = _present(ledger)
    keys = ["account", "key_currency"] if ledger.shape.by_currency else ["account"]
    of_entries = [*keys, "0 as rows", "null as balance"]
    of_accounts = [*keys, "1", "balance"]
    grouped = [*keys, "sum(rows) as rows", "max(balance) as balance"]
    for name, (aggregate, whose, default) in _ATTRIBUTES.items():
        if name in present:
            of_entries.append(name if whose == "entries" else f"{default} as {name}")
            of_accounts.append(name if whose == "accounts" else default)
            grouped.append(f"{aggregate}({name}) as {name}")
    of_entries += sums
    of_accounts += ["0"] * len(sums)
    grouped += [f"sum({name}) as {name}" for name in sums]
    both = (
        f"select {', '.join(of_entries)} from ({entry_sums}) e "
        f"union all select {', '.join(of_accounts)} from ({account_rows}) a"
    )
    grouping = f"select {', '.join(grouped)} from ({both}) u group by {', '.join(keys)}"
    absent = {name: f"{value} as {name}" for name, (_, _, value) in _ATTRIBUTES.items() if name not in present}
    if "opening" in absent:
        absent["opening"] = f"{_opening(ledger, dialect)} as opening"
    constants = [*absent.values(), *(f"0 as {name}" for name in SUMS if name not in sums)]
    if not ledger.shape.by_currency:
        constants.append("null::text as key_currency")
    whole = f"select {', '.join(['b.*', *constants])} from ({grouping}) b"
    holds = f"chain = {chain_of(ledger, dialect)}" if has_chain(ledger) else "true"
    return (
        f"select g.*, coalesce(key_currency, account_currency, currency_low) as currency, ({holds}) is true as "
        f"chain_holds, ({' and '.join([*_right(ledger), holds])}) is true as is_right from ({whole}) g"
    )


_ATTRIBUTES = {
    "opening": ("max", "accounts", "null"),
    "version": ("max", "accounts", "null"),
    "system": ("max", "accounts", "0"),
    "account_currency": ("max", "accounts", "null::text"),
    "currency_low": ("min", "entries", "null::text"),
    "currency_high": ("max", "entries", "null::text"),
}
"""Columns that a map may leave out: how they are grouped, whose rows have them, and what the others' rows have."""


def _present(ledger: Ledger) -> set[str]:
    accounts, system = ledger.map.accounts, ledger.map.system_accounts
    loose_currency = ledger.map.entries.currency is not None and not ledger.shape.by_currency
    return {
        name
        for name, applies in {
            "opening": ledger.account_column("opening") is not None,
            "version": accounts.version is not None,
            "system": bool(system.ids or system.where),
            "account_currency": accounts.currency is not None,
            "currency_low": loose_currency,
            "currency_high": loose_currency,
        }.items()
        if applies
    }


def _right(ledger: Ledger) -> list[str]:
    """What must hold of every account, besides its chain."""
    mapped = ledger.map
    right = ["rows = 1", "unreadable = 0", "arithmetic = 0", "opening + amount_sum = balance", "account is not null"]
    if mapped.accounts.version:
        right.append(f"version = {mapped.entries.first_sequence - 1} + entries")
    if mapped.entries.currency and not mapped.keyed_by_currency:
        right.append("currency_low is not distinct from currency_high")
    return right


def totals(judged_rows: str) -> str:
    """One row a currency."""
    return (
        "select currency, count(*) filter (where rows > 0) as accounts, coalesce(sum(entries), 0) as entries, "
        "count(*) filter (where not is_right) as wrong, coalesce(sum(lane), 0) as lane, "
        "coalesce(sum(amount_sum), 0) as amount_sum, coalesce(sum(digest_keyed), 0) as digest_keyed, "
        "count(*) filter (where system = 1) as system, "
        "count(*) filter (where system = 1 and is_right) as system_right "
        f"from ({judged_rows}) j group by currency"
    )


def unbalanced(ledger: Ledger, dialect: Dialect, source: str, account_rows: str, limit: int) -> str:
    """The transactions that do not sum to zero, by currency where there are any, with what they sum to."""
    amount = dialect.unit("amount", ledger.decimals)
    read, currency = f"({source}) r", "null"
    if ledger.map.entries.currency:
        currency = "r.currency"
    elif ledger.map.accounts.currency:
        read, currency = f"{read} left join ({account_rows}) a on a.account = r.account", "a.account_currency"
    return (
        f"select transaction, currency, sum(amount) from (select r.transaction, {currency} as currency, "
        f"{amount} as amount from {read} where r.transaction is not null) t group by transaction, currency "
        f"having sum(amount) <> 0 order by transaction limit {limit}"
    )


def duplicates(source: str, limit: int) -> str:
    """Ids that more than one entry has."""
    return f"select id from ({source}) r where id is not null group by id having count(*) > 1 order by id limit {limit}"


def suspects(judged_rows: str, limit: int) -> str:
    """Figures of the accounts that are not right, the platform's own first."""
    return (
        "select account, key_currency, rows, opening, balance, version, entries, amount_sum, chain_holds, arithmetic, "
        "unreadable, case when currency_low is not distinct from currency_high then 1 else 2 end, system = 1 "
        f"from ({judged_rows}) j where not is_right order by system desc, account, key_currency limit {limit}"
    )
