"""`--deep` on what holds its rows elsewhere: a view, a foreign table."""

from __future__ import annotations

import pytest
from books import Books, mapped, named

from siaga.ledger.model import Name, State, Verdict
from siaga.ledger.reading import Options

pytestmark = pytest.mark.clause("DRP-3.2b")


def test_the_structure_of_a_view_is_not_run_and_the_reason_is_said(books: Books) -> None:
    books.run("create extension amcheck; create view seen as select * from entry")
    report = books.check(Options(deep=True), mapped(entries={"table": "seen"}))
    check = named(report, Name.STRUCTURE)
    assert (check.state, check.failed) == (State.NOT_RUN, 0)
    assert "seen is a view" in check.why
    assert check.rows == 2, "the other table and its index were looked at"
    assert report.verdict is Verdict.INCOMPLETE


def test_a_partition_that_is_a_foreign_table_is_not_called_examined(books: Books) -> None:
    books.run(
        "create extension amcheck; create extension postgres_fdw; "
        "create server away foreign data wrapper postgres_fdw options (host '127.0.0.1', "
        f"port '{books.server.port}', dbname '{books.database}'); "
        "create user mapping for current_user server away options (user 'postgres', password_required 'false'); "
        "create table parted (like entry) partition by range (id); "
        "create table low partition of parted for values from (minvalue) to (100000); "
        "create table apart (like entry); "
        "create foreign table high partition of parted for values from (100000) to (maxvalue) "
        "server away options (table_name 'apart'); insert into parted select * from entry"
    )
    report = books.check(Options(deep=True), mapped(entries={"table": "parted"}))
    check = named(report, Name.STRUCTURE)
    assert check.state is State.NOT_RUN
    assert "high is a foreign table" in check.why
    assert "low" not in check.why
