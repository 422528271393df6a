"""From figures to verdicts: which checks an account fails, what shares a cause, who else is tainted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from siaga.ledger.accumulators import Key, unscaled
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import (
    Account,
    Cause,
    Check,
    EntryFault,
    Fault,
    Figures,
    Mismatch,
    Name,
    State,
    Tainted,
    Verdict,
)

CAUSE_ACCOUNTS_MIN = 2
"""Fewer accounts with the same difference are no pattern."""


@dataclass(frozen=True, slots=True)
class Leg:
    """An entry of a bad transaction."""

    account: str | None
    currency: str | None
    transaction: str
    id: str | None
    sequence: int | None
    amount: int | None

    @property
    def key(self) -> tuple[str | None, str | None]:
        """Whose balance it moves."""
        return self.account, self.currency


def failed_checks(figures: Figures, ledger_map: LedgerMap, elsewhere: bool = False) -> tuple[Name, ...]:
    """What an account fails; `elsewhere`: its id exists, in another currency."""
    first = ledger_map.entries.first_sequence
    failed: list[Name] = []
    if figures.unreadable or (figures.rows and figures.balance is None):
        failed.append(Name.VALUES)
    if not figures.rows or figures.account is None:
        failed.append(Name.CURRENCY if elsewhere else Name.ORPHANS)
    if figures.rows > 1:
        failed.append(Name.UNIQUE_ACCOUNTS)
    if figures.balance is not None and figures.balance != figures.expected:
        failed.append(Name.BALANCE)
    if ledger_map.accounts.version and figures.rows and figures.version != first - 1 + figures.count:
        failed.append(Name.COUNT)
    if figures.currencies > 1:
        failed.append(Name.CURRENCY)
    if figures.arithmetic_failed:
        failed.append(Name.ARITHMETIC)
    if figures.rows and not figures.chain_holds:
        failed += chain_checks(ledger_map)
    return tuple(failed)


def chain_checks(ledger_map: LedgerMap) -> list[Name]:
    """The checks that the chain stands for."""
    entries = ledger_map.entries
    names = [Name.SEQUENCE] if entries.sequence else []
    return names + ([Name.RUNNING_BALANCE] if entries.balance_after or entries.balance_before else [])


def mismatch(
    figures: Figures, failed: Sequence[Name], entries: Sequence[EntryFault], shown: bool, decimals: int
) -> Mismatch:
    """An account's mismatch in money."""
    has_row = figures.rows > 0
    return Mismatch(
        account=figures.account,
        currency=figures.currency,
        balance=unscaled(figures.balance, decimals) if figures.balance is not None else None,
        expected=unscaled(figures.expected, decimals) if has_row else unscaled(figures.amount_sum, decimals),
        difference=unscaled((figures.balance or 0) - figures.expected, decimals),
        failed_checks=tuple(_narrowed(failed, entries, shown)),
        entries=tuple(entries),
        system=figures.system,
        entries_shown=shown,
    )


def _narrowed(failed: Sequence[Name], entries: Sequence[EntryFault], shown: bool) -> list[Name]:
    """The chain proves two things in one; the entries at fault say which of them broke."""
    both = Name.SEQUENCE in failed and Name.RUNNING_BALANCE in failed
    if not (both and shown):
        return list(failed)
    numbers = any(e.fault in (Fault.MISSING, Fault.EXTRA, Fault.OUT_OF_ORDER) for e in entries)
    balances = any(e.fault in (Fault.ALTERED, Fault.OUT_OF_ORDER) for e in entries)
    if numbers and not balances:
        return [name for name in failed if name is not Name.RUNNING_BALANCE]
    if balances and not numbers:
        return [name for name in failed if name is not Name.SEQUENCE]
    return list(failed)


def unbalanced(leg: Leg, total: int, decimals: int) -> EntryFault:
    """An entry of a transaction that does not sum to zero."""
    return EntryFault(
        Fault.UNBALANCED,
        "its transaction does not sum to zero",
        sequence=leg.sequence,
        id=leg.id,
        transaction=leg.transaction,
        found=f"sum {unscaled(total, decimals)}",
        expected="sum 0",
    )


def tainted(legs: Iterable[Leg], bad: Mapping[Key, object]) -> list[Tainted]:
    """Whoever shares one of these transactions and has no mismatch of their own."""
    shared: dict[Account, set[str]] = {}
    for leg in legs:
        if leg.account is not None and (leg.account, leg.currency) not in bad:
            shared.setdefault((leg.account, leg.currency), set()).add(leg.transaction)
    return [
        Tainted(account, tuple(sorted(transactions)), currency)
        for (account, currency), transactions in sorted(shared.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def causes(mismatched: Iterable[Mismatch]) -> list[Cause]:
    """Accounts off by the same amount in the same checks, the largest group first."""
    groups: Counter[tuple[Decimal, tuple[Name, ...]]] = Counter(
        (found.difference, found.failed_checks) for found in mismatched if found.difference
    )
    return [
        Cause(difference, accounts, checks)
        for (difference, checks), accounts in groups.most_common()
        if accounts >= CAUSE_ACCOUNTS_MIN
    ]


def verdict(checks: Sequence[Check], wrong: int) -> tuple[Verdict, str]:
    """Of the whole ledger, and why: what failed weighs more than what was not read."""
    failed = [check for check in checks if check.failed]
    if wrong or failed:
        names = ", ".join(f"{check.name} ({check.failed})" for check in failed)
        return Verdict.MISMATCH, f"failed: {names}" if names else f"{wrong} accounts do not agree"
    unread = [check for check in checks if check.state is State.NOT_RUN and not check.covered]
    if unread:
        return Verdict.INCOMPLETE, "; ".join(f"{check.name} was not run: {check.why}" for check in unread)
    return Verdict.VERIFIED, "every check that this ledger allows was run, and none failed"
