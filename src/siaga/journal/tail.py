"""Which entries one snapshot of the database sees and an earlier one did not: what a check after a seal has to read.

The database itself can tell only by looking at every row's transaction id; the journal has them in the order in which
they came, updates and deletions of older ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from siaga.journal import columnar
from siaga.journal.compare import Point
from siaga.journal.horizon import Snapshot, snapshot
from siaga.journal.records import ENTRY_FIELDS, Kind
from siaga.journal.segments import Contents, log_records, segment_path
from siaga.journal.state import Undetermined
from siaga.journal.summary import Summary
from siaga.ledger.model import JournalTail, Ordered


def between(contents: Contents, map_digest: str, then: Snapshot, now: Point, by: Ordered) -> JournalTail:
    """The journal must stand where `now` does (`compare.read_at`); Undetermined where it can't tell.

    `then` is a snapshot of the same timeline.
    """
    _require_whole(contents, map_digest, then)
    assert now.snapshot is not None, "a live server's"
    entries = altered = 0
    ends: list[str] = []
    key: Callable[[str], Any] = int if by.numbers else str
    for xid, values, changes in _since(contents, then, now, by.role):
        if not now.snapshot.sees(xid) or then.sees(xid):
            continue
        altered += changes
        entries += len(values)
        found = [value for value in values if value is not None]
        if len(found) < len(values):
            raise Undetermined(f"an entry of the journal has no {by.role}", hint="Check without the journal.")
        if found:
            ends = [min([*ends, *found], key=key), max([*ends, *found], key=key)]
    first, last = (ends[0], ends[-1]) if ends else (None, None)
    return JournalTail(True, "", entries, first, last, altered)


def _require_whole(contents: Contents, map_digest: str, then: Snapshot) -> None:
    """Whether everything is there that `then` does not see.

    The base holds what one snapshot of the server saw, and the stream everything else. What `then` does not see, that
    earlier snapshot did not see either; and it was earlier where all that it could see was over for `then`.
    """
    base = contents.standing.base
    assert base is not None, "awaited"
    if base["map"] != map_digest:
        raise Undetermined("the journal's base was read with another ledger map", hint="Give the journal's map.")
    if "seen" not in base:
        raise Undetermined(
            "the journal's base was read by an older version, which did not note what it sees",
            hint="The next base notes it.",
        )
    if then.xmin < snapshot(base["seen"]).xmax:
        raise Undetermined("the journal's base may be younger than the seal", hint="Make a new seal.")


def _since(contents: Contents, then: Snapshot, now: Point, role: str) -> Iterator[tuple[int, list[str | None], int]]:
    """Transactions on this timeline that `then` may not see: id, values of their entries, number of their changes."""
    standing, place = contents.standing, 1 + ENTRY_FIELDS.index(role)

    def may_hold(log: Summary) -> bool:
        here = (log.system, log.timeline) == (now.system, now.timeline) and log.number >= standing.base_number
        return here and log.xid_max >= then.xmin

    for seal in contents.seals:
        if may_hold(seal.summary):
            path = segment_path(contents.directory, seal.summary.number)
            condition = f"xid >= {then.xmin} and kind in ('{Kind.ENTRY}', '{Kind.CHANGE}')"
            rows = columnar.read_transactions(contents.directory, path, condition, ("xid", "kind", role))
            for xid, group in groupby(rows, key=itemgetter(0)):
                found = list(group)
                values = [value for _, kind, value in found if kind == Kind.ENTRY]
                yield xid, values, len(found) - len(values)
    for log in contents.logs:
        if may_hold(log.summary):
            xid, values, changes = 0, [], 0
            for record in log_records(log):
                if record[0] == Kind.ENTRY:
                    values.append(record[place])
                elif record[0] == Kind.BEGIN:
                    xid, values, changes = record[1], [], 0
                elif record[0] == Kind.CHANGE:
                    changes += 1
                elif record[0] == Kind.COMMIT:
                    yield xid, values, changes
