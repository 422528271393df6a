"""What reads a whole ledger and keeps its sums: the seam where another reader can join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from siaga.ledger.catalog import Connection
from siaga.ledger.model import Figures, Position, Progress

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Source:
    """An open, repeatable-read transaction, and the snapshot that others can read the same rows with."""

    conninfo: str
    """Without a password: libpq finds that in its environment, passfile or service file."""
    connection: Connection
    exported: str
    position: Position
    files: tuple[str, ...] = ()
    """Those that held the tables just before the snapshot (`catalog.files`)."""


NOTHING_HIDDEN = "set local row_security = off"
"""In every transaction that reads: a row that a policy would hide is then an error, and not passed over."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard a pass may work."""

    workers: int = 2
    """Connections that read side by side."""
    share: float = 1.0
    """Of the time that each of them reads; below 1 for a live primary."""
    memory_mb: int = 500
    """For sums; what does not fit goes to the work directory."""


@dataclass(frozen=True, slots=True)
class Work:
    """Where a pass keeps its sums."""

    directory: Path
    resumable: bool = False
    """Whether a later pass may go on with them: each range then costs a write to the disk."""


@dataclass(frozen=True, slots=True)
class Want:
    """What to keep of the entries, besides the sums that the checks need."""

    digests: bool = False
    key: str | None = None
    """Of the keyed digests: 32 hexadecimal digits."""
    unique_entries: bool = False
    """Whether to look for ids that two entries share."""
    wide: bool = False
    """Whether an amount has more than 32 bits: asked for once one was met, since it costs a tenth of the pass."""


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """Sums over the accounts of one currency; money in units of 10^-decimals."""

    currency: str | None
    accounts: int
    entries: int
    wrong: int
    lane: int
    amount_sum: int
    digest_keyed: int
    system: int
    system_right: int


@dataclass(frozen=True, slots=True)
class Unbalanced:
    """A transaction that does not sum to zero."""

    transaction: str
    currency: str | None
    sum: int


class Engine(Protocol):
    """One pass over one ledger at one snapshot. Errors of the database reach the caller as they are."""

    name: str

    def read(self, on_progress: OnProgress) -> None:
        """Read every row once and keep the sums."""
        ...

    def totals(self) -> Sequence[CurrencyTotals]:
        """One for each currency."""
        ...

    def suspects(self, limit: int) -> Sequence[Figures]:
        """The accounts that are not plainly right, the platform's own first."""
        ...

    def unbalanced(self, limit: int) -> Sequence[Unbalanced]:
        """Reads again: the transactions that do not sum to zero."""
        ...

    def duplicates(self, limit: int) -> Sequence[str]:
        """Ids that more than one entry has."""
        ...

    def statements(self) -> Sequence[str]:
        """Every statement that `read` and `totals` send to the database."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def figures(row: Sequence[object]) -> Figures:
    """One row of `statements.suspects`."""
    account, currency, rows, opening, balance, version, entries, total, chain, arithmetic, unreadable, kinds, system = (
        row
    )
    return Figures(
        account=None if account is None else str(account),
        currency=None if currency is None else str(currency),
        rows=_number(rows),
        opening=_number(opening),
        balance=None if balance is None else _number(balance),
        version=None if version is None else _number(version),
        count=_number(entries),
        amount_sum=_number(total),
        chain_holds=bool(chain),
        arithmetic_failed=_number(arithmetic),
        # No opening balance is no value that an account can have; an entry without account has none to have.
        unreadable=_number(unreadable) + int(opening is None and bool(rows)),
        currencies=_number(kinds),
        system=bool(system),
    )


def currency_totals(row: Sequence[object]) -> CurrencyTotals:
    """One row of `statements.totals`."""
    currency, *numbers = row
    return CurrencyTotals(None if currency is None else str(currency), *(_number(value) for value in numbers))


def unbalanced(row: Sequence[object]) -> Unbalanced:
    """One row of `statements.unbalanced`."""
    transaction, currency, total = row
    return Unbalanced(str(transaction), None if currency is None else str(currency), _number(total))


def _number(value: object) -> int:
    return int(value or 0)  # type: ignore[call-overload,no-any-return]  # an int or a whole Decimal
