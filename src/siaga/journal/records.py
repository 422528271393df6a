"""What the journal's frames hold: records, each a JSON array that begins with its kind. Pure.

`begin`, its `entry`, `row`, `change` and `marker` records and `commit` are one transaction, in the server's commit
order; the others stand between transactions. Values are texts exactly as PostgreSQL wrote them, or null.

A frame has two lines: the *outline*, in which entries that follow one another are one `entries` record and a row or a
change is its kind alone, and the bodies of all these, in order. Who asks where the journal stands, how much it has or
between which ids, reads the outlines: a twentieth of the time that reading every entry takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
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
    """[values of ENTRY_FIELDS]."""
    ENTRIES = "entries"
    """In an outline: [how many, `ends` of each of ORDERED_ROLES]."""
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


_BODIES = frozenset((Kind.ENTRY, Kind.ROW, Kind.CHANGE))
ORDERED_ROLES = ("id", "transaction")
"""Fields whose ends an outline has."""
_PLACES = tuple(1 + ENTRY_FIELDS.index(role) for role in ORDERED_ROLES)


def encode(records: Sequence[Record], outlined: Sequence[Record]) -> bytes:
    """A frame's payload, from its records and their outline."""
    bodies = [record[1:] for record in records if record[0] in _BODIES]
    return _json(outlined) + b"\n" + _json(bodies)


def decode(payload: bytes) -> list[Record]:
    """The records of a frame."""
    outlined, separator, bodies = payload.partition(b"\n")
    if not separator:
        # Written before frames had outlines.
        return _from_json(payload)
    left, at = _from_json(bodies), 0
    records: list[Record] = []
    for record in _from_json(outlined):
        kind, count = record[0], 1
        if kind == Kind.ENTRIES:
            kind, count = Kind.ENTRY.value, record[1]
        if kind in _BODIES:
            records += ([kind, *body] for body in left[at : at + count])
            at += count
        else:
            records.append(record)
    if at != len(left):
        raise ValueError(f"a frame has {len(left)} bodies, and its outline {at}")
    return records


def decode_outline(payload: bytes) -> list[Record]:
    """Its outline alone."""
    outlined, separator, _ = payload.partition(b"\n")
    return _from_json(outlined) if separator else outline(_from_json(payload))


def outline(records: Iterable[Record]) -> list[Record]:
    """See above."""
    found: list[Record] = []
    for kind, group in groupby(records, key=itemgetter(0)):
        if kind == Kind.ENTRY:
            entries = list(group)
            found.append([Kind.ENTRIES.value, len(entries), *(ends([e[place] for e in entries]) for place in _PLACES)])
        else:
            found += ([kind] if kind in _BODIES else record for record in group)
    return found


def ends(values: Sequence[str | None]) -> list[str] | None:
    """The first and the last as numbers without a sign and UUIDs are ordered; None where one is missing or signed."""
    known = [value for value in values if value is not None and not value.startswith("-")]
    if not known or len(known) < len(values):
        return None
    return [min(known, key=_rank), max(known, key=_rank)]


def _rank(value: str) -> tuple[int, str]:
    return len(value), value


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _from_json(line: bytes) -> list[Record]:
    # Twice as fast as the standard library's.
    found: list[Record] = from_json(line, cache_strings="none")
    return found


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
