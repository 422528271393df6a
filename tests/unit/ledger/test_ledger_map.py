"""The ledger map: what it says, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_maps import FULL, ledger_map, relation

from siaga.errors import BadInput
from siaga.ledger.load import load, loads
from siaga.ledger.map import ReplayClass
from siaga.ledger.schema import resolve

TOML = b"""
[accounts]
table = "pgbench_accounts"
id = "aid"
balance = "abalance"
[entries]
table = "pgbench_history"
account = "aid"
amount = "delta"
"""


def test_the_shortest_map_of_the_architecture_is_read() -> None:
    found = loads(TOML, origin="map")
    assert found.accounts.qualified == (None, "pgbench_accounts")
    assert found.entries.amount == "delta"
    assert not found.entries.sums_to_zero


def test_every_mistake_is_named_with_field_value_and_expectation() -> None:
    text = TOML.replace(b'balance = "abalance"', b"balance = 7\ncurency = 'x'").replace(b'amount = "delta"', b"")
    with pytest.raises(BadInput) as refusal:
        loads(text, origin="ledger.toml")
    lines = refusal.value.message.splitlines()
    assert any("accounts.balance = 7: expected" in line for line in lines)
    assert any("accounts.curency" in line and "did you mean `currency`?" in line for line in lines)
    assert any("`amount`, or both `debit` and `credit`" in line for line in lines)
    assert all(line.startswith("ledger.toml: ") for line in lines)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("content", [b"[accounts", b"\xff\xfe", b"accounts = 3", b"x" * (1 << 20) + b"yy"])
def test_what_is_no_map_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.toml: no such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("table", "qualified"),
    [
        ("entries", (None, "entries")),
        ("wallet.entries", ("wallet", "entries")),
        ('books."Account balances"', ("books", "Account balances")),
        ('"odd.schema"."with ""quotes"""', ("odd.schema", 'with "quotes"')),
    ],
)
def test_table_names_are_as_in_sql(table: str, qualified: tuple[str | None, str]) -> None:
    assert ledger_map(entries={"table": table}).entries.qualified == qualified


@pytest.mark.parametrize("table", ["", "a.b.c", '"open', " lead", "a..b"])
def test_what_is_no_table_name_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="table"):
        ledger_map(entries={"table": table})


def test_an_amount_is_one_column_or_two_never_both() -> None:
    both = ledger_map(entries={"amount": None, "debit": "debit", "credit": "credit"})
    assert both.entries.debit == "debit"
    with pytest.raises(ValueError, match="amount"):
        ledger_map(entries={"debit": "debit", "credit": "credit"})
    with pytest.raises(ValueError, match="amount"):
        ledger_map(entries={"amount": None, "debit": "debit"})


def test_money_is_never_a_floating_point_number() -> None:
    with pytest.raises(ValueError, match="opening"):
        ledger_map(accounts={"opening": 1.5})


def test_zero_sum_applies_where_transactions_are_mapped_unless_said_otherwise() -> None:
    assert ledger_map().entries.sums_to_zero
    assert not ledger_map(entries={"zero_sum": False}).entries.sums_to_zero
    with pytest.raises(ValueError, match="transaction"):
        ledger_map(entries={"transaction": None, "zero_sum": True})


def test_a_type_without_a_class_is_replayed_by_a_person() -> None:
    found = ledger_map(transactions={"table": "transfers", "id": "id", "classes": {"transfer": "ledger-only"}})
    assert found.transactions is not None
    assert found.transactions.replay_class("transfer") is ReplayClass.LEDGER_ONLY
    assert found.transactions.replay_class("deposit") is ReplayClass.MANUAL
    assert found.transactions.replay_class(None) is ReplayClass.MANUAL


def test_the_digest_follows_what_decides_the_checks_alone() -> None:
    assert ledger_map().digest() == ledger_map(system_accounts={"where": "kind = 'float'"}).digest()
    assert ledger_map().digest() != ledger_map(entries={"zero_sum": False}).digest()


def test_a_missing_column_is_named_with_near_ones() -> None:
    accounts = relation("accounts", id="bigint", balanse="bigint", version="bigint")
    entries = relation("entries", **dict.fromkeys(("account", "amount", "id", "transaction", "sequence"), "bigint"))
    with pytest.raises(BadInput) as refusal:
        resolve(ledger_map(), accounts, entries, "map")
    assert "accounts.balance = `balance`: public.accounts has no such column, did you mean `balanse`?" in str(
        refusal.value
    )
    assert "entries.balance_after = `after`: public.entries has no such column, expected one of account" in str(
        refusal.value
    )


@pytest.mark.parametrize("kind", ["real", "double precision"])
def test_floating_point_money_is_refused_with_why(kind: str) -> None:
    names = dict.fromkeys(("account", "id", "transaction", "sequence", "after"), "bigint")
    with pytest.raises(BadInput, match="floating point has no exact sums") as refusal:
        resolve(
            ledger_map(),
            relation("accounts", id="bigint", balance="bigint", version="bigint"),
            relation("entries", amount=kind, **names),
            "map",
        )
    assert f"entries.amount = `amount`: {kind}" in refusal.value.message


def test_a_numeric_without_scale_needs_the_decimals() -> None:
    accounts = relation("accounts", id="bigint", balance="numeric", version="bigint")
    names = dict.fromkeys(("account", "amount", "id", "transaction", "sequence", "after"), "bigint")
    entries = relation("entries", **names)
    with pytest.raises(BadInput, match=r"accounts\.decimals: missing"):
        resolve(ledger_map(), accounts, entries, "map")
    assert resolve(ledger_map(accounts={"decimals": 2}), accounts, entries, "map").decimals == 2


def test_the_largest_declared_scale_is_the_ledgers() -> None:
    accounts = relation("accounts", id="bigint", balance="numeric(20,4)", version="bigint")
    names = dict.fromkeys(("account", "id", "transaction", "sequence"), "bigint")
    entries = relation("entries", amount="numeric(12,2)", after="numeric(20,4)", **names)
    assert resolve(ledger_map(), accounts, entries, "map").decimals == 4
    with pytest.raises(BadInput, match="at least 4"):
        resolve(ledger_map(accounts={"decimals": 2}), accounts, entries, "map")


def test_full_is_what_the_other_tests_build_on() -> None:
    assert ledger_map().model_dump(exclude_defaults=True) == FULL
