"""What PostgreSQL and DuckDB say differently in the statements of the cross-check; pure text."""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from typing import Protocol

from siaga.ledger.accumulators import LANE, NULL
from siaga.ledger.schema import Column, Kind, Ledger

_NARROW_DIGITS = 18
"""Digits that surely fit a 64-bit integer."""


def integer_hash(value: str, seed: str) -> str:
    """64 bits of an integer: the server's own hash folds the upper half into the lower; in the seed it still tells."""
    return f"hashint8extended({value}, {seed} # ({value}::bigint >> 32))"


def numeric_hash(value: str, seed: str) -> str:
    """64 bits of a numeric: the server's own hash leaves out the sign, and only adds the magnitude at the end.

    The next number tells both (-5 and 5 have -4 and 6 behind them), so its hash is the seed.
    """
    return f"hash_numeric_extended({value}, hash_numeric_extended({value} + 1, {seed}))"


class Dialect(Protocol):
    """Expressions that depend on the engine."""

    unit_type: str
    """Type of money as a whole number of 10^-decimals."""

    def unit(self, field: str, decimals: int) -> str:
        """A money column as that whole number."""
        ...

    def link(self, sequence: str | None, balance: str | None) -> str:
        """t(sequence, balance): a 64-bit hash of what is given of the two."""
        ...

    def difference_sum(self, one: str, other: str) -> str:
        """The sum of `one - other` over all rows, exact."""
        ...

    def lane(self) -> str:
        """The sum of amount x h(transaction), exact."""
        ...

    def written(self, field: str, as_text: bool) -> str:
        """A column as the digests have it (accumulators.py)."""
        ...

    def joined(self, texts: list[str]) -> str:
        """Texts with `|` between them."""
        ...

    def digest_sum(self, written: str, key: str | None) -> str:
        """The sum of h(key, text); its remainder modulo 2^64 is the digest."""
        ...

    def wide(self, expression: str) -> str:
        """A 64-bit number where a difference of two could overflow."""
        ...


class DuckDb:
    """Vectorised; integers that raise where they overflow. `wide`: an amount was seen to have more than 32 bits."""

    def __init__(self, ledger: Ledger, *, wide: bool = False) -> None:
        self._columns = {
            role: column
            for role in ("balance", "opening", "amount", "balance_before", "balance_after")
            if (column := _column(ledger, role)) is not None
        }
        narrow = all(_digits(column, ledger.decimals) <= _NARROW_DIGITS for column in self._columns.values())
        if ledger.map.entries.amount is None:
            pair = [ledger.entry_column("debit"), ledger.entry_column("credit")]
            narrow = narrow and all(_digits(c, ledger.decimals) <= _NARROW_DIGITS for c in pair if c is not None)
        self.unit_type = "bigint" if narrow else "hugeint"
        self._lane_type = "bigint" if narrow and not wide else "hugeint"

    def unit(self, field: str, decimals: int) -> str:
        """Cast before it is multiplied where it is an integer, after it where it is a decimal: exact both times."""
        column = self._columns.get(field)
        if column is not None and column.kind is Kind.INTEGER:
            return f"cast({field} as {self.unit_type}) * {10**decimals}" if decimals else f"{field}::{self.unit_type}"
        return f"cast({field} * {10**decimals} as {self.unit_type})"

    def link(self, sequence: str | None, balance: str | None) -> str:
        """DuckDB's own hash; two bits less, so that a difference of two fits a 64-bit integer."""
        parts = [f"cast({sequence} as bigint)"] if sequence else []
        parts += [f"cast({balance} as {self.unit_type})"] if balance else []
        return f"cast(hash({', '.join(parts)}) >> 2 as bigint)"

    def difference_sum(self, one: str, other: str) -> str:
        """Sums of 64-bit integers are 128 bits wide."""
        return f"sum({one} - {other})"

    def lane(self) -> str:
        """The upper 31 bits of the hash as weight: times an amount of 32 bits it fits 64, else DuckDB raises."""
        kind = self._lane_type
        return f"coalesce(sum(cast(amount as {kind}) * cast(hash(transaction) >> 33 as {kind})), 0)"

    def written(self, field: str, as_text: bool) -> str:
        """`length` counts characters in both engines."""
        text = f"cast({field} as varchar)"
        return f"coalesce({f'''length({text}) || ':' || {text}''' if as_text else text}, '{NULL}')"

    def joined(self, texts: list[str]) -> str:
        """No text is NULL here."""
        return f"concat_ws('|', {', '.join(texts)})"

    def digest_sum(self, written: str, key: str | None) -> str:
        """The lower half is the first eight bytes, little-endian; `md5_number_upper` is the same at twice the cost."""
        number = f"(md5_number({_keyed(written, key)}) & {LANE - 1}::uhugeint)::hugeint"
        return f"coalesce(sum({number}), 0)"

    def remainder(self, sums: str) -> str:
        """Modulo 2^64, of negative numbers too. Dividing 128 bits takes microseconds (1.5.5); this does not."""
        return f"({sums} & {LANE - 1}::hugeint)"

    def wide(self, expression: str) -> str:
        """62 bits need nothing."""
        return expression


