"""What came after a seal: rows whose transaction the sealed snapshot did not see. Never `id > last`, which misses late
commits.

Every row carries the id of the transaction that wrote it (xmin). Below the sealed snapshot's own xmin all was over
when the seal was made. From there on, an id was seen or was not; the seal lists the seen ones, as the tables have them:
the snapshot itself knows no subtransactions (PostgreSQL's manual, pg_visible_in_snapshot). A row that was rewritten
since (UPDATE) is new by this rule, and shows; one that was deleted is not read: grade `tail` says so.
"""

from __future__ import annotations

from siaga.ledger import statements
from siaga.ledger.model import Position
from siaga.ledger.schema import Ledger
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
