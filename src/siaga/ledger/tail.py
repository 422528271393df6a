"""What came after a seal: rows whose transaction the sealed snapshot did not see. Never `id > last`, which misses late
commits.

Every row carries the id of the transaction that wrote it (xmin). Below the sealed snapshot's own xmin all was over
when the seal was made. From there on, an id was seen or was not; the seal lists the seen ones, as the tables have them:
the snapshot itself knows no subtransactions (PostgreSQL's manual, pg_visible_in_snapshot). A row that was rewritten
since (UPDATE) is new by this rule, and shows; one that was deleted is not read: grade `tail` says so.

Asking every row takes as long as reading its header. A journal says between which ids the new ones lie, and how many
they are: with an index on the id (or on the transaction) only those are read, and a deletion is known too.
"""

from __future__ import annotations

from siaga.ledger import statements
from siaga.ledger.model import JournalTail, Ordered, Position
from siaga.ledger.schema import Kind, Ledger
from siaga.ledger.seal import Seal

AGE_MAX = 1 << 31
"""Ids on the rows have 32 bits: beyond half of them, old and new can't be told apart."""


def obstacle(seal: Seal, ledger: Ledger, position: Position) -> str:
    """Why the tail cannot be told apart here; empty where it can."""
    then, now = seal.position, position
    if seal.map_digest != ledger.map.digest():
        return "the seal was made with another map"
    if (then.system_id, then.database) != (now.system_id, now.database):
        return "the seal is of another database"
    if then.timeline != now.timeline:
        return f"the seal is of timeline {then.timeline}, this server is on {now.timeline}: read everything (--reread)"
    if not (ledger.accounts.by_pages and ledger.entries.by_pages):
        return "a view has no transaction ids, and a role that may read some columns cannot see them"
    if _xmax(now) < _xmax(then):
        return "the server stands before the seal: it was rolled back"
    if _xmax(now) - _xmin(then) >= AGE_MAX // 2:
        return "the seal is too old: transaction ids may have come round"
    return ""


def since(seal: Seal, position: Position) -> str:
    """SQL condition for the rows that are not sealed."""
    unseen = ""
    if seal.seen:
        unseen = f" and {_xid(position)} <> all('{{{','.join(str(xid) for xid in seal.seen)}}}'::bigint[])"
    # The first condition alone is asked of nearly every row; a negative age is an id from half the circle away.
    return f"age(xmin) <= (select {_latest(position)} - {_xmin(seal.position)}) and age(xmin) >= 0{unseen}"


def ordered(ledger: Ledger) -> Ordered | None:
    """By which column a journal orders entries as the database does; None where it has none (texts have collations)."""
    for role in ("id", "transaction"):
        column = ledger.entry_column(role)
        if column is not None and column.kind in (Kind.INTEGER, Kind.UUID):
            return Ordered(role, numbers=column.kind is Kind.INTEGER)
    return None


def between(ledger: Ledger, by: Ordered, found: JournalTail, pieces: int) -> list[str]:
    """SQL conditions, so many or fewer, for entries between the first and the last that the journal has."""
    column = ledger.entry_column(by.role)
    assert column is not None, "asked before"
    if found.first is None or found.last is None:
        return []
    ends: list[tuple[str, str] | tuple[int, int]] = [(found.first, found.last)]
    if by.numbers:
        first, last = int(found.first), int(found.last)
        size = -(-(last - first + 1) // pieces)
        ends = [(start, min(start + size - 1, last)) for start in range(first, last + 1, size)]
    name = statements.quoted(column.name)
    return [f"{name} between {statements.literal(first)} and {statements.literal(last)}" for first, last in ends]


def seen(ledger: Ledger, position: Position) -> list[str]:
    """Statements for the ids, from the snapshot's xmin on, that this very snapshot sees in the two tables."""
    if _xmin(position) == _xmax(position):
        return []
    found = []
    for relation in (ledger.accounts, ledger.entries):
        name = statements.quoted(relation.schema, relation.name)
        found.append(
            f"select distinct {_xid(position)} from {name} "  # noqa: S608 (quoted)
            f"where age(xmin) <= (select {_latest(position)} - {_xmin(position)}) and age(xmin) >= 0"
        )
    return found


def _xid(position: Position) -> str:
    """A row's transaction id with all its 64 bits."""
    return f"((select {_latest(position)}) - age(xmin))"


def _latest(position: Position) -> str:
    """The id from which `age` counts back: the server's latest, from the snapshot's xmax on and less than 2^32 more."""
    xmax, circle = _xmax(position), 1 << 32
    return f"{xmax} + mod(mod(age('3'::xid)::bigint + 3 - {xmax}, {circle}) + {circle}, {circle})"


def _xmin(position: Position) -> int:
    return int(position.snapshot.split(":")[0])


def _xmax(position: Position) -> int:
    return int(position.snapshot.split(":")[1])
