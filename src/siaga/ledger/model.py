"""What a cross-check finds and says (DRP-3.2b)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

Account = tuple[str, str | None]
"""Account as PostgreSQL writes it, and its currency where balances are kept by currency."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A column of the entries by which a journal, where all are texts, can say between which values some lie."""

    role: Literal["id", "transaction"]
    numbers: bool
    """Ordered as numbers; else by their bytes."""


class Verdict(StrEnum):
    """Of a whole ledger."""

    VERIFIED = "verified"
    MISMATCH = "mismatch"
    INCOMPLETE = "incomplete"
    """Nothing wrong was found in what was read, and not everything was read."""


class Scope(StrEnum):
    """What the balances were compared with."""

    INTERNAL = "internal"
    """The database's own log: a consistent roll-back is invisible."""
    JOURNAL = "journal"
    """Also a record kept outside the database."""


class Grade(StrEnum):
    """How much of the log was read."""

    FULL = "full"
    """All of it."""
    TAIL = "tail"
    """What came after a seal; what the seal covers was proven then and not read now."""
    PREFIX = "prefix re-verified"
    """All of it, and what the seal covers has the entries it had then."""
    SUMS = "sums"
    """All of it, for sums and counts alone."""


class Name(StrEnum):
    """The checks, each run, not run or not applicable on its own."""

    BALANCE = "balance"
    COUNT = "count"
    SEQUENCE = "sequence"
    RUNNING_BALANCE = "running balance"
    ARITHMETIC = "arithmetic"
    VALUES = "values"
    ORPHANS = "orphans"
    CURRENCY = "currency"
    UNIQUE_ACCOUNTS = "unique accounts"
    UNIQUE_ENTRIES = "unique entries"
    TRANSACTION_ZERO_SUM = "transaction zero-sum"
    TOTAL_ZERO_SUM = "total zero-sum"
    SEAL = "seal"
    JOURNAL = "journal"
    STRUCTURE = "structure"


class State(StrEnum):
    """What became of a check."""

    RUN = "run"
    NOT_RUN = "not run"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and why it stands as it does."""

    name: Name
    state: State
    rows: int = 0
    """Rows that it judged."""
    failed: int = 0
    """Accounts, entries or transactions that it found at fault."""
    why: str = ""
    covered: bool = False
    """Not run because something stronger stands for it; does not make the verdict incomplete."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source stands: the snapshot of a check, and the log position beside it."""

    system_id: str
    timeline: int
    database: str
    in_recovery: bool
    paused: bool
    lsn: str
    """Beyond everything that the snapshot sees."""
    snapshot: str
    version: int

    def same_content(self, other: Position) -> bool:
        """Whether both see the same rows: transaction ids only grow within one timeline of one system."""
        return (self.system_id, self.timeline, self.database, self.snapshot) == (
            other.system_id,
            other.timeline,
            other.database,
            other.snapshot,
        )


class Fault(StrEnum):
    """What is wrong with an entry."""

    MISSING = "missing"
    EXTRA = "extra"
    ALTERED = "altered"
    OUT_OF_ORDER = "out of order"
    UNBALANCED = "unbalanced"
    """Its transaction does not sum to zero."""
    UNREADABLE = "unreadable"
    """A value that a ledger cannot have: NULL, NaN, more decimals than money has."""


