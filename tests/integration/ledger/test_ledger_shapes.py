"""Any ledger by its map: types of ids and money, views, partitions, currencies, empty sides, large numbers, NULLs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from books import EVERYTHING, Books, mapped, named, wrong

from benchmarks.ledger.server import Server
from siaga.ledger.accumulators import entry, fold
from siaga.ledger.crosscheck import check, tables
from siaga.ledger.load import loads
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Fault, JournalResult, Name, Position, State, Verdict
from siaga.ledger.propose import propose, toml
from siaga.ledger.reading import EngineName, Options

ENGINES: tuple[EngineName, ...] = ("auto", "duckdb", "postgres")
every_engine = pytest.mark.parametrize("engine", ENGINES)


class Kept:
    """Keeps the database's accumulators, as a journal receives them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str | None, str | None], tuple[int, ...]] = {}

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        found = duckdb.sql(
            f"select account, currency, count, amount_sum, sequence_sum, digest from '{accumulators}'"
        ).fetchall()
        self.rows = {(row[0], row[1]): tuple(int(number) for number in row[2:]) for row in found}
        return JournalResult(True, "kept", len(found))


@pytest.mark.parametrize("shape", ["wallet", "pgbench", "text"])
def test_database_and_python_fold_the_same_accumulators(server: Server, templates: dict[str, str], shape: str) -> None:
    from benchmarks.ledger.shapes import SHAPES
    from siaga.ledger import catalog, statements

    ledger_map = next(found.map for found in SHAPES if found.name == shape)
    kept = Kept()
    dsn = server.dsn(templates[shape])
    check(dsn, ledger_map, Options(journal=kept))
    with server.connect(templates[shape]) as connection:
        ledger = catalog.ledger(connection, ledger_map)
        fields = ledger.shape.fields
        rows = statements.entries(ledger, fields, bounded=False)
        texts = ", ".join(f"{field}::text" for field in fields)
        found = connection.execute(f"select {texts} from ({rows}) r").fetchall()  # type: ignore[arg-type]
    by_python = fold((entry(dict(zip(fields, row, strict=True)), ledger.shape) for row in found), ledger.shape)
    expected = {key: (a.count, a.amount_sum, a.sequence_sum, a.digest) for key, a in by_python.items()}
    assert kept.rows == expected


@every_engine
def test_a_ledger_without_accounts_is_verified_as_empty(books: Books, engine: EngineName) -> None:
    books.run("truncate account, entry")
    report = books.check(Options(engine=engine))
    assert (report.verdict, report.accounts, report.entries, report.verified) == (Verdict.VERIFIED, 0, 0, 0)


@every_engine
def test_accounts_without_entries_must_be_at_their_opening_balance(books: Books, engine: EngineName) -> None:
    assert books.check(Options(engine=engine)).verified == 20
    assert books.run("update account set balance = 5 where id = 20") == 1
    report = books.check(Options(engine=engine))
    assert list(wrong(report)) == ["20"]
    assert wrong(report)["20"].difference == 5


@every_engine
def test_entries_without_an_account_are_orphans_and_taint_their_counterparties(
    books: Books, engine: EngineName
) -> None:
    books.move(1, 2, 5)
    books.run("update entry set account = 999 where id = (select max(id) from entry where account = 2)")
    report = books.check(Options(engine=engine))
    assert wrong(report)["999"].failed_checks == (Name.ORPHANS,)
    assert named(report, Name.ORPHANS).failed == 1
    assert report.verified == 20 - len(set(wrong(report)) - {"999"}) - len(report.tainted)


@every_engine
def test_an_account_that_is_there_twice_is_named(books: Books, engine: EngineName) -> None:
    books.run(
        "alter table account drop constraint account_pkey; insert into account select * from account where id = 4"
    )
    report = books.check(Options(engine=engine))
    assert Name.UNIQUE_ACCOUNTS in wrong(report)["4"].failed_checks


