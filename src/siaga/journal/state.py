"""The accumulators of every account as the journal has them, kept so that a restart folds only the tail.

`accumulators.json` names a columnar file with all accounts up to a log; each later log has its own few accounts in a
delta. The sums are additive: what a fork abandoned, or a snapshot does not see, is taken back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from siaga.errors import SiagaError
from siaga.hosts.local import write_and_rename
from siaga.journal import columnar
from siaga.journal.records import ENTRY_FIELDS, FLAT_FIELDS, Kind, Record, decode
from siaga.journal.segments import Contents, Log, log_frames, log_records, taken_by
from siaga.journal.summary import Standing
from siaga.ledger.accumulators import Accumulator, Key, Shape, digest, entry, key_of, scaled, text

_FIRST = FLAT_FIELDS.index(ENTRY_FIELDS[0])
_LAST = _FIRST + len(ENTRY_FIELDS)
_POINTER = "accumulators.json"


class Undetermined(SiagaError):
    """The journal can't say now; it may be able to later."""


class Delta:
    """The accumulators of a few accounts."""

    def __init__(self, shape: Shape, found: dict[Key, Accumulator] | None = None) -> None:
        self._shape = shape
        self.found: dict[Key, Accumulator] = found if found is not None else {}
        self.entries = 0

    def fold(self, records: Iterable[Record]) -> None:
        """Entries of records as they arrive."""
        for record in records:
            if record[0] == Kind.ENTRY:
                self._change(record[1:], back=False)

    def fold_rows(self, rows: Iterable[tuple[Any, ...]], *, back: bool) -> None:
        """Entries of flat rows, added or taken back."""
        for row in rows:
            if row[0] == Kind.ENTRY:
                self._change(row[_FIRST:_LAST], back=back)

    def merge(self, found: dict[Key, Accumulator]) -> None:
        """Another delta's accounts."""
        for key, sums in found.items():
            mine = self.found.get(key)
            if mine is None:
                self.found[key] = replace(sums)
            else:
                mine.merge(sums)

    def _change(self, values: Iterable[str | None], *, back: bool) -> None:
        self.entries += 1
        named = dict(zip(ENTRY_FIELDS, values, strict=True))
        try:
            one = entry(named, self._shape)
        except (ValueError, ArithmeticError):
            one = entry(_readable(named, self._shape), self._shape)
        key = key_of(one, self._shape)
        sums = self.found.get(key)
        if sums is None:
            sums = self.found[key] = Accumulator()
        (sums.take_back if back else sums.add)(one, digest(text(one, self._shape)))


def _readable(values: dict[str, str | None], shape: Shape) -> dict[str, str | None]:
    """Without values that have no exact number (NaN, too many decimals): the database's statements skip them too."""
    found = dict(values)
    for field in ("amount", "debit", "credit", "balance_before", "balance_after", "sequence"):
        try:
            scaled(found[field] or "0", shape.decimals if field != "sequence" else 0)
        except (ValueError, ArithmeticError):
            found[field] = None
    return found


def shape_document(shape: Shape) -> dict[str, Any]:
    """As the base keeps it."""
    return {**asdict(shape), "fields": list(shape.fields), "texts": sorted(shape.texts)}


def shape_from(document: dict[str, Any]) -> Shape:
    """Back from the base."""
    return Shape(**{**document, "fields": tuple(document["fields"]), "texts": frozenset(document["texts"])})


# Deltas on disk ------------------------------------------------------------------------------------------


def delta_path(directory: Path, number: int) -> Path:
    """Where the delta of a log is kept."""
    return directory / f"{number:010}.delta.json"


def write_delta(directory: Path, number: int, delta: Delta, chain: str) -> None:
    """Keep a log's delta up to the frame with that digest."""
    content = {"chain": chain, "entries": delta.entries, "accounts": list(columnar.accumulator_rows(delta.found))}
    write_and_rename(delta_path(directory, number), json.dumps(content, separators=(",", ":")).encode())


