"""One sum over all entries and one over all accounts: what it can judge, and when it says that all is right."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from ledger_maps import full_ledger

from siaga.ledger import fingerprint
from siaga.ledger.fingerprint import Sums
from siaga.ledger.schema import Ledger

RIGHT = Sums(rows=4, walk=Decimal(2**70), system=1)
VERSION = 180_000


def _without(ledger: Ledger, table: str, *roles: str) -> Ledger:
    part = getattr(ledger.map, table).model_copy(update=dict.fromkeys(roles))
    return replace(ledger, map=ledger.map.model_copy(update={table: part}))


def test_both_sides_alike_are_right() -> None:
    assert fingerprint.agree(full_ledger(), RIGHT, replace(RIGHT, rows=2), Sums())


@pytest.mark.parametrize("column", ["walk", "weight_a", "weight_b", "count_a", "count_b"])
def test_any_balanced_sum_that_differs_is_wrong(column: str) -> None:
    off = replace(RIGHT, **{column: getattr(RIGHT, column) + 1})  # type: ignore[arg-type]  # a sum by its name
    assert not fingerprint.agree(full_ledger(), off, RIGHT, Sums())
    assert not fingerprint.agree(full_ledger(), RIGHT, off, Sums())


@pytest.mark.parametrize("column", ["lane", "amount", "arithmetic", "unreadable"])
def test_what_must_be_zero_over_all_entries_is_wrong_where_it_is_not(column: str) -> None:
    assert not fingerprint.agree(full_ledger(), replace(RIGHT, **{column: 1}), RIGHT, Sums())  # type: ignore[arg-type]


def test_sums_of_numerics_are_not_rounded() -> None:
    large = Sums(weight_a=Decimal(10**60))
    assert (large + Sums(weight_a=Decimal(1))).weight_a == 10**60 + 1
    off_by_one = Sums(weight_a=Decimal(10**60 + 1))
    assert not fingerprint.agree(full_ledger(), Sums(), off_by_one, large)
    assert fingerprint.agree(full_ledger(), Sums(weight_a=Decimal(1)), off_by_one, large)


def test_an_unreadable_account_is_wrong() -> None:
    assert not fingerprint.agree(full_ledger(), RIGHT, replace(RIGHT, unreadable=1), Sums())


def test_new_entries_lead_from_the_sealed_sums_to_those_of_now() -> None:
    before, new = Sums(walk=Decimal(11)), Sums(rows=2, walk=Decimal(31))
    assert fingerprint.agree(full_ledger(), new, Sums(rows=2, walk=Decimal(42)), before)
    assert not fingerprint.agree(full_ledger(), new, Sums(rows=2, walk=Decimal(41)), before)


def test_what_a_seal_keeps_is_exact_and_of_one_formula() -> None:
    large = Sums(walk=Decimal(-(3**80)), weight_a=Decimal("12345678901234567890.0001"))
    kept = fingerprint.kept(large)
    assert fingerprint.restored(kept) == large
    assert fingerprint.restored({**kept, "formula": fingerprint.FORMULA + 1}) is None
    assert fingerprint.restored(None) is None


def test_a_ledger_that_it_cannot_judge_says_why() -> None:
    ledger = full_ledger()
    assert fingerprint.obstacle(ledger, VERSION) == ""
    assert "PostgreSQL before 11" in fingerprint.obstacle(ledger, 100_000)
    assert "accounts.version" in fingerprint.obstacle(_without(ledger, "accounts", "version"), VERSION)


def test_orphans_are_looked_for_where_sums_would_not_show_them() -> None:
    ledger = full_ledger()
    assert fingerprint.orphans(ledger) == ""
    bare = _without(_without(ledger, "accounts", "version"), "entries", "sequence")
    assert "not exists" in fingerprint.orphans(bare)


def test_nothing_is_grouped_and_no_value_of_the_map_is_part_of_the_text() -> None:
    for text in (fingerprint.entries(full_ledger()), fingerprint.accounts(full_ledger())):
        assert "group by" not in text
        assert text.count(" from ") == 2
