"""Which entries of an account are at fault: the walk, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_maps import ledger_map

from siaga.ledger.model import EntryFault, Fault, Figures
from siaga.ledger.walk import Step, faults

AMOUNTS = [100, -30, 7, -9, 250, 1]


def whole(amounts: list[int] = AMOUNTS, opening: int = 0) -> tuple[Figures, list[tuple[int, int, int]]]:
    """An account that agrees with itself: its figures, and (sequence, amount, after) of each entry."""
    rows, after = [], opening
    for number, amount in enumerate(amounts, 1):
        after += amount
        rows.append((number, amount, after))
    figures = Figures("7", None, 1, opening, after, len(rows), len(rows), sum(amounts), True, 0, 0, 1, False)
    return figures, rows


def steps(figures: Figures, rows: list[tuple[int, int, int]]) -> list[Step]:
    """What `drill.steps` returns of these entries: the first, the last, and each that does not follow."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    found = []
    for place, (sequence, amount, after) in enumerate(rows):
        previous = rows[place - 1] if place else None
        following = rows[place + 1] if place + 1 < len(rows) else None
        step = Step(
            account=figures.account,
            currency=None,
            id=None,
            transaction=str(sequence),
            sequence=sequence,
            amount=amount,
            before=after - amount,
            after=after,
            previous_sequence=previous[0] if previous else None,
            previous_after=previous[2] if previous else None,
            last=following is None,
            unreadable=False,
        )
        follows = previous is not None and (sequence, step.before) == (previous[0] + 1, previous[2])
        if previous is None or following is None or not follows or following[0] == sequence:
            found.append(step)
    return found


def judged(figures: Figures, rows: list[tuple[int, int, int]]) -> list[EntryFault]:
    return faults(figures, steps(figures, rows), ledger_map(), 0)


def judged_with_both(figures: Figures, rows: list[tuple[int, int, int]], place: int, column: str) -> list[EntryFault]:
    """Where both balances are columns, one of them altered by 11: what `drill.steps` returns then, judged."""
    found = []
    previous_after = None
    for sequence, amount, after in rows:
        step = Step(
            account=figures.account,
            currency=None,
            id=None,
            transaction=None,
            sequence=sequence,
            amount=amount,
            before=after - amount + 11 * (sequence == place and column == "before"),
            after=after + 11 * (sequence == place and column == "after"),
            previous_sequence=sequence - 1 if sequence > 1 else None,
            previous_after=previous_after,
            last=sequence == len(rows),
            unreadable=False,
        )
        assert step.before is not None and step.after is not None
        if step.last or step.before != previous_after or step.before + amount != step.after:
            found.append(step)
        previous_after = step.after
    return faults(figures, found, ledger_map(), 0)


def named(found: list[EntryFault]) -> list[tuple[Fault, int | None]]:
    return [(fault.fault, fault.sequence) for fault in found]


def test_an_account_that_agrees_with_itself_has_no_entry_at_fault() -> None:
    assert judged(*whole()) == []


@pytest.mark.parametrize("gone", [1, 3, 6])
def test_a_missing_entry_is_named_with_what_it_moved(gone: int) -> None:
    figures, rows = whole()
    found = judged(figures, [row for row in rows if row[0] != gone])
    assert named(found) == [(Fault.MISSING, gone)]
    assert f"moved {AMOUNTS[gone - 1]}" in found[0].why


def test_a_gap_is_one_fault() -> None:
    figures, rows = whole()
    found = judged(figures, [row for row in rows if row[0] not in (2, 3, 4)])
    assert named(found) == [(Fault.MISSING, 2)]
    assert "entries 2 to 4 are missing; together they moved -32" in found[0].why


@pytest.mark.parametrize("twice", [1, 3, 6])
def test_an_entry_that_is_there_twice_is_extra(twice: int) -> None:
    figures, rows = whole()
    assert named(judged(figures, [*rows, rows[twice - 1]])) == [(Fault.EXTRA, twice)]


@pytest.mark.parametrize("place", [1, 2, 6])
def test_of_two_entries_with_one_number_the_stranger_is_extra(place: int) -> None:
    figures, rows = whole()
    for amount, after in ((5, 5), (900, 7000), (-3, -3)):
        found = judged(figures, [*rows, (place, amount, after)])
        assert named(found) == [(Fault.EXTRA, place)], (amount, after)
        assert str(found[0].transaction) == str(place)


@pytest.mark.parametrize("place", [1, 3, 6])
def test_an_altered_amount_is_named_with_both_values(place: int) -> None:
    figures, rows = whole()
    number, amount, after = rows[place - 1]
    found = judged(figures, [*rows[: place - 1], (number, amount + 11, after), *rows[place:]])
    assert named(found) == [(Fault.ALTERED, place)]
    assert f"amount {amount + 11}" in found[0].found
    assert f"amount {amount}" in found[0].expected


@pytest.mark.parametrize("place", [1, 3, 6])
def test_an_altered_running_balance_is_named_with_both_values(place: int) -> None:
    figures, rows = whole()
    number, amount, after = rows[place - 1]
    found = judged(figures, [*rows[: place - 1], (number, amount, after + 11), *rows[place:]])
    assert named(found) == [(Fault.ALTERED, place)]
    assert (found[0].found, found[0].expected) == (f"balance after {after + 11}", f"balance after {after}")


@pytest.mark.parametrize("place", [1, 3, 6])
@pytest.mark.parametrize("column", ["before", "after"])
def test_where_both_balances_are_kept_one_that_was_altered_is_named_alone_with_its_true_value(
    place: int, column: str
) -> None:
    figures, rows = whole()
    found = judged_with_both(figures, rows, place, column)
    true = rows[place - 1][2] - (rows[place - 1][1] if column == "before" else 0)
    assert named(found) == [(Fault.ALTERED, place)]
    assert (found[0].found, found[0].expected) == (f"balance {column} {true + 11}", f"balance {column} {true}")


@given(st.permutations(range(6)).map(lambda order: order[:2]))
def test_two_entries_that_swapped_their_numbers_are_out_of_order(pair: list[int]) -> None:
    figures, rows = whole()
    one, two = pair
    rows[one], rows[two] = (rows[two][0], *rows[one][1:]), (rows[one][0], *rows[two][1:])
    assert named(judged(figures, rows)) == [(Fault.OUT_OF_ORDER, n + 1) for n in sorted(pair)]


def test_a_value_that_no_entry_can_have_is_unreadable() -> None:
    figures, rows = whole()
    broken = [replace(step, amount=None, unreadable=True) if step.last else step for step in steps(figures, rows)]
    assert named(faults(figures, broken, ledger_map(), 0)) == [(Fault.UNREADABLE, 6)]


def test_an_entry_beyond_what_the_account_counts_is_extra() -> None:
    figures, rows = whole()
    assert named(judged(replace(figures, version=5), rows)) == [(Fault.EXTRA, 6)]


@given(st.lists(st.integers(-50, 50).filter(bool), min_size=1, max_size=12), st.integers(-100, 100))
def test_no_true_walk_is_ever_blamed(amounts: list[int], opening: int) -> None:
    assert judged(*whole(amounts, opening)) == []
