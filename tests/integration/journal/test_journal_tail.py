"""A check after a seal asks the journal what is new: it reads no more, and sees what a tail alone cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from journal_servers import MAP, Journal, Ledger

from siaga.cli.ledger_journal import KeptJournal
from siaga.ledger import crosscheck
from siaga.ledger.load import load
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Grade, Name, Report, Scope, State, Verdict
from siaga.ledger.reading import Options

pytestmark = pytest.mark.clause("DRP-3.2b")
SECRET = bytes(range(32))


class Auditor:
    """Seals the books once, and checks what came after."""

    def __init__(self, ledger: Ledger, seal: Path) -> None:
        self._ledger, self._seal = ledger, seal

    def seal(self, journal: Journal | None = None, moves: int = 19) -> Report:
        for number in range(1, 1 + moves):
            self._ledger.move(number, number + 1)
        report = self._check(Options(secret=SECRET, seal=self._seal, journal=self._kept(journal)))
        assert (report.verdict, report.undone) == (Verdict.VERIFIED, ())
        return report

    def since(self, journal: Journal, ledger_map: LedgerMap | None = None, deadline_s: float = 20.0) -> Report:
        kept = self._kept(journal, ledger_map, deadline_s)
        return self._check(Options(secret=SECRET, since=self._seal, journal=kept))

    def _kept(
        self, journal: Journal | None, ledger_map: LedgerMap | None = None, deadline_s: float = 20.0
    ) -> KeptJournal | None:
        return KeptJournal(journal.directory, ledger_map or load(MAP), deadline_s) if journal is not None else None

    def _check(self, options: Options) -> Report:
        return crosscheck.check(self._ledger.conninfo, load(MAP), options)


@pytest.fixture
def auditor(ledger: Ledger, tmp_path: Path) -> Auditor:
    return Auditor(ledger, tmp_path / "seal")


def _unheard(ledger: Ledger, debit: int, credit: int) -> None:
    """A movement that no log announces, as after a restored file."""
    ((publication,),) = ledger.query("select pubname from pg_publication_tables where tablename = 'entries'")
    ledger.query(f"alter publication {publication} set (publish = '')")
    ledger.move(debit, credit, 4)
    ledger.query(f"alter publication {publication} set (publish = 'insert, update, delete, truncate')")


def why(report: Report, name: Name) -> str:
    return next(check.why for check in report.checks if check.name is name)


def test_what_is_new_is_read_where_the_journal_says_and_is_as_much_as_it_has(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    sealed = auditor.seal(journal)
    nothing_new = auditor.since(journal)
    assert (nothing_new.verdict, nothing_new.grade) == (Verdict.VERIFIED, Grade.TAIL)
    for number in range(1, 11):
        ledger.move(number, 20, 3)
    report = auditor.since(journal)
    assert (report.verdict, report.grade, report.scope) == (Verdict.VERIFIED, Grade.TAIL, Scope.INTERNAL)
    assert (report.engine, report.entries, report.notes) == ("fingerprint", sealed.entries + 20, ())
    assert "the journal has the same 20 entries after it" in why(report, Name.SEAL)
    check = next(check for check in report.checks if check.name is Name.JOURNAL)
    assert check.state is State.NOT_APPLICABLE and "--reread" in check.why


def test_what_commits_late_is_new_subtransactions_too(ledger: Ledger, journal: Journal, auditor: Auditor) -> None:
    move = "select bank.move(%s, 'transfer', %s, %s, 2)"
    with psycopg.connect(ledger.conninfo) as late:
        late.execute(move, ["late", 1, 2])
        with late.transaction():
            late.execute(move, ["later", 3, 4])
        ledger.move(5, 6)
        sealed = auditor.seal(journal, moves=0)
    ledger.move(7, 8)
    report = auditor.since(journal)
    assert (report.verdict, report.grade, report.notes) == (Verdict.VERIFIED, Grade.TAIL, ())
    assert report.entries == sealed.entries + 6


def test_a_sealed_entry_that_was_deleted_since_is_missed_by_the_journal(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    auditor.seal(journal)
    ledger.query("delete from bank.entries where account = 7 and sequence = 1")
    # Nothing else differs, so nobody asks the journal a second time: it has to know by now.
    journal.catch_up()
    report = auditor.since(journal)
    assert (report.verdict, report.grade, report.scope) == (Verdict.MISMATCH, Grade.FULL, Scope.JOURNAL)
    assert {mismatch.account for mismatch in report.mismatched} == {"7"}
    assert any("altered 1 times" in note for note in report.notes)


def test_entries_that_the_journal_does_not_know_are_named(ledger: Ledger, journal: Journal, auditor: Auditor) -> None:
    auditor.seal(journal)
    _unheard(ledger, 9, 10)
    ledger.move(11, 12)
    report = auditor.since(journal)
    assert (report.verdict, report.scope) == (Verdict.MISMATCH, Scope.JOURNAL)
    assert {mismatch.account for mismatch in report.mismatched} == {"9", "10"}
    assert any("does not lead to the balances" in note for note in report.notes)


def test_more_entries_than_the_journal_has_between_its_own_are_named(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    auditor.seal(journal)
    ledger.move(1, 2)
    _unheard(ledger, 9, 10)
    ledger.move(3, 4)
    report = auditor.since(journal)
    assert {mismatch.account for mismatch in report.mismatched} == {"9", "10"}
    assert any("6 entries came after the seal, and the journal has 4" in note for note in report.notes)


def test_a_journal_that_cannot_say_is_not_believed_and_every_row_is_asked(
    ledger: Ledger, new_journal: Callable[..., Journal], auditor: Auditor
) -> None:
    sealed = auditor.seal()
    ledger.move(1, 2)
    journal = new_journal(ledger)
    journal.start()
    journal.await_state("streaming")
    younger = auditor.since(journal)
    other = load(MAP)
    without_time = other.entries.model_copy(update={"time": None})
    mapped = auditor.since(journal, other.model_copy(update={"entries": without_time}))
    for report, said in ((younger, "younger"), (mapped, "another ledger map")):
        assert (report.verdict, report.grade, report.entries) == (Verdict.VERIFIED, Grade.TAIL, sealed.entries + 2)
        assert any(said in note for note in report.notes), report.notes


def test_a_journal_that_is_behind_is_waited_for_and_then_every_row_is_asked(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    sealed = auditor.seal(journal)
    journal.kill()
    ledger.move(3, 4)
    report = auditor.since(journal, deadline_s=0.5)
    assert (report.verdict, report.grade, report.entries) == (Verdict.VERIFIED, Grade.TAIL, sealed.entries + 2)
    assert any("the journal stands at" in note for note in report.notes), report.notes


def test_how_much_the_journal_did_not_know_yet_is_said_and_more_than_a_little_is_not_suffered(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    auditor.seal(journal)
    journal.catch_up()
    journal.kill()
    ledger.query("delete from bank.entries where account = 7 and sequence = 1")
    little = auditor.since(journal, deadline_s=5)
    assert (little.verdict, little.grade) == (Verdict.VERIFIED, Grade.TAIL)
    assert "bytes of the server's log behind it" in why(little, Name.SEAL)
    ledger.query("select 1 from pg_logical_emit_message(true, 'other', repeat('x', 200000))")
    much = auditor.since(journal, deadline_s=0.5)
    assert (much.verdict, much.grade) == (Verdict.VERIFIED, Grade.TAIL)
    assert "behind it" not in why(much, Name.SEAL)
    assert any("the journal stands at" in note for note in much.notes), much.notes


def test_an_idle_server_is_not_waited_for_and_a_commit_that_is_not_on_the_disk_yet_is(
    ledger: Ledger, journal: Journal, auditor: Auditor
) -> None:
    sealed = auditor.seal(journal)
    journal.catch_up()
    with psycopg.connect(ledger.conninfo, autocommit=True) as hasty:
        # Seen by others at once, on the disk and in the journal some hundred milliseconds later.
        hasty.execute("set synchronous_commit = off")
        for number in range(1, 6):
            hasty.execute("select bank.move(%s, 'transfer', %s, 20, 1)", [f"hasty {number}", number])
            report = auditor.since(journal)
            assert (report.verdict, report.grade, report.notes) == (Verdict.VERIFIED, Grade.TAIL, ())
            assert report.entries == sealed.entries + 2 * number
