"""Which entries one snapshot of the database sees and an earlier one did not: what a check after a seal has to read.

The database itself can tell only by looking at every row's transaction id; the journal has them in the order in which
they came, updates and deletions of older ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    ends: tuple[str, str] | None = None
    key: Callable[[str], Any] = int if by.numbers else str
    for kind, xid, value in _since(contents, then, now, by.role):
        if not now.snapshot.sees(xid) or then.sees(xid):
            continue
        if kind == Kind.CHANGE:
            altered += 1
        elif value is None:
            raise Undetermined(f"an entry of the journal has no {by.role}", hint="Check without the journal.")
        else:
            entries += 1
            low, high = ends or (value, value)
            ends = min(low, value, key=key), max(high, value, key=key)
    first, last = ends or (None, None)
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


def _since(contents: Contents, then: Snapshot, now: Point, role: str) -> Iterator[tuple[str, int, str | None]]:
    """Kind, transaction id and value of entries and changes on this timeline that `then` may not see."""
    standing, place = contents.standing, 1 + ENTRY_FIELDS.index(role)

    def may_hold(log: Summary) -> bool:
        here = (log.system, log.timeline) == (now.system, now.timeline) and log.number >= standing.base_number
        return here and log.xid_max >= then.xmin

    for seal in contents.seals:
        if may_hold(seal.summary):
            path = segment_path(contents.directory, seal.summary.number)
            condition = f"xid >= {then.xmin} and kind in ('{Kind.ENTRY}', '{Kind.CHANGE}')"
            yield from columnar.read_transactions(contents.directory, path, condition, ("kind", "xid", role))
    for log in contents.logs:
        if may_hold(log.summary):
            xid = 0
            for record in log_records(log):
                if record[0] == Kind.BEGIN:
                    xid = record[1]
                elif record[0] == Kind.ENTRY:
                    yield Kind.ENTRY, xid, record[place]
                elif record[0] == Kind.CHANGE:
                    yield Kind.CHANGE, xid, None