@every_engine
def test_an_id_that_two_entries_share_is_found_where_no_index_forbids_it(books: Books, engine: EngineName) -> None:
    assert named(books.check(Options(engine=engine)), Name.UNIQUE_ENTRIES).covered
    books.run("alter table entry drop constraint entry_pkey; alter table entry alter id drop identity")
    assert named(books.check(Options(engine=engine)), Name.UNIQUE_ENTRIES).state is State.RUN
    books.run("update entry set id = 1 where id = 30")
    report = books.check(Options(engine=engine))
    assert named(report, Name.UNIQUE_ENTRIES).failed == 1
    assert all(Name.UNIQUE_ENTRIES in found.failed_checks for found in report.mismatched)
    assert {f.fault for found in report.mismatched for f in found.entries} == {Fault.EXTRA}


@every_engine
def test_nulls_are_named_never_skipped(books: Books, engine: EngineName) -> None:
    books.run("alter table entry alter amount drop not null, alter transfer drop not null, alter account drop not null")
    books.run("alter table account alter balance drop not null")
    books.run("update entry set amount = null where id = 10")
    books.run("update entry set transfer = null where id = 20")
    books.run("update account set balance = null where id = 19")
    report = books.check(Options(engine=engine))
    owners = {str(row[0]) for row in books.connection.execute("select account from entry where id in (10, 20)")}
    found = {account for account, m in wrong(report).items() if Name.VALUES in m.failed_checks}
    assert found == owners | {"19"}
    books.run("insert into entry (account, amount, transfer, sequence, after) values (null, 3, 1, 1, 3)")
    assert Name.ORPHANS in wrong(books.check(Options(engine=engine)))[None].failed_checks


@every_engine
def test_numbers_at_the_edge_of_64_bits_are_exact(books: Books, engine: EngineName) -> None:
    large = 2**63 - 1
    books.run(
        f"insert into account values (101, {large}, 1), (102, -{large}, 1), (103, {large}, 3); "
        "insert into entry (account, amount, transfer, sequence, after) values "
        f"(101, {large}, 9001, 1, {large}), (102, -{large}, 9001, 1, -{large}), "
        f"(103, {large}, 9002, 1, {large}), (103, -{large}, 9002, 2, 0), (103, {large}, 9003, 3, {large})"
    )
    zero_sum_off = mapped(entries={"zero_sum": False})
    assert books.check(Options(engine=engine), zero_sum_off).verdict is Verdict.VERIFIED
    books.run("update account set balance = balance - 1 where id = 101")
    report = books.check(Options(engine=engine), zero_sum_off)
    assert list(wrong(report)) == ["101"]
    assert wrong(report)["101"].difference == -1


def _numeric(books: Books, kind: str) -> LedgerMap:
    books.run(f"alter table account alter balance type {kind}; alter table entry alter amount type {kind}")
    books.run(f"alter table entry alter after type {kind}")
    return mapped(accounts={"decimals": 4} if "(" not in kind else {})


@pytest.mark.parametrize("kind", ["numeric(14,2)", "numeric(38,10)", "numeric(60,4)", "numeric"])
@pytest.mark.parametrize("engine", ["auto", "postgres"])
def test_numeric_money_is_exact_whatever_its_size(books: Books, kind: str, engine: EngineName) -> None:
    ledger_map = _numeric(books, kind)
    assert books.check(Options(engine=engine), ledger_map).verdict is Verdict.VERIFIED
    books.run("update account set balance = balance + 0.01 where id = 3")
    report = books.check(Options(engine=engine), ledger_map)
    assert {m.account: m.difference for m in report.mismatched} == {"3": Decimal("0.01")}


