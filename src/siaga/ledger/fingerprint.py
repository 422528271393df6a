"""Is everything right? One sum over all entries, one over all accounts, alike where every account agrees. Pure text.

`statements.py` folds entries per account; here they are folded over the whole ledger: nothing is grouped, nothing is
sent, and PostgreSQL adds up some hashes a row. Where the two sides are alike, every account is proven at once; where
they are not, an engine that keeps sums per account names who is wrong.

- The *walk*: for every entry t(account, sequence, balance after) - t(account, sequence - 1, balance before), for every
  account t(account, version, balance) - t(account, first - 1, opening), t being a 64-bit hash. Both sums are equal
  where each account's entries lead without a gap from its opening to its balance. Anything else leaves points that do
  not cancel: a missing, altered, moved, doubled or swapped entry, an orphan, a wrong balance or version. By accident
  that is missed with a chance of 2^-64; against a person who knows the hashes there are keyed digests.
- *Weights*, where there is no running balance: amount x w(account) over the entries against (balance - opening) x
  w(account) over the accounts, for two weights of 31 bits; where there is no sequence, 1 x w(account) against version.
- The *lane*: amount x h(transaction), zero in sum where every transaction sums to zero.

All sums are exact; hashes are the server's own (`hashint8extended` and its kin), which take a seed.
"""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Literal

from siaga.ledger import statements
from siaga.ledger.accumulators import EXACT
from siaga.ledger.dialects import integer_hash, numeric_hash
from siaga.ledger.schema import Column, Kind, Ledger
from siaga.ledger.statements import Pages

EXTENDED_HASHES_VERSION = 110_000
"""The first PostgreSQL whose hashes take a seed."""
FORMULA = 2
"""Of the sums: one that was sealed by another formula is not compared."""
VERDICT_WEIGHTS = {"verified": 1, "mismatch": 2, "tainted": 3}
"""How often the digest of all verdicts has an account of each."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one of the two tables, or a part of it; what a side does not have is 0."""

    rows: int = 0
    walk: Decimal = Decimal(0)
    weight_a: Decimal = Decimal(0)
    weight_b: Decimal = Decimal(0)
    count_a: Decimal = Decimal(0)
    count_b: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)
    lane: Decimal = Decimal(0)
    arithmetic: int = 0
    unreadable: int = 0
    system: int = 0
    verdicts: Decimal = Decimal(0)

    def __add__(self, other: Sums) -> Sums:
        # A context of 28 digits, which is the default, would round large numerics.
        pairs = ((Decimal(getattr(self, f.name)), Decimal(getattr(other, f.name))) for f in fields(Sums))
        return Sums(*(EXACT.add(one, two) for one, two in pairs))  # type: ignore[arg-type]  # whole numbers where int


COLUMNS = tuple(f.name for f in fields(Sums))
_BALANCED = ("walk", "weight_a", "weight_b", "count_a", "count_b")
"""What both sides must have alike."""


def of_row(row: Sequence[object]) -> Sums:
    """One row of `entries` or `accounts`."""
    return Sums(*(Decimal(value or 0) for value in row))  # type: ignore[arg-type]  # integers and exact decimals


def kept(accounts: Sums) -> dict[str, str | int]:
    """What a seal keeps of verified accounts, exact."""
    return {"formula": FORMULA, **{name: str(getattr(accounts, name)) for name in _BALANCED}}


def restored(found: object) -> Sums | None:
    """The sums of `kept`; None where there are none, or of another formula."""
    if not isinstance(found, dict) or found.get("formula") != FORMULA:
        return None
    return Sums(**{name: Decimal(found[name]) for name in _BALANCED})  # type: ignore[arg-type]  # `rows` is none of them


def agree(ledger: Ledger, entries: Sums, accounts: Sums, before: Sums) -> bool:
    """Whether every account and every transaction is right.

    `before` is of the accounts when all entries but these were proven; zero where these are all.
    """
    after = before + entries
    if any(getattr(after, name) != getattr(accounts, name) for name in _BALANCED):
        return False
    zero = ["lane"] if ledger.map.entries.sums_to_zero else []
    if zero and not ledger.map.keyed_by_currency:
        zero.append("amount")
    return not any((entries.unreadable, entries.arithmetic, accounts.unreadable, *(getattr(entries, z) for z in zero)))


def obstacle(ledger: Ledger, version: int) -> str:
    """Why this ledger has to be folded account by account; empty where it has not."""
    accounts, entries = ledger.map.accounts, ledger.map.entries
    if version < EXTENDED_HASHES_VERSION:
        return "PostgreSQL before 11 has no hashes with a seed"
    if entries.sequence and not accounts.version:
        return "without `accounts.version` nobody knows where an account's sequence ends"
    if (accounts.currency is None) is not (entries.currency is None):
        return "the currency is in one of the two tables alone"
    return ""