@dataclass(frozen=True, slots=True)
class EntryFault:
    """One entry (or gap) at fault, with both values."""

    fault: Fault
    why: str
    sequence: int | None = None
    id: str | None = None
    transaction: str | None = None
    found: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the pass found of one account that is not plainly right; money in units of 10^-decimals."""

    account: str | None
    currency: str | None
    rows: int
    """Rows of the accounts' table: 1; 0 for entries without an account."""
    opening: int
    balance: int | None
    """None: not a value that a balance can have."""
    version: int | None
    count: int
    amount_sum: int
    chain_holds: bool
    arithmetic_failed: int
    unreadable: int
    """Entries and account rows with a value that a ledger cannot have."""
    currencies: int
    """Different currencies among its entries; 1 where that is as it should be."""
    system: bool

    @property
    def expected(self) -> int:
        """What the log makes of the opening balance."""
        return self.opening + self.amount_sum


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An account whose log and balance disagree, or whose entries are at fault."""

    account: str | None
    balance: Decimal | None
    expected: Decimal | None
    difference: Decimal | None
    failed_checks: tuple[Name, ...]
    entries: tuple[EntryFault, ...] = ()
    currency: str | None = None
    system: bool = False
    entries_shown: bool = True
    """False where nobody looked for the entries at fault, or some are left out: too many."""


@dataclass(frozen=True, slots=True)
class Tainted:
    """An account that agrees with its own log, and shares a transaction with a bad entry: not verified either."""

    account: str
    transactions: tuple[str, ...]
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Accounts off by the same amount: most likely one cause."""

    difference: Decimal
    accounts: int
    failed_checks: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict, and everything it rests on."""

    verdict: Verdict
    scope: Scope
    grade: Grade
    accounts: int
    entries: int
    verified: int
    mismatched_count: int
    tainted_count: int
    mismatched: tuple[Mismatch, ...]
    tainted: tuple[Tainted, ...]
    causes: tuple[Cause, ...]
    checks: tuple[Check, ...]
    position: Position
    map_digest: str
    engine: str
    began: datetime
    seconds: float
    system_accounts: int = 0
    system_verified: int = 0
    verdicts_digest: str = ""
    """Of every account's verdict (`fingerprint.verdicts`); empty where not every one is known."""
    all_named: bool = True
    """Whether no list of what is wrong was cut short."""
    undone: tuple[str, ...] = ()
    """What was asked for besides the verdict and could not be done."""
    notes: tuple[str, ...] = field(default=())
    why: str = ""
    """Why the verdict is what it is, in a line."""

    @property
    def listed(self) -> bool:
        """Whether every account that is not verified is named here; a fence may open the others only then."""
        return self.all_named and len(self.mismatched) == self.mismatched_count

    def document(self) -> dict[str, Any]:
        """For `--json`: the position's `lsn` and `snapshot` beside the verdict, money as text."""
        found: dict[str, Any] = asdict(self)
        position = found.pop("position")
        found["listed"] = self.listed
        found["began"] = self.began.isoformat()
        found["lsn"], found["snapshot"] = position["lsn"], position["snapshot"]
        found["source"] = {key: position[key] for key in ("system_id", "timeline", "database", "in_recovery", "paused")}
        return _plain(found)  # type: ignore[no-any-return]  # a mapping stays one


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pass is."""

    phase: str
    rows: int
    rows_expected: int
    """Estimated; 0 where nobody can tell."""
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """Rate so far."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None where nobody can tell."""
        if not self.rows or self.rows_expected <= self.rows:
            return None
        return (self.rows_expected - self.rows) / self.rows_per_s


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    # Money as text: a JSON number is a float to most readers.
    return str(value) if isinstance(value, Decimal) else value


@dataclass(frozen=True, slots=True)
class JournalFinding:
    """An account whose entries in the database are not those of the journal."""

    account: str
    currency: str | None
    difference: Decimal
    """Database minus journal, of the sum of the amounts."""
    entries: tuple[EntryFault, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalResult:
    """What comparing database and journal at one position gave."""

    covered: bool
    """Whether the journal knows every transaction up to the position; if not, the check did not run."""
    why: str
    accounts: int = 0
    findings: tuple[JournalFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalTail:
    """Which entries a journal has that one snapshot sees and an earlier one did not."""

    known: bool
    """Whether it has them all, and can tell them apart."""
    why: str = ""
    entries: int = 0
    first: str | None = None
    last: str | None = None
    """The smallest and the largest of what they are ordered by; None where there is no entry."""
    altered: int = 0
    """Updates, deletions and truncations of the log meanwhile."""
    behind_bytes: int = 0
    """Of the write-ahead log, that the journal had not read yet: what they altered it does not know."""


class Journal(Protocol):
    """A record kept outside the database."""

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        """Compare with the database's accumulators: the Parquet file of `duckdb.DuckDbEngine.save`."""
        ...

    def tail(self, then: Position, now: Position, by: Ordered, *, complete: bool) -> JournalTail:
        """The entries that `now` sees and `then` did not; both on one timeline of one system.

        Unless `complete`, the last ones may be missing: `behind_bytes` says so.
        """
        ...
