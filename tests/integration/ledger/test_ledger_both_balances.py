"""Entries at fault where both running balances are columns: one alteration is one entry, with its true value."""

from __future__ import annotations

import pytest
from books import Books, mapped, wrong

from siaga.ledger.model import Fault, Verdict

pytestmark = pytest.mark.clause("DRP-3.2b")
BOTH = mapped(entries={"balance_before": "before", "balance_after": "after"})


def both(books: Books) -> None:
    books.run("alter table entry add column before bigint; update entry set before = after - amount")
    assert books.check(ledger_map=BOTH).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("place", ["sequence = 1", "sequence = 5", "sequence = a.version"])
@pytest.mark.parametrize("column", ["before", "after"])
def test_one_altered_balance_is_one_entry_at_fault_and_its_true_value_is_said(
    books: Books, column: str, place: str
) -> None:
    both(books)
    row = books.connection.execute(
        f"update entry e set {column} = {column} + 11 from account a where a.id = e.account and a.id = 3 and {place} "
        f"returning e.id, {column} - 11"
    ).fetchone()
    assert row is not None
    found = wrong(books.check(ledger_map=BOTH))["3"].entries
    assert [(e.fault, e.id) for e in found] == [(Fault.ALTERED, str(row[0]))]
    assert (found[0].found, found[0].expected) == (f"balance {column} {row[1] + 11}", f"balance {column} {row[1]}")


def test_one_altered_amount_is_one_entry_at_fault_where_both_balances_are_kept(books: Books) -> None:
    both(books)
    books.run("update entry set amount = amount + 11 where account = 3 and sequence = 5")
    found = wrong(books.check(ledger_map=BOTH))["3"].entries
    assert [(e.fault, e.sequence) for e in found] == [(Fault.ALTERED, 5), (Fault.UNBALANCED, 5)]
    assert found[0].found.startswith("amount ")
