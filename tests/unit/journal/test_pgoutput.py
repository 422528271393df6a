"""The stream's messages, parsed from bytes as PostgreSQL 18 sends them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.journal import pgoutput
from siaga.journal.pgoutput import Column, Delete, Insert, ProtocolFault, Unchanged, Update, parse

RELATION = (
    b"R\x00\x00\x40\x00public\x00t\x00d\x00\x03\x01id\x00\x00\x00\x00\x17\xff\xff\xff\xffa\x00\x00\x00\x06\xa4\xff\xff\xff\xff"
    b"\x00b\x00\x00\x00\x00\x19\xff\xff\xff\xff"
).replace(b"\xff\xff\xff\xffa\x00", b"\xff\xff\xff\xff\x00a\x00")


def _row(*values: bytes | None | Unchanged) -> bytes:
    content = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            content += b"n"
        elif isinstance(value, Unchanged):
            content += b"u"
        else:
            content += b"t" + struct.pack(">I", len(value)) + value
    return content


def test_a_relation_names_its_columns_types_and_key() -> None:
    assert parse(RELATION) == pgoutput.Relation(
        0x4000, "public", "t", (Column("id", 23, True), Column("a", 1700, False), Column("b", 25, False))
    )


def test_begin_and_commit_hold_positions_xid_and_time() -> None:
    at_us = 1_700_000_000_000_000
    begin = b"B" + struct.pack(">QqI", 0x16B3748, at_us - pgoutput.EPOCH_US, 757)
    assert parse(begin) == pgoutput.Begin(0x16B3748, at_us, 757)
    commit = b"C\x00" + struct.pack(">QQq", 0x16B3748, 0x16B3778, 0)
    assert parse(commit) == pgoutput.Commit(0x16B3778)


def test_rows_are_texts_nulls_and_untouched_large_values() -> None:
    assert parse(b"I\x00\x00\x40\x00N" + _row(b"1", None, "é".encode())) == Insert(0x4000, ("1", None, "é"))
    large = Unchanged.UNCHANGED
    assert parse(b"U\x00\x00\x40\x00N" + _row(b"1", large)) == Update(0x4000, None, ("1", large))
    with_key = b"U\x00\x00\x40\x00K" + _row(b"0", None) + b"N" + _row(b"1", b"x")
    assert parse(with_key) == Update(0x4000, ("0", None), ("1", "x"))
    assert parse(b"D\x00\x00\x40\x00K" + _row(b"1", None)) == Delete(0x4000, ("1", None))


def test_truncate_origin_type_and_message_are_understood() -> None:
    assert parse(b"T\x00\x00\x00\x02\x00" + struct.pack(">II", 5, 6)) == pgoutput.Truncate((5, 6))
    assert parse(b"O" + bytes(8) + b"pg_16385\x00") == pgoutput.Origin("pg_16385")
    assert parse(b"Y\x00\x00\x40\x01s\x00mood\x00") == pgoutput.Type(0x4001, "s", "mood")
    content = b"M\x01" + struct.pack(">Q", 9) + b"siaga\x00" + struct.pack(">I", 2) + b"hi"
    assert parse(content) == pgoutput.Message(True, 9, "siaga", b"hi")


@pytest.mark.parametrize(
    "message", [b"", b"Q", b"I", b"I\x00\x00\x40\x00X", b"S\x00\x00\x00\x01\x01", b"O12345678noend"]
)
def test_what_was_not_asked_for_or_is_cut_short_is_a_fault(message: bytes) -> None:
    with pytest.raises(ProtocolFault):
        parse(message)


def test_a_value_in_binary_is_a_fault_because_nobody_asked_for_it() -> None:
    with pytest.raises(ProtocolFault, match="kind 'b'"):
        parse(b"I\x00\x00\x40\x00N\x00\x01b\x00\x00\x00\x01x")


@given(
    st.lists(st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", codec="utf-8"))), max_size=8),
    st.data(),
)
def test_any_row_comes_back_and_any_cut_of_it_is_a_fault(values: list[str | None], data: st.DataObject) -> None:
    whole = b"I\x00\x00\x40\x00N" + _row(*(value.encode() if value is not None else None for value in values))
    assert parse(whole) == Insert(0x4000, tuple(values))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ProtocolFault):
        parse(whole[:cut])
