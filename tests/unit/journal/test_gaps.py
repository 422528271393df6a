"""Where the journal goes on when it meets a server, and what it says is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.journal.gaps import Branch, Fork, Journal, Position, Rebase, Resume, Server, Slot, Stop, next_step

pytestmark = pytest.mark.clause("DRP-3.2b")

HERE = Journal(Position("s", 1, 100), (), Position("s", 1, 10))
SERVER = Server("s", 1, 120)


def test_the_same_server_goes_on_where_the_journal_ends() -> None:
    assert next_step(HERE, SERVER, Slot(90)) == Resume(100)
    assert next_step(HERE, SERVER, Slot(100)) == Resume(100)


def test_a_journal_that_has_not_begun_reads_a_base_and_has_no_gap() -> None:
    assert next_step(Journal(None), SERVER, Slot(50)) == Rebase(None)


@pytest.mark.parametrize(
    ("slot", "why"),
    [(None, "does not exist"), (Slot(90, "wal_removed"), "wal_removed"), (Slot(101), "made anew")],
)
def test_a_slot_that_is_gone_lost_or_ahead_is_a_gap_from_where_the_journal_ends(slot: Slot | None, why: str) -> None:
    found = next_step(HERE, SERVER, slot)
    assert isinstance(found, Rebase)
    assert found.gap is not None
    assert (found.gap.begin, found.gap.end) == (100, None)
    assert why in found.gap.why


def test_a_promotion_takes_out_what_lies_beyond_the_fork() -> None:
    promoted = Server("s", 2, 150, (Branch(1, 80),))
    assert next_step(HERE, promoted, Slot(70)) == Resume(80, Fork("s", 2, 80))


def test_a_promotion_beyond_the_journal_takes_nothing_out() -> None:
    promoted = Server("s", 2, 150, (Branch(1, 130),))
    assert next_step(HERE, promoted, Slot(70)) == Resume(100, Fork("s", 2, 130))


def test_a_recovery_without_the_slot_is_both_fork_and_gap() -> None:
    recovered = Server("s", 2, 150, (Branch(1, 60),))
    found = next_step(HERE, recovered, None)
    assert isinstance(found, Rebase)
    assert found.fork == Fork("s", 2, 60)
    assert found.gap is not None
    assert found.gap.begin == 60


def test_ways_that_parted_earlier_are_told_by_their_last_common_point() -> None:
    ours = replace(HERE, position=Position("s", 2, 100), path=(Branch(1, 50),))
    assert next_step(ours, Server("s", 3, 150, (Branch(1, 40),)), Slot(30)) == Resume(40, Fork("s", 3, 40))
    assert next_step(ours, Server("s", 3, 150, (Branch(1, 50), Branch(2, 90))), Slot(30)) == Resume(
        90, Fork("s", 3, 90)
    )
    # Two servers were promoted: both call their timeline 2.
    assert next_step(ours, Server("s", 2, 150, (Branch(1, 40),)), Slot(30)) == Resume(40, Fork("s", 2, 40))


def test_a_database_taken_back_before_the_base_needs_a_new_one() -> None:
    found = next_step(HERE, Server("s", 2, 150, (Branch(1, 5),)), Slot(1))
    assert isinstance(found, Rebase)
    assert found.gap is not None
    assert "before the journal's base" in found.gap.why


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Server("other", 1, 120), "another system"),
        (Server("s", 1, 99), "without a new timeline"),
    ],
)
def test_what_nobody_can_judge_stops_the_journal(server: Server, why: str) -> None:
    found = next_step(HERE, server, Slot(90))
    assert isinstance(found, Stop)
    assert why in found.why


def test_an_old_primary_that_comes_back_is_not_read() -> None:
    found = next_step(replace(HERE, position=Position("s", 2, 100), path=(Branch(1, 50),)), SERVER, Slot(50))
    assert isinstance(found, Stop)
    assert "old primary" in found.hint


def test_another_system_is_taken_at_the_marker_from_its_own_slot_on() -> None:
    over = replace(HERE, handed_over=True)
    assert next_step(over, Server("green", 1, 500), Slot(400)) == Resume(400)
    found = next_step(over, Server("green", 1, 500), None)
    assert isinstance(found, Rebase)
    assert found.gap is not None
    assert found.gap.begin == 0


@given(st.integers(10, 200), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_it_never_goes_on_where_the_server_cannot_send_everything(end: int, fork: int, written: int, slot: int) -> None:
    """Whatever the positions: a stream that begins after the slot's own position would leave something out."""
    journal = Journal(Position("s", 1, end), (), Position("s", 1, 0))
    for server in (Server("s", 1, written), Server("s", 2, max(written, fork), (Branch(1, fork),))):
        found = next_step(journal, server, Slot(slot))
        if isinstance(found, Resume):
            assert slot <= found.at <= end
            assert server.timeline == 1 or found.at <= fork
        elif isinstance(found, Rebase):
            assert found.gap is not None
            assert found.gap.begin <= end