@pytest.mark.parametrize("change", ["-balance", "balance * 10000", "balance / 10000"])
@pytest.mark.parametrize("engine", ["auto", "postgres", "duckdb"])
def test_a_numeric_balance_with_another_sign_or_magnitude_is_wrong(
    books: Books, change: str, engine: EngineName
) -> None:
    ledger_map = _numeric(books, "numeric(38,10)")
    before = books.check(Options(engine=engine), ledger_map)
    (account,) = books.connection.execute("select id::text from account where balance <> 0 limit 1").fetchall()[0]
    books.run(f"update account set balance = {change} where id = {account}")
    report = books.check(Options(engine=engine), ledger_map)
    assert list(wrong(report)) == [account]
    assert report.verdicts_digest != before.verdicts_digest


def test_a_sign_is_told_where_whole_numbers_need_more_than_64_bits(books: Books) -> None:
    large = 1 << 60
    books.run(
        "insert into account values (101, 0, 2), (102, 0, 2); insert into entry "
        "(account, amount, transfer, sequence, after) values "
        f"(101, {large}, 9001, 1, {large}), (102, -{large}, 9001, 1, -{large}),"
        f"(101, -{large}, 9002, 2, 0), (102, {large}, 9002, 2, 0)"
    )
    assert books.check().verdict is Verdict.VERIFIED
    books.run("update account set balance = -balance where id = 3")
    assert list(wrong(books.check())) == ["3"]


@every_engine
def test_a_version_that_folds_to_the_right_one_in_32_bits_is_wrong(books: Books, engine: EngineName) -> None:
    books.run("update account set version = (1::bigint << 32) + (version # 1) where id = 3")
    assert list(wrong(books.check(Options(engine=engine)))) == ["3"]


def test_a_null_that_a_domain_lets_in_is_found(books: Books) -> None:
    books.run("create domain minor_units as bigint not null")
    books.run("alter table account alter balance drop not null, alter balance type minor_units")
    books.run("insert into account (id, balance, version) values (999, (select balance from account where false), 0)")
    columns = mapped(entries={"balance_after": None})
    assert list(wrong(books.check(ledger_map=columns))) == ["999"]


def test_a_percent_sign_in_a_condition_of_the_map_is_one(books: Books) -> None:
    ledger_map = mapped(accounts={"where": "'50 %' like '50%'"})
    assert books.check(Options(engine="duckdb"), ledger_map).verdict is Verdict.VERIFIED


def test_numbers_beyond_38_digits_go_to_the_databases_own_arithmetic(books: Books, tmp_path: Path) -> None:
    ledger_map = _numeric(books, "numeric")
    huge = "1" + "0" * 60
    books.run(
        f"insert into account values (201, -{huge}, 1), (202, {huge}, 1); insert into entry "
        "(account, amount, transfer, sequence, after) values "
        f"(201, -{huge}, 9001, 1, -{huge}), (202, {huge}, 9001, 1, {huge})"
    )
    report = books.check(Options(export=tmp_path), ledger_map)
    assert (report.verdict, report.engine) == (Verdict.VERIFIED, "postgres")
    assert any("too large" in note for note in report.notes)
    first = books.check(Options(), ledger_map)
    assert (first.verdict, first.engine) == (Verdict.VERIFIED, "fingerprint")


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "0.00001"])
@every_engine
def test_money_that_has_no_exact_sum_is_unreadable(books: Books, value: str, engine: EngineName) -> None:
    ledger_map = _numeric(books, "numeric")
    books.run(f"update entry set amount = {value} where id = 7")
    report = books.check(Options(engine=engine), ledger_map)
    account = str(books.connection.execute("select account from entry where id = 7").fetchall()[0][0])
    assert Name.VALUES in wrong(report)[account].failed_checks
    assert Fault.UNREADABLE in {f.fault for f in wrong(report)[account].entries}


