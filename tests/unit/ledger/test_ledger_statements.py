"""The statements of the check, as text: quoting, what is read, what never is."""

from __future__ import annotations

import pytest
from ledger_maps import full_ledger, ledger_map, relation

from siaga.errors import BadInput
from siaga.ledger import export, statements
from siaga.ledger.dialects import DuckDb, Postgres
from siaga.ledger.model import Position, Progress
from siaga.ledger.reading import sums_alone
from siaga.ledger.schema import resolve
from siaga.ledger.source import refuse_secrets


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db password=secret",
        "postgresql://user:secret@db/shop",
        "postgresql://db/shop?password=secret",
        "host=db sslpassword=secret",
    ],
)
def test_a_password_in_an_argument_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(BadInput) as refusal:
        refuse_secrets(dsn)
    assert refusal.value.exit_code == 2
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("dsn", ["host=db secret", "postgresql://user:se cret@db:x:y/"])
def test_what_is_no_connection_string_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(BadInput) as refusal:
        refuse_secrets(dsn)
    assert "cret" not in str(refusal.value)


def test_connection_strings_without_secrets_are_taken() -> None:
    refuse_secrets("service=shop passfile=/home/x/.pgpass")
    refuse_secrets("postgresql://auditor@db/shop?sslmode=verify-full")


def test_names_cannot_leave_their_quotes() -> None:
    mapped = ledger_map(entries={"table": '"e; drop table x; --"', "amount": 'a"b'})
    accounts = relation("accounts", id="bigint", balance="bigint", version="bigint")
    names = dict.fromkeys(("account", 'a"b', "id", "transaction", "sequence", "after"), "bigint")
    ledger = resolve(mapped, accounts, relation("e; drop table x; --", **names), "map")
    found = statements.entries(ledger, ("account", "amount"), bounded=True)
    assert found == 'select "account" as "account", "a""b" as "amount" from "public"."e; drop table x; --"'


def test_a_range_of_pages_ends_open_at_the_last() -> None:
    ledger = full_ledger()
    assert statements.entries(ledger, ("account",), bounded=True, pages=(3, 7)).endswith(
        "where ctid >= '(3,0)' and ctid < '(7,0)'"
    )
    assert statements.entries(ledger, ("account",), bounded=True, pages=(7, None)).endswith("where ctid >= '(7,0)'")


def test_sums_alone_read_only_accounts_and_amounts() -> None:
    reduced = sums_alone(full_ledger())
    assert statements.fields_read(reduced, with_ids=False) == ("account", "amount")


def test_money_that_fits_64_bits_is_folded_in_64_bits() -> None:
    assert DuckDb(full_ledger()).unit_type == "bigint"
    cents = dict.fromkeys(("amount", "balance", "after"), "numeric(12,2)")
    assert DuckDb(full_ledger(**cents)).unit_type == "bigint"
    assert DuckDb(full_ledger(amount="numeric(30,2)")).unit_type == "hugeint"
    assert Postgres(full_ledger()).unit_type == "bigint"
    assert Postgres(full_ledger(), wide=True).unit_type == "numeric"


def test_the_key_is_in_no_statement_that_the_database_sees() -> None:
    ledger = full_ledger()
    rows = statements.entries(ledger, ledger.shape.fields, bounded=True)
    assert "5ecret" in statements.folded(ledger, DuckDb(ledger), rows, key="5ecret", digests=True)
    assert "5ecret" not in rows


def test_an_auditors_sql_has_a_statement_for_every_check() -> None:
    text = export.plain_sql(full_ledger())
    for words in ("Balance, count, orphans", "there twice", "without a gap", "do not sum to zero", "two entries share"):
        assert words in text
    assert "hash" not in text


def test_progress_tells_rate_and_time_left_only_where_it_knows() -> None:
    half = Progress("reading", 500, 1000, 2.0)
    assert (half.rows_per_s, half.seconds_left) == (250.0, 2.0)
    assert Progress("reading", 0, 0, 0.0).seconds_left is None


def test_the_same_snapshot_of_another_timeline_is_another_content() -> None:
    one = Position("1", 1, "db", False, False, "0/1", "5:9:6", 180000)
    assert one.same_content(Position("1", 1, "db", False, False, "0/2", "5:9:6", 180000))
    assert not one.same_content(Position("1", 2, "db", False, False, "0/1", "5:9:6", 180000))