def unique_accounts(ledger: Ledger) -> bool:
    """Whether an index keeps an account from being there twice."""
    mapped = ledger.map.accounts
    key = {mapped.id} | ({mapped.currency} if ledger.map.keyed_by_currency else set())
    return any(set(columns) <= key for columns in ledger.accounts.unique.values())


Weights = Literal["a", "ab"]
"""One is enough where the verdict is `incomplete` at best (sums alone)."""


def entries(
    ledger: Ledger, *, pages: Pages | None = None, only: str = "", wide: bool = False, weights: Weights = "ab"
) -> str:
    """One row of `COLUMNS` over the entries; `wide`: numbers may have more than 64 bits."""
    made = _Expressions(ledger, wide)
    wanted = {
        "rows": "count(*)",
        "walk": _walk(
            made.point("sequence", made.money("balance_after")),
            made.point("sequence - 1", made.money("balance_before")),
        ),
        "amount": f"coalesce(sum({made.money('amount')}), 0)",
        "lane": f"coalesce(sum({made.money('amount')} * {made.transaction_weight()}), 0)",
        "arithmetic": statements.arithmetic(ledger),
        "unreadable": statements.unreadable(ledger),
    }
    if not made.running:
        wanted |= {f"weight_{w}": f"coalesce(sum({made.money('amount')} * {made.weight(w)}), 0)" for w in weights}
    if made.counted:
        wanted |= {f"count_{w}": f"coalesce(sum({made.weight(w)}), 0)" for w in weights}
    fields_ = statements.fields_read(ledger, with_ids=False)
    return _select(ledger, wanted, statements.entries(ledger, fields_, bounded=False, pages=pages, only=only))


def accounts(ledger: Ledger, *, pages: Pages | None = None, wide: bool = False, weights: Weights = "ab") -> str:
    """The same over the accounts."""
    made = _Expressions(ledger, wide)
    start = ledger.map.entries.first_sequence - 1
    balance, opening = made.money("balance"), made.money("opening")
    wanted = {
        "rows": "count(*)",
        "walk": _walk(made.point("version", balance), made.point(str(start), opening)),
        "unreadable": statements.unreadable_accounts(ledger),
        # Where balances run this is the walk's end, which PostgreSQL then adds up once.
        "verdicts": f"coalesce(sum({made.standing()}), 0)",
    }
    if ledger.map.system_accounts.where or ledger.map.system_accounts.ids:
        wanted["system"] = "count(*) filter (where system)"
    if not made.running:
        wanted |= {f"weight_{w}": f"coalesce(sum(({balance} - {opening}) * {made.weight(w)}), 0)" for w in weights}
    if made.counted:
        wanted |= {f"count_{w}": f"coalesce(sum((version - {start}) * {made.weight(w)}), 0)" for w in weights}
    return _select(ledger, wanted, statements.accounts(ledger, bounded=False, pages=pages))


def twice(ledger: Ledger) -> str:
    """How many accounts are there more than once."""
    keys = "account, currency" if ledger.map.keyed_by_currency else "account"
    rows = statements.accounts(ledger, bounded=False)
    return f"select count(*) from (select from ({rows}) r group by {keys} having count(*) > 1) d"


def orphans(ledger: Ledger) -> str:
    """How many entries belong to no account; empty where the sums show them.

    Numbered or counted entries of an account that is not there leave something behind; amounts alone may add up to 0.
    """
    if ledger.map.entries.sequence or ledger.map.accounts.version:
        return ""
    keys = ("account", "currency") if ledger.map.keyed_by_currency else ("account",)
    moved = statements.entries(ledger, keys, bounded=False)
    on = " and ".join(f"a.{key} = e.{key}" for key in keys)
    there = statements.accounts(ledger, bounded=False)
    return f"select count(*) from ({moved}) e where not exists (select from ({there}) a where {on})"


def verdicts(ledger: Ledger, *, exceptions: bool) -> str:
    """The digest of every account's verdict, modulo 2^64: a hash of account, version (with a sequence) and balance,
    times its verdict.

    With `exceptions` it takes three parallel arrays as parameters, of the accounts that are not verified: ids as text,
    currencies (null where balances are not kept by currency), weights.
    """
    made = _Expressions(ledger, wide=False)
    rows = statements.accounts(ledger, bounded=False)
    if not exceptions:
        return f"select coalesce(sum({made.standing()}), 0) from ({rows}) r"
    rows = rows.replace("%", "%%")
    currency = "r.currency::text" if ledger.map.keyed_by_currency else "null"
    weighed = f"{made.standing(known=False)}::numeric * coalesce(e.weight, {VERDICT_WEIGHTS['verified']})"
    return (
        f"select coalesce(sum({weighed}), 0) from (select r.*, {currency} as kept "
        f"from ({rows}) r) r left join unnest(%s::text[], %s::text[], %s::int[]) e (id, kept, weight) "
        # Equality can be hashed, IS NOT DISTINCT FROM can't.
        "on coalesce(e.id, chr(1)) = coalesce(r.account::text, chr(1)) and coalesce(e.kept, '') = coalesce(r.kept, '')"
    )