@every_engine
def test_debit_and_credit_columns_make_the_amount(books: Books, engine: EngineName) -> None:
    books.run("alter table entry add debit bigint, add credit bigint")
    books.run("update entry set debit = -amount where amount < 0; update entry set credit = amount where amount >= 0")
    books.run("alter table entry drop amount")
    columns = mapped(entries={"amount": None, "debit": "debit", "credit": "credit"})
    assert books.check(Options(engine=engine), columns).verdict is Verdict.VERIFIED
    assert books.run("update entry set debit = -1 where id = (select min(id) from entry where debit is not null)") == 1
    report = books.check(Options(engine=engine), columns)
    assert [Name.VALUES in found.failed_checks for found in report.mismatched] == [True]


@every_engine
def test_views_are_read_as_tables_are(books: Books, engine: EngineName) -> None:
    books.run("create view book as select id as number, balance, version from account where id < 100")
    books.run("create view line as select * from entry")
    views = mapped(accounts={"table": "book", "id": "number"}, entries={"table": "line"})
    report = books.check(Options(engine=engine), views)
    assert (report.verdict, report.accounts) == (Verdict.VERIFIED, 20)
    books.run("update entry set amount = amount + 1 where id = 5")
    assert books.check(Options(engine=engine), views).verdict is Verdict.MISMATCH


@every_engine
def test_a_condition_leaves_rows_out_and_may_hold_a_percent_sign(books: Books, engine: EngineName) -> None:
    books.run("alter table account add kind text default 'user'; alter table entry add kind text default 'user'")
    books.run("insert into account values (500, 77, 0, '50% draft'); update account set balance = 1 where id = 20")
    only = mapped(
        accounts={"where": "kind not like '50%'"},
        entries={"where": "kind = 'user'"},
        system_accounts={"where": "id <= 2", "ids": [19]},
    )
    report = books.check(Options(engine=engine), only)
    assert (report.accounts, list(wrong(report))) == (20, ["20"])
    assert (report.system_accounts, report.system_verified) == (3, 3)
    books.run("update account set balance = balance + 1 where id in (1, 2)")
    report = books.check(Options(engine=engine), only)
    assert [m.account for m in report.mismatched if m.system] == ["1", "2"]
    assert [m.account for m in report.mismatched] == ["1", "2", "20"], "the platform's own come first"
    assert report.system_verified == 1


@every_engine
def test_an_entry_in_a_foreign_currency_is_named_as_that(books: Books, engine: EngineName) -> None:
    books.run("alter table account add currency text default 'EUR'; alter table entry add currency text default 'EUR'")
    both = mapped(accounts={"currency": "currency"}, entries={"currency": "currency"})
    assert books.check(Options(engine=engine), both).verdict is Verdict.VERIFIED
    books.run("update entry set currency = 'IDR' where id = 12")
    report = books.check(Options(engine=engine), both)
    foreign = next(m for m in report.mismatched if m.currency == "IDR")
    assert foreign.failed_checks == (Name.CURRENCY,)
    assert named(report, Name.CURRENCY).failed == 1
    assert named(report, Name.TRANSACTION_ZERO_SUM).failed == 2, "its transaction is off in both currencies"
    one = mapped(entries={"currency": "currency"})
    report = books.check(Options(engine=engine), one)
    assert [Name.CURRENCY in m.failed_checks for m in report.mismatched] == [True]


@every_engine
def test_currencies_that_only_accounts_know_are_balanced_apart(books: Books, engine: EngineName) -> None:
    books.run("alter table account add currency text default 'EUR'; update account set currency = 'IDR' where id > 17")
    ledger_map = mapped(accounts={"currency": "currency"})
    assert books.check(Options(engine=engine), ledger_map).verdict is Verdict.VERIFIED
    # 5 EUR became 5 IDR: in total nothing is missing.
    books.move(1, 18, 5)
    report = books.check(Options(engine=engine), ledger_map)
    assert named(report, Name.TRANSACTION_ZERO_SUM).failed == 2
    assert {found.account for found in report.tainted} == {"1", "18"}


