"""From figures to verdicts, without a database."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from ledger_maps import ledger_map

from siaga.ledger import judge
from siaga.ledger.checks import Outcome, listed
from siaga.ledger.judge import Leg
from siaga.ledger.model import Check, Figures, JournalFinding, JournalResult, Mismatch, Name, State, Verdict

RIGHT = Figures("7", None, 1, 10, 15, 2, 2, 5, True, 0, 0, 1, False)
MAP = ledger_map()
OUTCOME = Outcome(3, 9, lambda _: 0, 0, 0, 0, ids_read=True, unique_index="")


def test_each_figure_that_is_off_fails_its_own_check() -> None:
    assert judge.failed_checks(RIGHT, MAP) == ()
    assert judge.failed_checks(replace(RIGHT, balance=16), MAP) == (Name.BALANCE,)
    assert judge.failed_checks(replace(RIGHT, version=3), MAP) == (Name.COUNT,)
    assert judge.failed_checks(replace(RIGHT, chain_holds=False), MAP) == (Name.SEQUENCE, Name.RUNNING_BALANCE)
    assert judge.failed_checks(replace(RIGHT, rows=2), MAP) == (Name.UNIQUE_ACCOUNTS,)
    assert judge.failed_checks(replace(RIGHT, balance=None), MAP) == (Name.VALUES,)
    assert judge.failed_checks(replace(RIGHT, unreadable=1), MAP) == (Name.VALUES,)
    assert judge.failed_checks(replace(RIGHT, currencies=2), MAP) == (Name.CURRENCY,)


def test_entries_without_an_account_are_orphans_or_of_another_currency() -> None:
    orphan = replace(RIGHT, rows=0, balance=None, chain_holds=False)
    assert judge.failed_checks(orphan, MAP) == (Name.ORPHANS,)
    assert judge.failed_checks(orphan, MAP, elsewhere=True) == (Name.CURRENCY,)
    assert judge.failed_checks(replace(orphan, account=None), MAP) == (Name.ORPHANS,)


def test_a_check_that_did_not_finish_makes_the_verdict_incomplete_never_verified() -> None:
    run = Check(Name.BALANCE, State.RUN, 3)
    assert judge.verdict([run], 0)[0] is Verdict.VERIFIED
    assert judge.verdict([run, Check(Name.JOURNAL, State.NOT_RUN, why="gap")], 0)[0] is Verdict.INCOMPLETE
    assert judge.verdict([run, Check(Name.STRUCTURE, State.NOT_RUN, covered=True)], 0)[0] is Verdict.VERIFIED
    assert judge.verdict([run, Check(Name.CURRENCY, State.NOT_APPLICABLE)], 0)[0] is Verdict.VERIFIED
    # What was found wrong weighs more than what was not read.
    assert judge.verdict([Check(Name.JOURNAL, State.NOT_RUN)], 1)[0] is Verdict.MISMATCH
    assert judge.verdict([Check(Name.BALANCE, State.RUN, 3, failed=1)], 0)[0] is Verdict.MISMATCH


def test_checks_without_their_column_are_not_applicable_and_say_so() -> None:
    bare = ledger_map(
        accounts={"version": None},
        entries=dict.fromkeys(("id", "transaction", "sequence", "balance_after")),
    )
    found = {check.name: check for check in listed(bare, OUTCOME, None, None, None)}
    missing = {name for name, check in found.items() if check.state is State.NOT_APPLICABLE}
    assert missing == {
        Name.COUNT, Name.SEQUENCE, Name.RUNNING_BALANCE, Name.ARITHMETIC, Name.CURRENCY, Name.UNIQUE_ENTRIES,
        Name.TRANSACTION_ZERO_SUM, Name.TOTAL_ZERO_SUM, Name.SEAL, Name.JOURNAL,
    }  # fmt: skip
    assert found[Name.SEQUENCE].why == "the map has no `entries.sequence`"
    assert set(found) == set(Name)


def test_a_journal_that_does_not_reach_is_not_run() -> None:
    short = listed(MAP, OUTCOME, JournalResult(False, "a gap from 0/1 to 0/2"), None, None)
    assert next(c for c in short if c.name is Name.JOURNAL).state is State.NOT_RUN
    assert judge.verdict(short, 0) == (Verdict.INCOMPLETE, "journal was not run: a gap from 0/1 to 0/2")
    full = listed(MAP, OUTCOME, JournalResult(True, "", 3, (JournalFinding("7", None, Decimal(5)),)), None, None)
    assert next(c for c in full if c.name is Name.JOURNAL).failed == 1


def test_an_index_that_enforces_ids_stands_for_reading_them() -> None:
    held = listed(MAP, replace(OUTCOME, ids_read=False, unique_index="entries_pkey"), None, None, None)
    check = next(c for c in held if c.name is Name.UNIQUE_ENTRIES)
    assert (check.state, check.covered) == (State.NOT_RUN, True)
    assert "entries_pkey" in check.why


def test_sums_alone_are_incomplete_at_best() -> None:
    checks = listed(MAP, replace(OUTCOME, sums_only=True), None, None, None)
    assert judge.verdict(checks, 0)[0] is Verdict.INCOMPLETE
    assert {c.name for c in checks if c.state is State.RUN} >= {Name.BALANCE, Name.COUNT, Name.ORPHANS}


def test_counterparties_of_a_bad_transaction_are_tainted_and_named_once() -> None:
    legs = [Leg("1", None, "t", None, 1, 5), Leg("2", None, "t", None, 1, -5), Leg("2", None, "u", None, 2, 1)]
    found = judge.tainted(legs, {("1", None): object()})
    assert [(t.account, t.transactions) for t in found] == [("2", ("t", "u"))]


def test_equal_differences_are_grouped_as_one_cause() -> None:
    off = [Mismatch(str(n), None, None, Decimal(500), (Name.BALANCE,)) for n in range(217)]
    other = [Mismatch("x", None, None, Decimal(3), (Name.BALANCE,))]
    assert [(c.difference, c.accounts) for c in judge.causes([*off, *other])] == [(Decimal(500), 217)]
