"""Sealed checkpoints: what came after is found by transaction, whatever committed late; what is sealed is compared."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from books import Books, mapped, named, wrong

from siaga.errors import BadInput
from siaga.ledger.model import Grade, Name, State, Verdict
from siaga.ledger.reading import Options

SECRET = bytes(range(32))


@pytest.fixture
def sealed(books: Books, tmp_path: Path) -> Path:
    """A seal of the books as they are."""
    directory = tmp_path / "seal"
    assert books.check(Options(secret=SECRET, seal=directory)).verdict is Verdict.VERIFIED
    return directory


def since(directory: Path, **options: object) -> Options:
    return Options(secret=SECRET, since=directory, **options)  # type: ignore[arg-type]


def test_nothing_new_is_verified_by_its_tail(books: Books, sealed: Path) -> None:
    report = books.check(since(sealed))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.TAIL)
    assert (report.accounts, report.verified) == (20, 20)
    assert "was proven then and not read now" in named(report, Name.SEAL).why


def test_a_tail_is_proven_by_the_fingerprint_and_by_accounts_alike(books: Books, sealed: Path, tmp_path: Path) -> None:
    for number in range(30):
        books.move(1 + number % 5, 6, 3)
    first = books.check(since(sealed))
    # A new seal wants every account's own sums.
    second = books.check(since(sealed, seal=tmp_path / "next"))
    assert (first.engine, second.engine) == ("fingerprint", "duckdb")
    for report in (first, second):
        assert (report.verdict, report.grade, report.undone) == (Verdict.VERIFIED, Grade.TAIL, ())
    assert (first.accounts, first.entries, first.verified) == (second.accounts, second.entries, second.verified)
    assert first.verdicts_digest == second.verdicts_digest
    # A balance that moved without an entry, of an account that no new entry touches.
    books.run("update account set balance = balance + 1 where id = 12")
    assert list(wrong(books.check(since(sealed)))) == ["12"]


def test_new_entries_and_accounts_are_verified_from_the_sealed_state_on(books: Books, sealed: Path) -> None:
    before = books.check().entries
    books.run("insert into account values (50, 0, 0)")
    for number in range(30):
        books.move(1 + number % 5, 50, 3)
    report = books.check(since(sealed))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.TAIL)
    assert (report.accounts, report.entries) == (21, before + 60)


def test_what_commits_late_is_in_the_tail_subtransactions_too(books: Books, tmp_path: Path) -> None:
    # The ids of these entries are lower than others' that were sealed: `id > last` would never see them.
    with psycopg.connect(books.dsn) as late:
        books.move(1, 2, 5, late)
        with late.transaction():
            books.move(3, 4, 7, late)
        books.move(5, 6, 1)
        with psycopg.connect(books.dsn) as other, other.transaction():
            other.execute("savepoint inner_one")
            books.move(7, 8, 2, other)
            other.execute("release savepoint inner_one")
        report = books.check(Options(secret=SECRET, seal=tmp_path / "seal"))
        sealed_entries = report.entries
        assert report.position.snapshot.split(":")[2], "somebody was under way"
    report = books.check(since(tmp_path / "seal"))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.TAIL)
    assert report.entries == sealed_entries + 4


@pytest.mark.parametrize(
    "harm",
    [
        "update account set balance = balance + 1 where id = 3",
        "insert into entry (account, amount, transfer, sequence, after) values (19, 4, 9, 1, 4)",
        "update entry set amount = amount + 1 where id = 30",
    ],
)
def test_harm_after_the_seal_is_found_and_named_by_a_full_pass(books: Books, sealed: Path, harm: str) -> None:
    assert books.run(harm) == 1
    report = books.check(since(sealed))
    assert (report.verdict, report.grade) == (Verdict.MISMATCH, Grade.FULL)
    assert report.mismatched == books.check().mismatched != ()


def test_rewritten_rows_that_are_right_are_no_mismatch(books: Books, sealed: Path) -> None:
    books.run("alter table entry add note text; update entry set note = 'backfilled'")
    report = books.check(since(sealed))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.FULL)
    assert any("everything was read" in note for note in report.notes)


@pytest.mark.clause("DRP-3.2b")
def test_a_sealed_entry_that_was_altered_consistently_shows_only_when_the_prefix_is_read_again(
    books: Books, sealed: Path
) -> None:
    # Both legs of one transaction, their running balances, and the accounts: the database agrees with itself.
    books.run("create table victim as select transfer, min(id) as one, max(id) as two from entry group by 1 limit 1")
    books.run(
        "with leg as (select account, sequence, sign(amount) as s from entry, victim where id in (one, two)) "
        "update entry e set after = e.after + l.s, "
        "amount = e.amount + case when e.sequence = l.sequence then l.s else 0 end "
        "from leg l where e.account = l.account and e.sequence >= l.sequence; "
        "update account a set balance = a.balance + sign(e.amount) from entry e, victim v "
        "where e.id in (v.one, v.two) and e.account = a.id"
    )
    # As if it had always been so: the rows' transactions lie before the seal.
    assert books.check().verdict is Verdict.VERIFIED, "internally nothing is wrong"
    report = books.check(since(sealed, reread=True))
    assert (report.verdict, report.grade) == (Verdict.MISMATCH, Grade.PREFIX)
    assert {Name.SEAL} == {name for found in report.mismatched for name in found.failed_checks}
    assert len(report.mismatched) == 2


def test_a_sealed_entry_that_is_gone_is_named_when_the_prefix_is_read_again(books: Books, sealed: Path) -> None:
    assert books.check(since(sealed, reread=True)).verdict is Verdict.VERIFIED
    books.run("delete from entry where id = 40")
    report = books.check(since(sealed, reread=True))
    assert report.verdict is Verdict.MISMATCH
    assert Name.SEAL in next(iter(wrong(report).values())).failed_checks


def test_seals_follow_one_another(books: Books, sealed: Path, tmp_path: Path) -> None:
    last = sealed
    for number in range(3):
        books.move(1 + number, 9, 4)
        following = tmp_path / f"seal-{number}"
        assert books.check(since(last, seal=following)).grade is Grade.TAIL
        last = following
    report = books.check(since(last, reread=True))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.PREFIX)


def test_a_seal_of_another_map_or_database_is_not_used(books: Books, sealed: Path) -> None:
    report = books.check(since(sealed), mapped(entries={"zero_sum": False}))
    assert (report.verdict, report.grade) == (Verdict.VERIFIED, Grade.FULL)
    assert "another map" in report.notes[0]


def test_a_ledger_that_is_not_verified_is_not_sealed(books: Books, tmp_path: Path) -> None:
    books.run("update account set balance = 1 where id = 20")
    report = books.check(Options(secret=SECRET, seal=tmp_path / "seal"))
    assert list(wrong(report)) == ["20"], "what is wrong is told all the same"
    assert "nothing was sealed" in report.undone[0]
    assert not (tmp_path / "seal").exists()


def test_a_seal_needs_its_key_and_every_check(books: Books, sealed: Path) -> None:
    with pytest.raises(BadInput, match="expected one with --key"):
        books.check(Options(since=sealed))
    with pytest.raises(BadInput, match="needs every check"):
        books.check(Options(since=sealed, secret=SECRET, sums_only=True))
    with pytest.raises(BadInput, match="altered, or made with another key"):
        books.check(Options(since=sealed, secret=SECRET[::-1]))


def test_ids_that_no_index_guards_are_not_claimed_from_a_tail(books: Books, tmp_path: Path) -> None:
    books.run("alter table entry drop constraint entry_pkey")
    books.check(Options(secret=SECRET, seal=tmp_path / "seal"))
    check = named(books.check(since(tmp_path / "seal")), Name.UNIQUE_ENTRIES)
    assert check.state is State.NOT_RUN
