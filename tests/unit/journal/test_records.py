"""A frame gives back its records, and its outline says of them what whoever does not read them asks."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.journal.records import ENTRY_FIELDS, Record, decode, decode_outline, encode, ends, outline
from siaga.journal.summary import Summary

pytestmark = pytest.mark.clause("DRP-3.2b")

VALUES = st.none() | st.text(max_size=6)
NUMBERS = st.integers(0, 1 << 63).map(str)
ENTRIES = st.fixed_dictionaries({"id": NUMBERS, "transaction": NUMBERS, "account": VALUES, "amount": VALUES}).map(
    lambda fields: ["entry", *(fields.get(name) for name in ENTRY_FIELDS)]
)
ROWS = st.dictionaries(VALUES.filter(bool), VALUES, max_size=2).map(lambda values: ["row", values])
CHANGED = ["change", "public.entry", "update"]
CHANGES = st.dictionaries(VALUES.filter(bool), VALUES, max_size=2).map(lambda values: [*CHANGED, values])
GAP = ["gap", {"why": "\n"}]
OTHERS = st.sampled_from([["begin", 7, 70, 1], ["commit", 75], ["at", 80], ["acknowledged", 75], GAP])
RECORDS = st.lists(ENTRIES | ROWS | CHANGES | OTHERS, max_size=30)


def written(records: list[Record]) -> bytes:
    return encode(records, outline(records))


@given(RECORDS)
def test_a_frame_gives_back_its_records_and_their_outline(records: list[Record]) -> None:
    payload = written(records)
    assert decode(payload) == records
    assert decode_outline(payload) == outline(records)


@given(RECORDS)
def test_a_frame_written_before_there_were_outlines_is_read_as_well(records: list[Record]) -> None:
    payload = json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()
    assert decode(payload) == records
    assert decode_outline(payload) == outline(records)


@given(RECORDS)
def test_an_outline_counts_what_it_leaves_out(records: list[Record]) -> None:
    summary = Summary(1)
    summary.note(outline(records))
    assert summary.entries == sum(record[0] == "entry" for record in records)
    assert summary.changes == sum(record[0] == "change" for record in records)
    assert summary.transactions == sum(record[0] == "commit" for record in records)


@given(st.lists(ENTRIES, min_size=1))
def test_an_outline_says_between_which_ids_its_entries_lie(entries: list[Record]) -> None:
    place = 1 + ENTRY_FIELDS.index("id")
    numbers = [int(entry[place]) for entry in entries]
    [(_, count, ids, _)] = outline(entries)
    assert (count, [int(end) for end in ids]) == (len(entries), [min(numbers), max(numbers)])


@pytest.mark.parametrize("values", [["1", None], ["1", "-2"], ["-3"], []])
def test_what_is_missing_or_below_zero_has_no_ends(values: list[Any]) -> None:
    assert ends(values) is None


@given(st.lists(st.uuids().map(str), min_size=1))
def test_uuids_lie_between_their_ends(values: list[str]) -> None:
    assert ends(values) == [min(values), max(values)]


def test_entries_that_do_not_follow_one_another_are_outlined_apart() -> None:
    entry = ["entry", *(None for _ in ENTRY_FIELDS)]
    kinds = [kind for kind, _ in groupby(outline([entry, entry, ["row", {}], entry]), key=lambda record: record[0])]
    assert kinds == ["entries", "row", "entries"]


def test_bodies_that_the_outline_does_not_count_are_no_frame() -> None:
    entry = ["entry", *(None for _ in ENTRY_FIELDS)]
    for records in ([], [entry, entry]):
        with pytest.raises(ValueError, match="bodies"):
            decode(encode(records, outline([entry])))
