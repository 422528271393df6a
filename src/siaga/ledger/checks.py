"""The list of checks of a report: which were run, on how many rows, how they ended, why others were not. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from siaga.ledger import judge
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Check, JournalResult, Name, State

_SUMS = {Name.BALANCE, Name.COUNT, Name.ORPHANS, Name.UNIQUE_ACCOUNTS, Name.VALUES}
"""What sums and counts alone can judge."""
_NO_JOURNAL = "no journal was given: a consistent roll-back cannot be seen"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass counted."""

    accounts: int
    entries: int
    failing: Callable[[Name], int]
    """Accounts that fail a check."""
    unbalanced: int
    """Transactions that do not sum to zero."""
    currencies_unbalanced: int
    duplicates: int
    ids_read: bool
    unique_index: str
    """What keeps two entries from sharing an id; empty: nothing."""
    sums_only: bool = False
    journal_left: str = ""
    """Why a journal that was given was not compared with; empty where none was given."""


def listed(
    mapped: LedgerMap,
    outcome: Outcome,
    journal: JournalResult | None,
    sealed: JournalResult | None,
    structure: Check | None,
) -> list[Check]:
    """All of them, in one order."""
    missing = _not_applicable(mapped)
    accounts, entries = outcome.accounts, outcome.entries
    rows = {
        Name.BALANCE: accounts,
        Name.COUNT: accounts,
        Name.SEQUENCE: entries,
        Name.RUNNING_BALANCE: entries,
        Name.ARITHMETIC: entries,
        Name.VALUES: entries + accounts,
        Name.ORPHANS: entries,
        Name.CURRENCY: entries,
        Name.UNIQUE_ACCOUNTS: accounts,
        Name.UNIQUE_ENTRIES: entries,
        Name.TRANSACTION_ZERO_SUM: entries,
        Name.TOTAL_ZERO_SUM: entries,
    }
    failed = {
        Name.UNIQUE_ENTRIES: outcome.duplicates,
        Name.TRANSACTION_ZERO_SUM: outcome.unbalanced,
        Name.TOTAL_ZERO_SUM: outcome.currencies_unbalanced,
    }
    found = []
    for name, count in rows.items():
        if name in missing:
            found.append(Check(name, State.NOT_APPLICABLE, why=missing[name]))
        elif outcome.sums_only and name not in _SUMS:
            found.append(Check(name, State.NOT_RUN, why="only sums were asked for"))
        elif name is Name.UNIQUE_ENTRIES and not outcome.ids_read:
            why = "a tail knows its own ids alone: --reread reads all"
            if outcome.unique_index:
                why = f"the unique index {outcome.unique_index} enforces it; --deep reads it from the table"
            found.append(Check(name, State.NOT_RUN, why=why, covered=True))
        else:
            found.append(Check(name, State.RUN, count, failed[name] if name in failed else outcome.failing(name)))
    return [
        *found,
        _compared(Name.SEAL, sealed, "no seal was given"),
        _compared(Name.JOURNAL, journal, outcome.journal_left or _NO_JOURNAL),
        structure or Check(Name.STRUCTURE, State.NOT_RUN, why="asked for with --deep", covered=True),
    ]


def _not_applicable(mapped: LedgerMap) -> dict[Name, str]:
    """Checks that the mapped columns cannot show, and why."""
    entries, chain = mapped.entries, judge.chain_checks(mapped)
    no_zero_sum = "the map says so" if entries.transaction else "the map has no `entries.transaction`"
    reasons = {
        Name.COUNT: (mapped.accounts.version, "the map has no `accounts.version`"),
        Name.SEQUENCE: (Name.SEQUENCE in chain, "the map has no `entries.sequence`"),
        Name.RUNNING_BALANCE: (Name.RUNNING_BALANCE in chain, "the map has no running balance"),
        Name.ARITHMETIC: (
            entries.balance_before and entries.balance_after,
            "the map has not both of `entries.balance_before` and `entries.balance_after`",
        ),
        Name.CURRENCY: (entries.currency, "the map has no `entries.currency`"),
        Name.UNIQUE_ENTRIES: (entries.id, "the map has no `entries.id`"),
        Name.TRANSACTION_ZERO_SUM: (entries.sums_to_zero, no_zero_sum),
        Name.TOTAL_ZERO_SUM: (entries.sums_to_zero, no_zero_sum),
    }
    return {name: why for name, (applies, why) in reasons.items() if not applies}


def _compared(name: Name, result: JournalResult | None, without: str) -> Check:
    """With something kept outside the database."""
    if result is None:
        return Check(name, State.NOT_APPLICABLE, why=without)
    if not result.covered:
        return Check(name, State.NOT_RUN, why=result.why)
    return Check(name, State.RUN, result.accounts, len(result.findings), result.why)
