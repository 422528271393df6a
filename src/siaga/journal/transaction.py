"""Turns the messages of the stream into records, a transaction at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from siaga.journal import pgoutput
from siaga.journal.pgoutput import (
    Begin,
    Change,
    Commit,
    Delete,
    Insert,
    Origin,
    ProtocolFault,
    Relation,
    Truncate,
    Update,
)
from siaga.journal.records import Kind, Record, xid_with_epoch
from siaga.journal.schema import Followed, Role, Table, follow


class Assembler:
    """Follows one stream from its start."""

    def __init__(self, tables: Mapping[tuple[str, str], Table], resume_at: int, xid_near: int) -> None:
        self._tables = tables
        self._resume_at = resume_at
        self._xid_near = xid_near
        self._followed: dict[int, Followed] = {}
        self._known = False
        self.inside = False
        """Between begin and commit."""
        self.committed_us = 0
        self.records: list[Record] = []
        """Of the open transaction, or of the one that has just ended; whoever takes them empties the list."""

    def take(self, change: Change) -> int | None:
        """One message; the position after a commit, else None. Most are inserts."""
        if isinstance(change, Insert):
            if not self._known:
                self._insert(self._relation(change.oid), change)
            return None
        if isinstance(change, Begin):
            self._begin(change)
            return None
        if isinstance(change, Commit):
            return self._commit(change)
        self._rest(change)
        return None

    def _begin(self, change: Begin) -> None:
        if self.inside:
            raise ProtocolFault("a transaction begins inside another one")
        self.inside = True
        self.committed_us = change.committed_us
        # The server starts where we ask it to; a commit before that is one we have.
        self._known = change.commit_lsn < self._resume_at
        self._xid_near = xid_with_epoch(change.xid, self._xid_near)
        self.records = [[Kind.BEGIN, self._xid_near, change.commit_lsn, change.committed_us]]

    def _commit(self, change: Commit) -> int:
        if not self.inside:
            raise ProtocolFault("a commit without a transaction")
        self.inside = False
        self.records = [] if self._known else [*self.records, [Kind.COMMIT, change.end_lsn]]
        return change.end_lsn

    def _insert(self, followed: Followed, change: Insert) -> None:
        if followed.table.role is Role.ENTRIES:
            self.records.append(followed.entry(change.row))
        else:
            self._row(followed, change.row)

    def _row(self, followed: Followed, row: pgoutput.Row) -> None:
        values = followed.values(row)
        if followed.table.role is Role.MARKER:
            self.records.append([Kind.MARKER, int(values[followed.table.columns["n"]] or 0)])
        else:
            self.records.append([Kind.ROW, values])

    def _rest(self, change: Change) -> None:
        if isinstance(change, Relation):
            self._followed[change.oid] = follow(change, self._tables)
        elif isinstance(change, Update | Delete):
            self._changed(self._relation(change.oid), change)
        elif isinstance(change, Truncate):
            for oid in change.oids:
                self.records.append([Kind.CHANGE, self._relation(oid).table.qualified, "truncate", {}])
        elif isinstance(change, Origin):
            # `origin 'none'` leaves out what came from another server: an echo here would double its entries.
            raise ProtocolFault(f"a transaction of origin `{change.name}`, expected none")

    def _changed(self, followed: Followed, change: Update | Delete) -> None:
        """An update of a row of its own is news; of the log itself it is noted, and never folded into a sum."""
        if isinstance(change, Update) and followed.table.role is not Role.ENTRIES:
            self._row(followed, change.row)
            return
        verb, row = ("update", change.row) if isinstance(change, Update) else ("delete", change.old)
        self.records.append([Kind.CHANGE, followed.table.qualified, verb, followed.values(row)])

    def _relation(self, oid: int) -> Followed:
        followed = self._followed.get(oid)
        if followed is None:
            raise ProtocolFault(f"a row of relation {oid} that was not described")
        return followed