@every_engine
def test_ids_of_different_types_are_compared_as_text(books: Books, engine: EngineName) -> None:
    books.run("alter table entry alter account type text")
    assert books.check(Options(engine=engine)).verdict is Verdict.VERIFIED
    assert books.run("update entry set account = '02' where id = (select max(id) from entry where account = '2')")
    assert "02" in wrong(books.check(Options(engine=engine)))


@every_engine
def test_one_account_with_all_entries_is_no_special_case(books: Books, engine: EngineName) -> None:
    books.run("truncate entry; update account set balance = 0, version = 0")
    books.run(
        "insert into entry (account, amount, transfer, sequence, after) "
        "select 1, 2, n, n, 2 * n from generate_series(1, 200000) n; "
        "update account set balance = 400000, version = 200000 where id = 1; analyze"
    )
    no_zero_sum = mapped(entries={"zero_sum": False})
    assert books.check(Options(engine=engine), no_zero_sum).verdict is Verdict.VERIFIED
    books.run("update entry set amount = amount + 1 where sequence % 2 = 0")
    report = books.check(Options(engine=engine), no_zero_sum)
    assert not report.mismatched[0].entries_shown, "a hundred places are enough to see what happened"
    assert len(report.mismatched[0].entries) <= 100


@every_engine
def test_a_sequence_may_begin_anywhere(books: Books, engine: EngineName) -> None:
    books.run("update entry set sequence = sequence - 1; update account set version = version - 1")
    from_zero = mapped(entries={"first_sequence": 0})
    assert books.check(Options(engine=engine), from_zero).verdict is Verdict.VERIFIED
    assert books.check(Options(engine=engine)).verdict is Verdict.MISMATCH


def test_a_proposed_map_checks_the_ledger_it_was_proposed_for(books: Books) -> None:
    books.run("alter table entry add foreign key (account) references account")
    books.run("alter table entry rename after to balance_after; create table noise (id int, balance text)")
    proposal = propose(tables(books.dsn))
    assert proposal is not None
    ledger_map = loads(toml(proposal).encode(), origin="proposal")
    assert ledger_map.entries.model_dump(exclude_none=True) | {"table": ""} == mapped(
        entries={"balance_after": "balance_after"}
    ).entries.model_dump(exclude_none=True) | {"table": ""}
    assert books.check(ledger_map=ledger_map).verdict is Verdict.VERIFIED


def test_nothing_is_proposed_where_nothing_is_a_ledger(books: Books) -> None:
    books.run("drop table entry, account; create table noise (id int, balance text)")
    assert propose(tables(books.dsn)) is None


def test_the_map_of_these_tests_names_every_check(books: Books) -> None:
    states = {check.name: check.state for check in books.check(ledger_map=EVERYTHING).checks}
    assert [name for name, state in states.items() if state is State.NOT_APPLICABLE] == [
        Name.ARITHMETIC, Name.CURRENCY, Name.SEAL, Name.JOURNAL,
    ]  # fmt: skip


def test_an_amount_of_more_than_32_bits_is_read_again_and_judged_exactly(books: Books, tmp_path: Path) -> None:
    secret, seal = b"k" * 32, tmp_path / "seal"
    books.move(1, 2, 1 << 40)
    report = books.check(Options(secret=secret, seal=seal))
    assert (report.verdict, report.engine) == (Verdict.VERIFIED, "duckdb")
    books.move(2, 3, 1 << 41)
    tail = books.check(Options(secret=secret, since=seal))
    assert (tail.verdict, tail.grade, tail.engine) == (Verdict.VERIFIED, "tail", "duckdb")
    # One unit in two to the fortieth, in log and balance alike: only the transaction's sum tells.
    books.run("update entry set amount = amount - 1, after = after - 1 where amount = -1099511627776")
    books.run("update account set balance = balance - 1 where id = 1")
    report = books.check()
    assert (report.verdict, report.engine) == (Verdict.MISMATCH, "duckdb")
    assert named(report, Name.TRANSACTION_ZERO_SUM).failed == 1
