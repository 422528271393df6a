"""The messages of PostgreSQL's `pgoutput` plugin (logical replication protocol, versions 1 to 4), parsed.

We never ask for `streaming` or `binary`: a transaction arrives whole, after its commit, with values as text. What
we did not ask for is a ProtocolFault, never skipped.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import NamedTuple

from siaga.errors import Exit, SiagaError

EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01; we count from 1970-01-01."""


class ProtocolFault(SiagaError):
    """The server sent what this version of the protocol does not hold."""

    exit_code = Exit.UNDETERMINED

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Report it with the server's version; nothing of it was acknowledged.")


class Unchanged(Enum):
    """A large value that an update did not touch: the server does not send it."""

    UNCHANGED = "unchanged"


Value = str | None | Unchanged
Row = tuple[Value, ...]


class Column(NamedTuple):
    """One column of a relation, in the order of the rows."""

    name: str
    type_oid: int
    in_key: bool


class Relation(NamedTuple):
    """What the rows that follow look like; sent again when the table changed."""

    oid: int
    schema: str
    table: str
    columns: tuple[Column, ...]


class Begin(NamedTuple):
    """A transaction that committed."""

    commit_lsn: int
    committed_us: int
    """Microseconds since 1970, by the server's clock."""
    xid: int


class Commit(NamedTuple):
    """Its end. `end_lsn` is the first position after its commit record."""

    end_lsn: int


class Origin(NamedTuple):
    """The transaction was applied from another server."""

    name: str


class Insert(NamedTuple):
    """A new row."""

    oid: int
    row: Row


class Update(NamedTuple):
    """A changed row, with the old one as far as the replica identity holds it."""

    oid: int
    old: Row | None
    row: Row


class Delete(NamedTuple):
    """A deleted row, as far as the replica identity holds it."""

    oid: int
    old: Row


class Truncate(NamedTuple):
    """Emptied tables."""

    oids: tuple[int, ...]


class Message(NamedTuple):
    """A logical message written with `pg_logical_emit_message`."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


class Type(NamedTuple):
    """A type that is not built in."""

    oid: int
    schema: str
    name: str


Change = Relation | Begin | Commit | Origin | Insert | Update | Delete | Truncate | Message | Type

_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">xQQq")
_OID = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_LENGTH = struct.Struct(">i")
_COLUMN_TYPE = struct.Struct(">Ii")


def parse(message: bytes) -> Change:
    """One message; ProtocolFault when it is cut short or of a kind we did not ask for."""
    try:
        return _parse(message)
    except (struct.error, IndexError, ValueError) as error:
        raise ProtocolFault(f"a message of kind {message[:1]!r} with {len(message)} bytes: {error}") from error


def _parse(message: bytes) -> Change:
    match message[:1]:
        case b"I":
            (oid,) = _OID.unpack_from(message, 1)
            _expect(message, 5, b"N")
            return Insert(oid, _row(message, 6)[0])
        case b"B":
            commit_lsn, committed, xid = _BEGIN.unpack_from(message, 1)
            return Begin(commit_lsn, committed + EPOCH_US, xid)
        case b"C":
            return Commit(_COMMIT.unpack_from(message, 1)[1])
        case b"U":
            return _update(message)
        case b"D":
            (oid,) = _OID.unpack_from(message, 1)
            _expect(message, 5, b"KO")
            return Delete(oid, _row(message, 6)[0])
        case b"T":
            (count,) = _OID.unpack_from(message, 1)
            return Truncate(struct.unpack_from(f">{count}I", message, 6))
        case b"R":
            return _relation(message)
        case b"O":
            return Origin(_text(message, 9)[0])
        case b"Y":
            (oid,) = _OID.unpack_from(message, 1)
            schema, at = _text(message, 5)
            return Type(oid, schema, _text(message, at)[0])
        case b"M":
            prefix, at = _text(message, 10)
            (length,) = _LENGTH.unpack_from(message, at)
            (lsn,) = struct.unpack_from(">Q", message, 2)
            return Message(message[1] == 1, lsn, prefix, message[at + 4 : at + 4 + length])
    raise ProtocolFault(f"a message of kind {message[:1]!r}, expected one of B C O R Y I U D T M")


def _update(message: bytes) -> Update:
    (oid,) = _OID.unpack_from(message, 1)
    old: Row | None = None
    at = 6
    if _expect(message, 5, b"KON") != b"N":
        old, at = _row(message, 6)
        _expect(message, at, b"N")
        at += 1
    return Update(oid, old, _row(message, at)[0])


def _relation(message: bytes) -> Relation:
    (oid,) = _OID.unpack_from(message, 1)
    schema, at = _text(message, 5)
    table, at = _text(message, at)
    # One byte in between: the replica identity, which the rows show by themselves.
    (count,) = _SHORT.unpack_from(message, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        in_key = message[at] == 1
        name, at = _text(message, at + 1)
        type_oid, _ = _COLUMN_TYPE.unpack_from(message, at)
        at += 8
        columns.append(Column(name, type_oid, in_key))
    # The server leaves the schema of built-in things empty.
    return Relation(oid, schema or "pg_catalog", table, tuple(columns))


def _row(message: bytes, at: int) -> tuple[Row, int]:
    (count,) = _SHORT.unpack_from(message, at)
    at += 2
    values: list[Value] = []
    for _ in range(count):
        kind = message[at]
        at += 1
        if kind == 0x74:  # t
            (length,) = _LENGTH.unpack_from(message, at)
            end = at + 4 + length
            if end > len(message):
                raise ProtocolFault(f"a value of {length} bytes in a message of {len(message)}")
            values.append(message[at + 4 : end].decode())
            at = end
        elif kind == 0x6E:  # n
            values.append(None)
        elif kind == 0x75:  # u
            values.append(Unchanged.UNCHANGED)
        else:
            raise ProtocolFault(f"a value of kind {chr(kind)!r}, expected text, null or unchanged")
    return tuple(values), at


def _expect(message: bytes, at: int, kinds: bytes) -> bytes:
    found = message[at : at + 1]
    if not found or found not in kinds:
        raise ProtocolFault(f"{found!r} at byte {at} of a message of kind {message[:1]!r}, expected one of {kinds!r}")
    return found


def _text(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(b"\0", at)
    return message[at:end].decode(), end + 1