class Postgres:
    """The database itself; `wide` money is numeric, without any limit."""

    def __init__(self, ledger: Ledger, *, wide: bool = False) -> None:
        roles = ("balance", "opening", "amount", "debit", "credit", "balance_before", "balance_after")
        columns = [_column(ledger, role) for role in roles]
        self._numeric = wide or any(column is not None and column.kind is Kind.NUMERIC for column in columns)
        self.unit_type = "numeric" if self._numeric else "bigint"

    def unit(self, field: str, decimals: int) -> str:
        """A whole number without decimals behind it, so that it is written as one."""
        if decimals:
            return f"trunc({field} * {10**decimals}::numeric)"
        return f"trunc({field}::numeric)" if self._numeric else f"{field}::bigint"

    def link(self, sequence: str | None, balance: str | None) -> str:
        """The server's own extended hashes take the sequence as their seed."""
        seed = f"({sequence})::bigint" if sequence else "0"
        if balance is None:
            return integer_hash(seed, "0")
        if self._numeric:
            return numeric_hash(f"({balance})::numeric", seed)
        return integer_hash(f"({balance})", seed)

    def difference_sum(self, one: str, other: str) -> str:
        """`sum(bigint)` is numeric and exact."""
        return f"sum({one}) - sum({other})"

    def lane(self) -> str:
        """Through the text of the id, whatever its type."""
        weight = "(hashtextextended(transaction::text, 0) & 4294967295)"
        return f"coalesce(sum(amount::numeric * {weight}), 0)"

    def written(self, field: str, as_text: bool) -> str:
        """`length` counts characters in both engines."""
        text = f"{field}::text"
        return f"coalesce({f'''length({text}) || ':' || {text}''' if as_text else text}, '{NULL}')"

    def joined(self, texts: list[str]) -> str:
        """No text is NULL here."""
        return " || '|' || ".join(texts)

    def digest_sum(self, written: str, key: str | None) -> str:
        """The first eight bytes of MD5, little-endian; a signed number with the same remainder modulo 2^64."""
        digits = f"md5({_keyed(written, key)})"
        swapped = " || ".join(f"substr(m, {place}, 2)" for place in range(15, 0, -2))
        number = f"(select ('x' || {swapped})::bit(64)::bigint from (select {digits} as m offset 0) d)"
        return f"coalesce(sum({number}), 0)"

    def wide(self, expression: str) -> str:
        """Two 64-bit numbers of either sign."""
        return f"{expression}::numeric"


def _column(ledger: Ledger, role: str) -> Column | None:
    if role in ("balance", "opening"):
        return ledger.account_column(role)
    return ledger.entry_column(role)


def _digits(column: Column, decimals: int) -> int:
    """Digits that a value may have as a whole number of 10^-decimals; an integer column is taken to be money."""
    if column.kind is Kind.INTEGER:
        return _NARROW_DIGITS if not decimals else _NARROW_DIGITS + decimals
    if column.precision is None or column.scale is None:
        return 38
    return column.precision - column.scale + decimals


def _keyed(written: str, key: str | None) -> str:
    return f"'{key}' || {written}" if key else written
