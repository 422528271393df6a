"""The database against the journal, accumulator against accumulator (DRP-3.2b)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psycopg

from siaga.journal import base, columnar, segments, state
from siaga.journal.horizon import Snapshot, snapshot
from siaga.journal.lsn import parse, show
from siaga.journal.replication import unreachable
from siaga.journal.segments import LSN, XID, Contents, Taker
from siaga.journal.state import Undetermined
from siaga.ledger import catalog
from siaga.ledger.map import LedgerMap

T = TypeVar("T")

POLL_S = 0.05
MOMENT_S = 0.25
"""The journal's own lag is a tenth of it. An idle server writes a record only in part, which nobody can read, and the
rest up to ten seconds later: nobody waits for that who need not."""
PART_BYTES_MAX = 1 << 16
"""So much may be such a record; a journal that is farther behind is behind, and is waited for."""
DIFFERENCES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Side:
    """The sums of one account on one side."""

    count: int
    amount_sum: int
    sequence_sum: int
    digest: int


@dataclass(frozen=True, slots=True)
class Difference:
    """An account that is not the same on both sides; None where one side does not know it."""

    account: str | None
    currency: str | None
    database: Side | None
    journal: Side | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and what differs."""

    system: str
    timeline: int
    lsn: int
    snapshot: str | None
    """On a live server; None where it stood at `lsn`."""
    accounts: int
    differences: tuple[Difference, ...]
    left_out: int
    """Rows of the journal that the database can't hold yet (or not any more: then they are lost)."""

    @property
    def matches(self) -> bool:
        """Whether both sides say the same of every account."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Point:
    """Where the database stands."""

    system: str
    timeline: int
    lsn: int
    snapshot: Snapshot | None
    text: str

    def holds(self, row: tuple[Any, ...]) -> bool:
        """Whether a transaction of the journal is part of it."""
        return self.snapshot.sees(row[XID]) if self.snapshot is not None else row[LSN] < self.lsn


def compare(conninfo: str, ledger_map: LedgerMap, directory: Path, *, deadline_s: float = 30.0) -> Comparison:
    """Read both sides at one point; Undetermined when the journal does not reach it within the deadline."""
    with TemporaryDirectory(prefix="siaga-journal-") as scratch:
        accumulators = Path(scratch) / "database.parquet"
        point = read_database(conninfo, ledger_map, accumulators)
        return read_at(
            directory, point, deadline_s, lambda contents: differences(contents, ledger_map, accumulators, point)
        )


def read_at(
    directory: Path,
    point: Point,
    deadline_s: float,
    use: Callable[[Contents], T],
    *,
    complete: bool = True,
    taker: Taker | None = None,
) -> T:
    """What `use` makes of the journal once it stands where the database does; Undetermined after the deadline.

    Unless it has to be `complete`: then a little may be missing after a moment (`PART_BYTES_MAX`).
    """
    contents = await_position(directory, point, deadline_s, complete=complete, taker=taker)
    return segments.read_settled(directory, use, contents, taker)


def read_database(conninfo: str, ledger_map: LedgerMap, path: Path) -> Point:
    """The database's accumulators into a columnar file, and the point they are of."""
    try:
        with psycopg.connect(conninfo) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            position = catalog.position(connection)
            timeline = position.timeline if position.in_recovery else _timeline(connection)
            ledger = catalog.ledger(connection, ledger_map)
            base.read_accumulators(connection, ledger, path.parent, path)
            after = catalog.position(connection)
    except psycopg.Error as error:
        raise unreachable(error) from error
    if position.in_recovery and after.lsn != position.lsn:
        raise Undetermined(
            f"the server replays on ({position.lsn} to {after.lsn})", hint="Pause its replay: pg_wal_replay_pause()."
        )
    seen = None if position.in_recovery else snapshot(position.snapshot)
    return Point(position.system_id, timeline, parse(position.lsn), seen, position.snapshot)


def _timeline(connection: psycopg.Connection[Any]) -> int:
    """The one it writes on: the control file tells it only after the checkpoint that follows a promotion."""
    row = connection.execute("select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)").fetchone()
    assert row is not None, "the query has one row"
    return int(row[0], 16)


