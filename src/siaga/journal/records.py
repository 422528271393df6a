"""What the journal's frames hold: records, each a JSON array that begins with its kind. Pure.

`begin`, its `entry`, `row`, `change` and `marker` records and `commit` are one transaction, in the server's commit
order; the others stand between transactions. Values are texts exactly as PostgreSQL wrote them, or null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

from pydantic_core import from_json

Record = list[Any]

ENTRY_FIELDS = (
    "account", "currency", "id", "transaction", "sequence", "amount", "debit", "credit",
    "balance_before", "balance_after", "time",
)  # fmt: skip
"""The fields of an `entry` record after its kind; those that the map does not name are null."""


class Kind(StrEnum):
    """The first element of a record."""

    START = "start"
    """[system, timeline, position, branches]: the first record of a log; what follows comes from there."""
    BEGIN = "begin"
    """[xid, commit LSN, committed (microseconds since 1970)]; the xid with its epoch, 64 bits."""
    ENTRY = "entry"
    ROW = "row"
    """[values by column]: a row of the transactions table, new or changed."""
    CHANGE = "change"
    """[table, `update`, `delete` or `truncate`, values by column]: the log was not only appended to."""
    MARKER = "marker"
    """[n]: the marker row of a switch (decision 10)."""
    COMMIT = "commit"
    """[position after it]."""
    AT = "at"
    """[position]: everything before it was read, and nothing of it concerned the ledger."""
    ACKNOWLEDGED = "acknowledged"
    """[position]: what committed before it had its quorum, so that the application may have told its user."""
    BASE = "base"
    """[document]: the accumulators of everything before this log, read from the database."""
    GAP = "gap"
    """[document]."""
    FORK = "fork"
    """[document]: what earlier logs hold at or beyond its position is not in the database any more."""


def encode(records: Sequence[Record]) -> bytes:
    """A frame's payload."""
    return json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()


def decode(payload: bytes) -> list[Record]:
    """The records of a frame."""
    # Twice as fast as the standard library's, and a log is read as a whole.
    records: list[Record] = from_json(payload, cache_strings="none")
    return records


def position(records: Iterable[Record]) -> int | None:
    """How far these records reach; None when they say nothing about it."""
    found = None
    for record in records:
        if record[0] in (Kind.COMMIT, Kind.AT):
            found = record[1]
        elif record[0] == Kind.START:
            found = record[3]
    return found


FLAT_FIELDS = ("kind", "lsn", "xid", "committed_us", *ENTRY_FIELDS, "detail")


def flat(records: Iterable[Record]) -> Iterator[tuple[object, ...]]:
    """What transactions hold, one tuple of FLAT_FIELDS each, with its transaction's position, xid and time."""
    xid = lsn = committed_us = 0
    nothing = (None,) * len(ENTRY_FIELDS)
    for record in records:
        kind = record[0]
        if kind == Kind.ENTRY:
            yield kind, lsn, xid, committed_us, *record[1:], None
        elif kind == Kind.BEGIN:
            _, xid, lsn, committed_us = record
        elif kind == Kind.ROW:
            yield kind, lsn, xid, committed_us, *nothing, json.dumps(record[1], ensure_ascii=False)
        elif kind == Kind.CHANGE:
            yield kind, lsn, xid, committed_us, *nothing, json.dumps(record[1:], ensure_ascii=False)


EVENTS = (Kind.BASE, Kind.GAP, Kind.FORK, Kind.MARKER)


def xid_with_epoch(xid: int, near: int) -> int:
    """The 64-bit transaction id nearest to `near` (two that live at once are less than 2^31 apart)."""
    difference = (xid - near) & 0xFFFFFFFF
    return near + difference - (1 << 32 if difference >= 1 << 31 else 0)
