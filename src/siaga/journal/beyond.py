"""Reads from the journal what the database does not hold: beyond a position, or abandoned at a fork."""

from __future__ import annotations

import json
from collections.abc import Iterator

from siaga.journal.lost import Lost, lost
from siaga.journal.records import FLAT_FIELDS, Kind
from siaga.journal.segments import LSN, Choice, Contents, from_position, taken_by, transactions
from siaga.ledger.map import Transactions

_DETAIL = FLAT_FIELDS.index("detail")


def beyond(contents: Contents, position: int, mapped: Transactions | None) -> Iterator[Lost]:
    """Transactions that a server recovered to `position` lacks; before the journal follows that server."""
    standing = contents.standing
    assert standing.position is not None, "the journal has begun"
    system = standing.position.system
    alive = (
        (row[LSN] < standing.acknowledged, row)
        for summary, row in transactions(contents, from_position(position))
        if summary.system == system and standing.lives(summary.number, system, row[LSN])
    )
    yield from lost(alive, mapped)


def abandoned(contents: Contents, mapped: Transactions | None) -> Iterator[Lost]:
    """Transactions that the database lost at its forks (recoveries and fail-overs that the journal has followed)."""
    summaries = {each.number: each for each in contents.summaries}
    for fork in contents.standing.forks:
        before = summaries.get(fork.number - 1)
        acknowledged = before.acknowledged if before is not None else 0
        yield from lost(((row[LSN] < acknowledged, row) for row in taken_by(contents, fork)), mapped)


def given_back(contents: Contents, mapped: Transactions | None) -> frozenset[str]:
    """Keys of transactions that were journaled after the first fork and are part of the database."""
    standing = contents.standing
    if mapped is None or mapped.key is None or not standing.forks:
        return frozenset()
    first = standing.forks[0].number
    since = Choice(lambda log: log.number >= first, f"kind = '{Kind.ROW}'", lambda row: row[0] == Kind.ROW)
    rows = transactions(contents, since)
    living = (row for log, row in rows if standing.lives(log.number, log.system, row[LSN]))
    keys = (json.loads(row[_DETAIL]).get(mapped.key) for row in living)
    return frozenset(key for key in keys if key is not None)