def _walk(end: str, start: str) -> str:
    return f"coalesce(sum({end}) - sum({start}), 0)" if end else "0"


def _select(ledger: Ledger, wanted: dict[str, str], rows: str) -> str:
    columns = [f"{wanted.get(name, '0')} as {name}" for name in COLUMNS]
    # A numeric is written as a condition over itself, and is asked for several times: fetched once.
    fence = " offset 0" if _numeric(ledger) else ""
    return f"select {', '.join(columns)} from ({rows}{fence}) r"


class _Expressions:
    """Hashes over the columns that `statements.entries` and `statements.accounts` give."""

    def __init__(self, ledger: Ledger, wide: bool) -> None:
        self._ledger = ledger
        entries = ledger.map.entries
        self._numeric_columns = _numeric(ledger)
        self._numeric = wide or self._numeric_columns
        self.running = bool(entries.balance_after or entries.balance_before)
        """Whether the walk proves the balances too."""
        self.counted = ledger.map.accounts.version is not None and not entries.sequence
        """Whether entries have to be counted apart from the walk."""

    def money(self, field: str) -> str:
        """An amount or a balance; the running balances are made of each other where one of them is not mapped."""
        entries, kind = self._ledger.map.entries, "numeric" if self._numeric else "bigint"
        if field == "balance_after" and not entries.balance_after:
            return f"(balance_before + amount)::{kind}"
        if field == "balance_before" and not entries.balance_before:
            return f"(balance_after::{kind} - amount)"
        return f"{field}::{kind}"

    def point(self, sequence: str, balance: str) -> str:
        """t(account, sequence, balance), of what the map has of the two; empty where it has neither."""
        seed = self._key()
        if self._ledger.map.entries.sequence:
            seed = integer_hash(f"({sequence})", seed)
        elif not self.running:
            return ""
        return self._money_hash(balance, seed, numeric=self._numeric) if self.running else seed

    def weight(self, which: str) -> str:
        """31 bits and a sign: times an amount of 32 bits it fits 64, else PostgreSQL raises."""
        return f"(hashint8extended({ord(which)}, {self._key()}) >> 33)"

    def transaction_weight(self) -> str:
        """The same of a transaction, in each of its currencies; 0 where transactions need not sum to zero."""
        column = self._ledger.entry_column("transaction")
        if column is None or not self._ledger.map.entries.sums_to_zero:
            return "0"
        seed = "hashtextextended(currency::text, 0)" if self._ledger.map.keyed_by_currency else "0"
        return f"({_id_hash('transaction', column, seed)} >> 33)"

    def standing(self, *, known: bool = True) -> str:
        """t(account, version, balance); not `known`: what is NULL has a hash too."""
        mapped, seed = self._ledger.map, self._key()
        if mapped.entries.sequence and mapped.accounts.version:
            seed = integer_hash("(version)", seed)
        # A balance is hashed as what it is, however wide the sums are: one digest, whoever computes it.
        kind = "numeric" if self._numeric_columns else "bigint"
        found = self._money_hash(f"balance::{kind}", seed, numeric=self._numeric_columns)
        return found if known else f"coalesce({found}, {self._key()}, 0)"

    def _money_hash(self, value: str, seed: str, *, numeric: bool) -> str:
        if numeric:
            return numeric_hash(f"{value}::numeric", seed)
        return integer_hash(value, seed)

    def _key(self) -> str:
        """64 bits that stand for an account, in its currency where balances are kept by it."""
        column = self._ledger.account_column("id")
        assert column is not None, "the map requires it"
        text = self._ledger.id_as_text or column.kind in (Kind.OTHER, Kind.NUMERIC)
        if column.kind is Kind.INTEGER and not text:
            key = "account::bigint"
        else:
            key = "hashtextextended(account, 0)" if text else _id_hash("account", column, "0")
        return f"hashtextextended(currency::text, {key})" if self._ledger.map.keyed_by_currency else key


def _id_hash(name: str, column: Column, seed: str) -> str:
    if column.kind is Kind.INTEGER:
        return integer_hash(name, seed)
    function = "uuid_hash_extended" if column.kind is Kind.UUID else "hashtextextended"
    return f"{function}({name}, {seed})"


def _numeric(ledger: Ledger) -> bool:
    roles = ("amount", "debit", "credit", "balance_before", "balance_after")
    columns = [ledger.entry_column(role) for role in roles]
    columns += [ledger.account_column(role) for role in ("balance", "opening")]
    return any(column is not None and column.kind is Kind.NUMERIC for column in columns)
