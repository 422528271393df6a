"""Which entries one snapshot of the database sees and an earlier one did not: what a check after a seal has to read.

The database itself can tell only by looking at every row's transaction id; the journal has them in the order in which
they came, updates and deletions of older ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from siaga.journal import columnar, compare
from siaga.journal.compare import Point
from siaga.journal.horizon import Snapshot, snapshot
from siaga.journal.records import ORDERED_ROLES, Kind, Record, ends
from siaga.journal.segments import Contents, segment_path
from siaga.journal.state import Undetermined
from siaga.journal.summary import Summary
from siaga.ledger.model import JournalTail, Ordered


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is asked of one: its entries, the values they are ordered by, how many other changes of the log it made."""

    xid: int
    entries: int
    ends: Sequence[str | None]
    """Firsts and lasts of them (`records.ends`); None for those without an order."""
    changes: int


class _Open:
    """Transactions of the open logs from an id on, taken while the logs are read."""

    def __init__(self, xmin: int, role: str) -> None:
        self._xmin, self._place = xmin, 2 + ORDERED_ROLES.index(role)
        self.by_log: dict[int, list[Transaction]] = {}

    def __call__(self, number: int) -> Callable[[Sequence[Record]], None]:
        """`segments.Taker`."""
        found = self.by_log[number] = []
        xid, entries, changes = 0, 0, 0
        bounds: list[str | None] = []

        def take(outline: Sequence[Record]) -> None:
            nonlocal xid, entries, changes, bounds
            for record in outline:
                kind = record[0]
                if kind == Kind.ENTRIES:
                    entries += record[1]
                    bounds += record[self._place] or (None,)
                elif kind == Kind.BEGIN:
                    xid, entries, changes, bounds = record[1], 0, 0, []
                elif kind == Kind.CHANGE:
                    changes += 1
                elif kind == Kind.COMMIT and xid >= self._xmin:
                    found.append(Transaction(xid, entries, bounds, changes))

        return take


def read(
    directory: Path,
    map_digest: str,
    then: Snapshot,
    now: Point,
    by: Ordered,
    *,
    deadline_s: float,
    complete: bool = True,
) -> JournalTail:
    """Entries that `now` sees and `then`, a snapshot of the same timeline, did not; Undetermined where it can't tell.

    Within the deadline the journal must stand where `now` does, unless it need not be `complete` (`compare.read_at`).
    """
    opened = _Open(then.xmin, by.role)

    def use(contents: Contents) -> JournalTail:
        _require_whole(contents, map_digest, then)
        found = _summed(_since(contents, opened, then, now, by.role), then, now, by.role)
        position = contents.standing.position
        assert position is not None, "awaited"
        return replace(found, behind_bytes=max(0, now.lsn - position.at))

    return compare.read_at(directory, now, deadline_s, use, complete=complete, taker=opened)


def _summed(transactions: Iterable[Transaction], then: Snapshot, now: Point, role: str) -> JournalTail:
    assert now.snapshot is not None, "a live server's"
    found: list[str | None] = []
    entries = altered = 0
    for each in transactions:
        if now.snapshot.sees(each.xid) and not then.sees(each.xid):
            entries += each.entries
            altered += each.changes
            found += each.ends
    first_and_last = ends(found) if found else (None, None)
    if first_and_last is None:
        raise Undetermined(f"an entry of the journal has no {role}, or one below 0", hint="Check without the journal.")
    first, last = first_and_last
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


def _since(contents: Contents, opened: _Open, then: Snapshot, now: Point, role: str) -> Iterator[Transaction]:
    """Transactions on this timeline that `then` may not see."""
    standing = contents.standing

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
                first_and_last = (ends(values) or (None,)) if values else ()
                yield Transaction(xid, len(values), first_and_last, len(found) - len(values))
    for log in contents.logs:
        if may_hold(log.summary):
            yield from opened.by_log[log.summary.number]