def await_position(
    directory: Path, point: Point, deadline_s: float, *, complete: bool = True, taker: Taker | None = None
) -> Contents:
    """Wait until the journal has read as far as the database stands; what it holds then.

    Unless it has to be `complete`, a little less will do after a moment.
    """
    began = time.monotonic()
    while True:
        contents = segments.load(directory, taker)
        standing = contents.standing
        position = standing.position
        if position is None or standing.base is None:
            raise Undetermined("the journal has no base yet", hint="It is being read from the database: try again.")
        if position.system != point.system:
            raise Undetermined(
                f"the database is system {point.system}, the journal stands at system {position.system}",
                hint="Compare with the server that the journal reads, or with one that was restored from it.",
            )
        # On a live server its position was taken after its snapshot, so that all it shows ended before. After a
        # promotion transaction ids are used again: the journal must have followed.
        follows = point.snapshot is None or position.timeline == point.timeline
        waited_s = time.monotonic() - began
        missing_bytes_max = PART_BYTES_MAX if waited_s > MOMENT_S and not complete else 0
        if follows and position.at + missing_bytes_max >= point.lsn:
            return contents
        if waited_s > deadline_s:
            here, there = f"{position.timeline}: {show(position.at)}", f"{point.timeline}: {show(point.lsn)}"
            raise Undetermined(
                f"the journal stands at {here}, the database at {there} (timeline: position), after {deadline_s:g} s",
                hint="See `siaga journal show`: whether it consumes, and its lag.",
            )
        time.sleep(POLL_S)


def differences(contents: Contents, ledger_map: LedgerMap, accumulators: Path, point: Point) -> Comparison:
    """The journal at that point against the database's accumulators."""
    standing = contents.standing
    assert standing.base is not None, "awaited"
    if standing.base["map"] != ledger_map.digest():
        raise Undetermined("the journal's base was read with another ledger map", hint="Give the journal's map.")
    base_position = standing.base_position
    if base_position is not None and base_position.system == point.system and base_position.at > point.lsn:
        raise Undetermined(
            f"the journal's base stands at {standing.base['lsn']}, beyond the database at {show(point.lsn)}",
            hint="What lies before a base is known as one sum an account only.",
        )
    shape = state.shape_from(standing.base["shape"])
    left_out = list(_not_held(contents, point))
    kept = state.kept(contents.directory, standing)
    later = state.later(contents, kept.through, shape)
    later.fold_rows(left_out, back=True)
    scratch = accumulators.parent
    with columnar.database(scratch) as connection:
        columnar.load_accumulators(connection, scratch, kept.path, later.found, "journal")
        count = columnar.count_rows(connection, accumulators)
        found = columnar.unequal(connection, accumulators, "journal", DIFFERENCES_MAX)
    return Comparison(
        system=point.system,
        timeline=point.timeline,
        lsn=point.lsn,
        snapshot=point.text if point.snapshot is not None else None,
        accounts=count,
        differences=tuple(Difference(row[0], row[1], _side(row[2:6]), _side(row[6:10])) for row in found),
        left_out=len(left_out),
    )


def _not_held(contents: Contents, point: Point) -> Iterator[tuple[Any, ...]]:
    standing = contents.standing
    for log, row in segments.transactions(contents, _beyond(point)):
        same = log.system == point.system and log.number >= standing.base_number
        if same and standing.lives(log.number, point.system, row[LSN]) and not point.holds(row):
            yield row


def _beyond(point: Point) -> segments.Choice:
    """What the database may not hold: of few logs, the last ones."""
    if point.snapshot is None:
        return segments.from_position(point.lsn)
    xmin = point.snapshot.xmin
    return segments.Choice(lambda log: log.xid_max >= xmin, f"xid >= {xmin}", lambda row: row[XID] >= xmin)


def _side(numbers: tuple[str | None, ...]) -> Side | None:
    return Side(*(int(number) for number in numbers if number is not None)) if numbers[0] is not None else None