def read_delta(directory: Path, number: int, shape: Shape) -> tuple[Delta, str] | None:
    """The kept delta and the digest of the frame it reaches to; None when there is none."""
    try:
        content = json.loads(delta_path(directory, number).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    delta = Delta(shape, {(row[0], row[1]): Accumulator(*row[2:]) for row in content["accounts"]})
    delta.entries = content["entries"]
    return delta, content["chain"]


def delta_of(contents: Contents, log: Log, shape: Shape) -> Delta:
    """A log's accumulators: what was kept of them, and the frames since."""
    kept = read_delta(contents.directory, log.summary.number, shape)
    if kept is not None:
        delta, chain = kept
        reached = False
        for frame in log_frames(log):
            if reached:
                delta.fold(decode(frame.payload))
            reached = reached or frame.chain.hex() == chain
        if reached:
            return delta
    # None was kept, or the log was cut and written anew since: a delta of what was cut must not be used.
    delta = opening_delta(contents, log.summary.number, shape)
    delta.fold(log_records(log))
    return delta


def opening_delta(contents: Contents, number: int, shape: Shape) -> Delta:
    """What a log begins with: nothing, or what its fork abandoned, taken back."""
    delta = Delta(shape)
    standing = contents.standing
    for fork in (fork for fork in standing.forks if fork.number == number > standing.base_number):
        delta.fold_rows(taken_by(contents, fork), back=True)
    return delta


# All accounts --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """The file with the accumulators of all accounts, up to and with log `through`."""

    through: int
    path: Path


def kept(directory: Path, standing: Standing) -> Kept:
    """Where the accumulators stand; Undetermined before the base was read."""
    if standing.base is None:
        raise Undetermined("the journal has no base yet", hint="It is being read from the database: try again.")
    found = pointer(directory)
    if found is not None and found["through"] >= standing.base_number:
        return Kept(found["through"], directory / found["file"])
    return Kept(standing.base_number - 1, directory / standing.base["file"])


def pointer(directory: Path) -> dict[str, Any] | None:
    """Which file the accumulators are folded into, with its digest; None while that is the base itself."""
    try:
        found: dict[str, Any] = json.loads((directory / _POINTER).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def later(contents: Contents, through: int, shape: Shape) -> Delta:
    """Everything after log `through`."""
    found = Delta(shape)
    for seal in contents.seals:
        number = seal.summary.number
        if number > through:
            delta = read_delta(contents.directory, number, shape)
            if delta is None or delta[1] != seal.chain_after:
                raise Undetermined(
                    f"the delta of segment {number} is missing", hint="The consumer makes it again when it starts."
                )
            found.merge(delta[0].found)
    for log in contents.logs:
        found.merge(delta_of(contents, log, shape).found)
    return found


def accumulate(directory: Path, standing: Standing, closed: int, shape: Shape) -> None:
    """Fold the deltas up to the closed segment `closed` into one file of all accounts, where that is worth it."""
    base = kept(directory, standing)
    merged = Delta(shape)
    for number in range(base.through + 1, closed + 1):
        delta = read_delta(directory, number, shape)
        assert delta is not None, "a segment is closed after its delta was kept"
        merged.merge(delta[0].found)
    path = directory / f"accumulators-{closed:010}.parquet"
    with columnar.database(directory) as connection:
        if len(merged.found) * REWRITE_SHARE < columnar.count_rows(connection, base.path):
            return
        columnar.load_accumulators(connection, directory, base.path, merged.found, "state")
        digest = columnar.write_parquet(connection, "from state", path)
    named = {"through": closed, "file": path.name, "sha256": digest}
    write_and_rename(directory / _POINTER, json.dumps(named).encode())
    for old in directory.glob("accumulators-*.parquet"):
        if old != path:
            old.unlink()
    for old in directory.glob("*.delta.json"):
        if int(old.name.partition(".")[0]) <= closed:
            old.unlink()


REWRITE_SHARE = 16
"""The file is rewritten once a sixteenth of its accounts moved: 10 M of them for each log would never end."""
