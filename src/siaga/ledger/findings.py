"""Everything that is not verified, named: accounts that disagree, their entries at fault, and who is tainted."""

from __future__ import annotations

from collections.abc import Sequence

from siaga.ledger import drill, judge, walk
from siaga.ledger.accumulators import Key
from siaga.ledger.catalog import Connection
from siaga.ledger.engine import Unbalanced
from siaga.ledger.judge import Leg
from siaga.ledger.model import EntryFault, Fault, Figures, JournalResult, Mismatch, Name, Tainted
from siaga.ledger.schema import Ledger

DRILLED_MAX = 1_000
"""Accounts whose entries are looked at."""
TRANSACTIONS_MAX = 10_000
"""Transactions, or ids, that are looked at."""


class Findings:
    """Made from what a pass found wrong, by looking again at that alone."""

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        figures: Sequence[Figures],
        unbalanced: Sequence[Unbalanced],
        duplicates: Sequence[str],
        journal: JournalResult | None,
        sealed: JournalResult | None,
    ) -> None:
        self._connection, self._ledger = connection, ledger
        self._figures = {(f.account, f.currency): f for f in figures}
        self._failed = self._failed_checks(figures)
        self._faults: dict[Key, list[EntryFault]] = {key: [] for key in self._figures}
        self._cut: set[Key] = {(f.account, f.currency) for f in figures[DRILLED_MAX:]}
        """Accounts of which not every broken place was looked at."""
        self._walk(figures[:DRILLED_MAX])
        self._add_duplicates(duplicates)
        self._add_compared(Name.JOURNAL, journal)
        self._add_compared(Name.SEAL, sealed)
        self.only_beyond = len(self._failed) - len(self._figures)
        """Accounts that agree with their own log, and are at fault all the same."""
        legs = self._add_unbalanced(unbalanced)
        self.mismatched: list[Mismatch] = [self._mismatch(key) for key in self._failed]
        self.tainted: list[Tainted] = judge.tainted(legs, self._failed)
        self.all_named = self._all_named(unbalanced, duplicates, legs)
        """False where a list was cut: somebody who is tainted may be missing, so that nobody is known not to be."""
        self.without_row = sum(1 for f in figures if not f.rows)
        """Entries' accounts that the accounts' table does not have."""

    @property
    def exceptions(self) -> list[tuple[str | None, str | None, str]]:
        """Account, currency and verdict of everybody who is named."""
        bad = [(each.account, each.currency, "mismatch") for each in self.mismatched]
        return [*bad, *((each.account, each.currency, "tainted") for each in self.tainted)]

    def _all_named(self, unbalanced: Sequence[Unbalanced], duplicates: Sequence[str], legs: Sequence[Leg]) -> bool:
        entries = self._ledger.map.entries
        # Where transactions need not sum to zero, only the walk through an account names those that harm others.
        walked = entries.sums_to_zero or not entries.transaction or len(self._figures) <= DRILLED_MAX
        lists = (unbalanced, TRANSACTIONS_MAX), (duplicates, TRANSACTIONS_MAX), (legs, drill.LEGS_MAX)
        return walked and all(len(found) < most for found, most in lists)

    def failing(self, name: Name) -> int:
        """Accounts that fail a check, of those named."""
        return sum(1 for found in self.mismatched if name in found.failed_checks)

    def _failed_checks(self, figures: Sequence[Figures]) -> dict[Key, list[Name]]:
        """By account; one without a row of its currency may have rows of others."""
        orphans = [f.account for f in figures if not f.rows and f.account is not None]
        by_currency = self._ledger.shape.by_currency
        known = drill.known_accounts(self._connection, self._ledger, orphans) if by_currency else set()
        return {
            (f.account, f.currency): list(judge.failed_checks(f, self._ledger.map, f.account in known)) for f in figures
        }

    def _walk(self, figures: Sequence[Figures]) -> None:
        ids = list(dict.fromkeys(f.account for f in figures if f.account is not None and f.count))
        steps = drill.steps(self._connection, self._ledger, ids)
        for f in figures:
            own = steps.get((f.account, f.currency), [])
            if len(own) >= drill.STEPS_AN_ACCOUNT_MAX:
                self._cut.add((f.account, f.currency))
            self._faults[f.account, f.currency] += walk.faults(f, own, self._ledger.map, self._ledger.decimals)

    def _add_duplicates(self, ids: Sequence[str]) -> None:
        for leg in drill.legs_of_ids(self._connection, self._ledger, ids):
            why = f"more than one entry has the id {leg.id}"
            self._failed.setdefault(leg.key, []).append(Name.UNIQUE_ENTRIES)
            self._faults.setdefault(leg.key, []).append(
                EntryFault(Fault.EXTRA, why, leg.sequence, leg.id, leg.transaction)
            )

    def _add_compared(self, name: Name, result: JournalResult | None) -> None:
        for finding in result.findings if result is not None else ():
            key = (finding.account, finding.currency)
            self._failed.setdefault(key, []).append(name)
            self._faults.setdefault(key, []).extend(finding.entries)

    def _add_unbalanced(self, unbalanced: Sequence[Unbalanced]) -> list[Leg]:
        """All entries of bad transactions: those that do not sum to zero, and those of an entry at fault.

        Where transactions are known to sum to zero, only an entry too many still harms its counterparties: an altered
        amount would show, and an altered running balance is its own account's matter.
        """
        sums = {found.transaction: found.sum for found in unbalanced}
        harmful = {Fault.EXTRA} if self._ledger.map.entries.sums_to_zero else set(Fault)
        at_fault = [
            fault.transaction
            for faults in self._faults.values()
            for fault in faults
            if fault.transaction and fault.fault in harmful
        ]
        legs = drill.legs(self._connection, self._ledger, list(dict.fromkeys([*sums, *at_fault])))
        for leg in legs:
            if leg.transaction in sums and leg.key in self._failed:
                fault = judge.unbalanced(leg, sums[leg.transaction], self._ledger.decimals)
                self._faults[leg.key].append(fault)
        return legs

    def _mismatch(self, key: Key) -> Mismatch:
        failed, faults = list(dict.fromkeys(self._failed[key])), self._faults[key]
        figures = self._figures.get(key)
        if figures is None:
            return Mismatch(key[0], None, None, None, tuple(failed), tuple(faults), key[1])
        return judge.mismatch(figures, failed, faults, key not in self._cut, self._ledger.decimals)
