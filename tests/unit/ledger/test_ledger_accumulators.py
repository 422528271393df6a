"""Accumulators: exact, additive, blind to order, and different where any column of any entry is."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_maps import full_ledger

from siaga.ledger.accumulators import Accumulator, Entry, Shape, digest, entry, fold, scaled, text, unscaled

SHAPE = Shape(
    ("account", "id", "transaction", "sequence", "amount", "balance_after"), frozenset({"account", "id"}), decimals=2
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
ENTRIES = st.builds(
    Entry,
    account=TEXTS,
    amount=st.integers(-(10**30), 10**30),
    id=st.none() | TEXTS,
    transaction=st.none() | TEXTS.filter(lambda t: "|" not in t and t != "~"),
    sequence=st.none() | st.integers(0, 50),
    currency=st.none(),
    balance_before=st.none(),
    balance_after=st.none() | st.integers(-(10**30), 10**30),
)


def sums(found: dict[object, Accumulator]) -> dict[object, tuple[int, int, int, int, int]]:
    return {k: (a.count, a.amount_sum, a.sequence_sum, a.digest, a.digest_keyed) for k, a in found.items()}


@given(st.lists(ENTRIES, max_size=8), st.randoms())
def test_the_order_of_entries_does_not_matter(entries: list[Entry], chance: object) -> None:
    shuffled = list(entries)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sums(fold(entries, SHAPE, "k")) == sums(fold(shuffled, SHAPE, "k"))


@given(st.lists(ENTRIES, max_size=6), st.lists(ENTRIES, max_size=6))
def test_two_halves_add_up_to_the_whole(one: list[Entry], two: list[Entry]) -> None:
    merged = fold(one, SHAPE, "k")
    for key, accumulator in fold(two, SHAPE, "k").items():
        merged.setdefault(key, Accumulator()).merge(accumulator)
    assert sums(merged) == sums(fold([*one, *two], SHAPE, "k"))


@given(ENTRIES, ENTRIES)
def test_what_was_added_can_be_taken_back(kept: Entry, gone: Entry) -> None:
    accumulator = Accumulator()
    for found in (kept, gone):
        accumulator.add(found, digest(text(found, SHAPE)), digest(text(found, SHAPE), "k"))
    accumulator.take_back(gone, digest(text(gone, SHAPE)), digest(text(gone, SHAPE), "k"))
    alone = Accumulator()
    alone.add(kept, digest(text(kept, SHAPE)), digest(text(kept, SHAPE), "k"))
    assert accumulator == alone


@given(ENTRIES, ENTRIES)
def test_no_two_entries_share_a_text(one: Entry, two: Entry) -> None:
    assert (one == two) == (text(one, SHAPE) == text(two, SHAPE))


def test_the_text_of_an_entry_is_as_documented() -> None:
    found = Entry("é|7", amount=1230, id=None, transaction="9", sequence=3, balance_after=-5)
    assert text(found, SHAPE) == "3:é|7|~|9|3|1230|-5"


def test_the_digest_is_the_first_eight_bytes_of_md5_little_endian() -> None:
    # md5("abc") = 90 01 50 98 3c d2 4f b0 ...
    assert digest("abc") == 0xB04FD23C98500190
    assert digest("abc", "k") != digest("abc")


@pytest.mark.parametrize(
    ("value", "decimals", "whole"),
    [
        ("12.30", 2, 1230),
        ("-0.01", 2, -1),
        ("1e3", 0, 1000),
        ("5", 4, 50000),
        ("1500", -2, 15),
        ("9" * 60, 2, int("9" * 60 + "00")),
    ],
)
def test_money_becomes_a_whole_number_exactly(value: str, decimals: int, whole: int) -> None:
    assert scaled(value, decimals) == whole
    assert unscaled(whole, decimals) == Decimal(value)


@pytest.mark.parametrize("value", ["0.001", "NaN", "Infinity", "-Infinity"])
def test_money_that_is_no_number_or_too_precise_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="money"):
        scaled(value, 2)


def test_an_entry_is_read_from_postgres_texts_by_field() -> None:
    shape = full_ledger(amount="numeric(12,2)").shape
    values = {"account": "7", "amount": "-1.50", "id": "3", "transaction": "9", "sequence": "2", "balance_after": "0"}
    assert entry(values, shape) == Entry("7", None, "3", "9", 2, -150, None, 0)
    assert entry({**values, "amount": None}, shape).amount is None


@pytest.mark.parametrize(("rises_with", "amount"), [("credit", -200), ("debit", 200)])
def test_an_amount_is_made_of_debit_and_credit(rises_with: str, amount: int) -> None:
    shape = Shape(("account", "amount"), frozenset(), 2, rises_with=rises_with)
    assert entry({"account": "1", "debit": "2", "credit": None}, shape).amount == amount
    assert entry({"account": "1", "debit": None, "credit": None}, shape).amount is None
    assert entry({"account": "1", "debit": "-2", "credit": None}, shape).amount is None
    assert entry({"account": "1", "debit": "2", "credit": "-1"}, shape).amount is None
