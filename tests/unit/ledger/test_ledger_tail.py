"""Which entries came after a seal, said as a condition."""

from __future__ import annotations

import pytest
from ledger_maps import full_ledger, ledger_map, relation

from siaga.ledger import tail
from siaga.ledger.model import JournalTail, Ordered
from siaga.ledger.schema import Ledger, resolve


def without_id() -> Ledger:
    accounts = relation("accounts", id="bigint!", balance="bigint!", version="bigint!")
    columns = dict.fromkeys(("account", "amount", "transaction", "sequence", "after"), "bigint!")
    return resolve(ledger_map(entries={"id": None}), accounts, relation("entries", **columns), "map")


def test_a_journal_orders_numbers_and_uuids_as_the_database_does_and_no_texts() -> None:
    assert tail.ordered(full_ledger()) == Ordered("id", numbers=True)
    assert tail.ordered(full_ledger(id="uuid!")) == Ordered("id", numbers=False)
    assert tail.ordered(full_ledger(id="text!")) == Ordered("transaction", numbers=True)
    assert tail.ordered(full_ledger(id="text!", transaction="text!")) is None
    assert tail.ordered(without_id()) == Ordered("transaction", numbers=True)


@pytest.mark.parametrize(
    ("found", "by", "conditions"),
    [
        (JournalTail(True, entries=2, first="7", last="12"), "id", ['"id" between 7 and 9', '"id" between 10 and 12']),
        (JournalTail(True, entries=1, first="-7", last="-7"), "id", ['"id" between  -7 and  -7']),
        (JournalTail(True, entries=3, first="1", last="3"), "id", ['"id" between 1 and 2', '"id" between 3 and 3']),
        (JournalTail(True, entries=2, first="a0", last="b1"), "uuid", ["\"id\" between 'a0' and 'b1'"]),
        (JournalTail(True), "id", []),
    ],
)
def test_new_entries_lie_between_the_first_and_the_last_that_the_journal_has(
    found: JournalTail, by: str, conditions: list[str]
) -> None:
    assert tail.between(full_ledger(), Ordered("id", numbers=by == "id"), found, 2) == conditions


def test_what_a_journal_has_for_a_number_is_one_before_it_is_in_a_statement() -> None:
    with pytest.raises(ValueError, match="drop"):
        tail.between(full_ledger(), Ordered("id", numbers=True), JournalTail(True, first="1; drop", last="2"), 1)
