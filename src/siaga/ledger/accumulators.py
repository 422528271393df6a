"""What is kept of an account's entries, whoever reads them: database, journal and seal keep the same five numbers.

All are sums of integers over the entries of one account, so they are the same in any order, add up over threads,
partitions, machines and time, and can be taken back:

    count           1
    amount_sum      amount, in units of 10^-decimals
    sequence_sum    sequence                                    (0 where the map has none)
    digest          h("" , entry)   mod 2^64                    public: anywhere, in the database too
    digest_keyed    h(key, entry)   mod 2^64                    only where the key may be: outside

`h(key, entry)` is the first 64 bits, little-endian, of MD5 over `key || text(entry)` in UTF-8, the key being 32
hexadecimal digits or nothing. `text(entry)` joins with `|` the mapped ones of: account, currency, id, transaction,
sequence, amount, balance_before, balance_after. A NULL is `~`; a whole number (money scaled to a whole number first)
and a uuid are written as PostgreSQL writes them; anything else as LENGTH:VALUE with the length in characters, so that
no two entries share a text. The same formula in SQL is in `statements.py`; tests hold the two together.

MD5 because it is the one hash that PostgreSQL, DuckDB and Python all compute without an extension. The keyed lane needs
a pseudo-random function and no collision resistance: without the key nobody can tell which change keeps the sum.

An overflow is an error everywhere, never a wrapped number: Python and `numeric` have no limit, DuckDB raises. The chain
of an account's entries (sequence and running balance) needs no number of its own here: of a verified account it is
(sequence, balance), and an entry that differs in any of its columns shows in the digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import NamedTuple

LANE = 1 << 64
NULL = "~"
KEY_DIGITS = 32

EXACT = Context(prec=200_000, traps=[Inexact, InvalidOperation])
"""Longer than any numeric of PostgreSQL (131072 digits before the point)."""

_PLAIN_DIGITS = 1000
"""Python converts some thousands without a question."""

Key = tuple[str | None, str | None]
"""Account as PostgreSQL writes it (None: an entry that has none), and currency where balances are kept by currency."""


class Entry(NamedTuple):
    """One movement, money in units of 10^-decimals; a field that the map does not name is None."""

    account: str | None = None
    currency: str | None = None
    id: str | None = None
    transaction: str | None = None
    sequence: int | None = None
    amount: int | None = None
    balance_before: int | None = None
    balance_after: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Which fields an entry of this ledger has, and how its ids are written; see `schema.Ledger.shape`."""

    fields: tuple[str, ...]
    """Mapped ones of `FIELDS`, in that order."""
    texts: frozenset[str]
    """Those written as LENGTH:VALUE."""
    decimals: int
    by_currency: bool = False
    """Whether a balance is one account in one currency."""
    rises_with: str = "amount"
    """`amount`; or `credit` or `debit`, whichever makes the balance rise where an amount is made of both."""


FIELDS = Entry._fields
MONEY = frozenset({"amount", "balance_before", "balance_after"})


@dataclass(slots=True)
class Accumulator:
    """The five numbers of one account."""

    count: int = 0
    amount_sum: int = 0
    sequence_sum: int = 0
    digest: int = 0
    digest_keyed: int = 0

    def add(self, entry: Entry, digest: int, digest_keyed: int = 0) -> None:
        """One entry more."""
        self._change(entry, digest, digest_keyed, 1)

    def take_back(self, entry: Entry, digest: int, digest_keyed: int = 0) -> None:
        """One entry less: it was deleted, or the old half of an update."""
        self._change(entry, digest, digest_keyed, -1)

    def merge(self, other: Accumulator) -> None:
        """All entries of another one of the same account."""
        self.count += other.count
        self.amount_sum += other.amount_sum
        self.sequence_sum += other.sequence_sum
        self.digest = (self.digest + other.digest) % LANE
        self.digest_keyed = (self.digest_keyed + other.digest_keyed) % LANE

    def _change(self, entry: Entry, digest: int, digest_keyed: int, sign: int) -> None:
        self.count += sign
        self.amount_sum += sign * (entry.amount or 0)
        self.sequence_sum += sign * (entry.sequence or 0)
        self.digest = (self.digest + sign * digest) % LANE
        self.digest_keyed = (self.digest_keyed + sign * digest_keyed) % LANE


def text(entry: Entry, shape: Shape) -> str:
    """What the digests are taken of."""
    texts = shape.texts
    values = [(field in texts, getattr(entry, field)) for field in shape.fields]
    return "|".join([NULL if v is None else f"{len(v)}:{v}" if as_text else str(v) for as_text, v in values])


def digest(text: str, key: str = "") -> int:
    """`h(key, entry)` of an entry's text; the key is 32 hexadecimal digits or empty."""
    return int.from_bytes(hashlib.md5((key + text).encode(), usedforsecurity=False).digest()[:8], "little")


def fold(entries: Iterable[Entry], shape: Shape, key: str | None = None) -> dict[Key, Accumulator]:
    """Accumulators of all accounts; the keyed lane only with a key."""
    found: dict[Key, Accumulator] = {}
    for entry in entries:
        written = text(entry, shape)
        accumulator = found.setdefault(key_of(entry, shape), Accumulator())
        accumulator.add(entry, digest(written), digest(written, key) if key else 0)
    return found


def key_of(entry: Entry, shape: Shape) -> Key:
    """Whose balance an entry moves."""
    return entry.account, entry.currency if shape.by_currency else None


def entry(values: Mapping[str, str | None], shape: Shape) -> Entry:
    """An entry from its columns as PostgreSQL writes them, by field (`debit` and `credit` where they make the amount).

    ValueError where money has more decimals than the ledger, or is NaN or infinite.
    """
    fields: dict[str, str | int | None] = {}
    for field in shape.fields:
        value = values.get(field)
        if field == "amount" and shape.rises_with != "amount":
            fields[field] = _amount(values, shape)
        elif value is None:
            fields[field] = None
        elif field in MONEY:
            fields[field] = scaled(value, shape.decimals)
        else:
            fields[field] = int(value) if field == "sequence" else value
    return Entry(**fields)  # type: ignore[arg-type]  # by field name; checked by the tests of every shape


def scaled(value: str | int | Decimal, decimals: int) -> int:
    """Money as a whole number of 10^-decimals; ValueError where it is none."""
    if isinstance(value, str) and decimals >= 0 and len(value) < _PLAIN_DIGITS and value.removeprefix("-").isdigit():
        # Most are, and a journal's writer reads every one.
        return int(value + "0" * decimals)
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"money is {number}, expected a finite number")
    moved = number.scaleb(decimals, EXACT)
    whole = int(moved)
    if whole != moved:
        raise ValueError(f"money has more decimals than the ledger: {number}, expected at most {decimals}")
    return whole


def unscaled(value: int, decimals: int) -> Decimal:
    """A whole number of 10^-decimals as money."""
    return Decimal(value).scaleb(-decimals, EXACT)


def _amount(values: Mapping[str, str | None], shape: Shape) -> int | None:
    falls_with = "debit" if shape.rises_with == "credit" else "credit"
    given = [values.get(field) for field in (shape.rises_with, falls_with)]
    rise, fall = (scaled(value or "0", shape.decimals) for value in given)
    # As the cross-check's SQL has it (statements.py): neither may be negative, and one of them must be there.
    if given == [None, None] or rise < 0 or fall < 0:
        return None
    return rise - fall
