"""Quorum, snapshots, schema, replay classes, positions: the journal's small judgements."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.journal import lsn
from siaga.journal.gaps import Branch
from siaga.journal.horizon import snapshot
from siaga.journal.lost import Step, lost, plan
from siaga.journal.pgoutput import Column, Relation, Unchanged
from siaga.journal.quorum import Standby, acknowledged
from siaga.journal.records import ENTRY_FIELDS, FLAT_FIELDS, flat, xid_with_epoch
from siaga.journal.replication import history
from siaga.journal.schema import Role, SchemaChanged, Table, follow
from siaga.ledger.map import Transactions

pytestmark = pytest.mark.clause("DRP-3.2b")

THREE = [Standby("quorum", 100), Standby("quorum", 300), Standby("quorum", 200), Standby("async", 900)]


@pytest.mark.parametrize(
    ("names", "standbys", "expected"),
    [
        ("", [], 500),
        ("ANY 2 (a, b, c)", THREE, 200),
        ("any 3 (a, b, c)", THREE, 100),
        ("ANY 4 (a, b, c, d)", THREE, None),
        ('FIRST 2 ("a", b)', [Standby("sync", 100), Standby("sync", 80), Standby("potential", 300)], 80),
        ("a, b", [Standby("sync", 70), Standby("potential", 300)], 70),
        ("ANY 1 (a)", [Standby("quorum", None)], None),
    ],
)
def test_what_had_its_quorum_is_what_the_wanted_number_of_standbys_has(
    names: str, standbys: list[Standby], expected: int | None
) -> None:
    assert acknowledged(names, standbys, 500) == expected


def test_a_snapshot_sees_what_was_over_and_not_what_ran() -> None:
    found = snapshot("100:110:102,105")
    assert [xid for xid in range(98, 112) if not found.sees(xid)] == [102, 105, 110, 111]
    assert snapshot("7:7:").sees(6)
    with pytest.raises(BadInput):
        snapshot("7")


@given(st.integers(3, 2**50), st.integers(-(2**31) + 1, 2**31 - 1))
def test_a_transaction_id_gets_the_epoch_of_its_neighbours(near: int, distance: int) -> None:
    true = max(3, near + distance)
    if abs(true - near) < 2**31:
        assert xid_with_epoch(true & 0xFFFFFFFF, near) == true


@given(st.integers(0, 2**64 - 1))
def test_a_position_is_written_and_read(position: int) -> None:
    assert lsn.parse(lsn.show(position)) == position


def test_a_position_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="expected one such as"):
        lsn.parse("0/XYZ")


def test_a_timeline_history_names_each_branch() -> None:
    content = "1\t0/16B3748\tno recovery target specified\n# a remark\n\n2\t1/0\tbefore 2026-11-23 03:00:00+07\n"
    assert history(content) == (Branch(1, 0x16B3748), Branch(2, 1 << 32))


ENTRIES = Table(Role.ENTRIES, "bank", "entries", {"account": "owner", "amount": "money"}, {"owner": 25, "money": 20})


def _relation(*columns: Column, table: str = "entries") -> Relation:
    return Relation(1, "bank", table, columns)


def test_a_followed_table_gives_entries_by_field_whatever_the_order_of_its_columns() -> None:
    found = follow(
        _relation(Column("money", 23, False), Column("note", 25, False), Column("owner", 1043, False)),
        {("bank", "entries"): ENTRIES},
    )
    record = found.entry(("5", "x", "me"))
    assert dict(zip(ENTRY_FIELDS, record[1:], strict=True)) == dict.fromkeys(ENTRY_FIELDS) | {
        "account": "me",
        "amount": "5",
    }
    assert found.values(("5", Unchanged.UNCHANGED, "me")) == {"money": "5", "owner": "me"}


@pytest.mark.parametrize(
    ("relation", "named"),
    [
        (_relation(Column("owner", 25, False)), "bank.entries has no column `money`"),
        (_relation(Column("owner", 25, False), Column("money", 1700, False)), "column `money` of bank.entries"),
        (_relation(table="other"), "bank.other"),
    ],
)
def test_a_table_that_is_not_the_mapped_one_is_named(relation: Relation, named: str) -> None:
    with pytest.raises(SchemaChanged, match=named):
        follow(relation, {("bank", "entries"): ENTRIES})


MAPPED = Transactions.model_validate(
    {
        "table": "t",
        "id": "id",
        "key": "key",
        "type": "kind",
        "classes": {"transfer": "ledger-only", "deposit": "with-effects"},
    }
)


def _rows(acknowledged: bool, lsn_: int, key: str | None, kind: str) -> list[tuple[bool, tuple[object, ...]]]:
    """A transaction of one entry with its row, changed once after it was made."""
    entry = {"account": "a", "amount": "5", "transaction": str(lsn_)}
    records = [
        ["begin", lsn_, lsn_, 0],
        ["row", {"id": str(lsn_), "key": key, "kind": "unset"}],
        ["row", {"id": str(lsn_), "kind": kind}],
        ["entry", *(entry.get(field) for field in ENTRY_FIELDS)],
        ["commit", lsn_ + 1],
    ]
    return [(acknowledged, row) for row in flat(records)]


def test_only_acknowledged_ledger_only_transactions_go_back_by_themselves() -> None:
    rows = [
        *_rows(True, 1, "k1", "transfer"),
        *_rows(True, 2, "k2", "deposit"),
        *_rows(True, 3, "k3", "unheard-of"),
        *_rows(True, 4, None, "transfer"),
        *_rows(True, 5, "k5", "transfer"),
        *_rows(False, 6, "k6", "transfer"),
        *_rows(False, 7, "k7", "transfer"),
    ]
    found = list(lost(rows, MAPPED))
    assert [each.kind for each in found[:2]] == ["transfer", "deposit"]
    planned = list(plan(found, named={"k3", "k7"}, given_back={"k5"}))
    assert [each.lost.key for each in planned if each.step is Step.REPLAY] == ["k1", "k3", "k7"]
    why = {each.lost.key: each.why for each in planned}
    assert "in doubt" in why["k6"]
    assert "with-effects" in why["k2"]
    assert "no idempotency key" in why[None]
    assert "again" in why["k5"]


def test_without_a_transactions_table_everything_lost_is_a_persons_to_decide() -> None:
    (found,) = lost(_rows(True, 1, "k", "transfer"), None)
    (planned,) = plan([found], named=(), given_back=())
    assert planned.step is Step.LEAVE
    assert found.entries[0].amount == "5"


def test_the_flat_form_carries_every_field_of_an_entry() -> None:
    (row,) = flat([["begin", 9, 8, 7], ["entry", *map(str, range(len(ENTRY_FIELDS)))], ["commit", 9]])
    named = dict(zip(FLAT_FIELDS, row, strict=True))
    assert (named["xid"], named["lsn"], named["committed_us"], named["time"]) == (9, 8, 7, str(len(ENTRY_FIELDS) - 1))
    assert json.loads(json.dumps(named)) == named
