"""The growing end of the log: verified when opened, extended batch by batch, found again after a fault.

Its calls block (they write and fsync); the log makes them in one thread. What reads it may be in any other: the head
and the recent leaves are replaced whole, never changed below a size that was handed out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from siaga.errors import Refused, StoreFault
from siaga.evidence.chain import BadRecord, Position, Walk
from siaga.evidence.document import Unnumbered
from siaga.evidence.merkle import Tree, push
from siaga.evidence.model import Unrecorded
from siaga.evidence.segments import Unreadable
from siaga.evidence.selection import exempt_ids
from siaga.evidence.signatures import Checkpoint, parse_checkpoint
from siaga.evidence.store import Cut, Store
from siaga.evidence.verify_export import keep_promise

SEGMENT_BYTES = 16 * 1024 * 1024
RETRY_S = 1.0
"""After a failed write nothing is tried for so long: a disk in trouble is not hammered, callers are told at once."""

_REPAIR = "Free space, or repair the disk or database that holds the evidence."
_RESTORE = (
    "Run `siaga evidence verify`. If the directory was copied back, restore the newest copy instead; "
    "`siaga state restore --accept-loss` goes on without what is missing, and says so."
)


@dataclass(frozen=True, slots=True)
class _Recent:
    """The start of the last segment, and the leaves since."""

    base: Position
    leaves: list[bytes]


@dataclass
class Trouble:
    """Why nothing can be recorded at present."""

    why: str
    since_monotonic_s: float
    refused: int = 0
    """Records that were not taken since then."""
    retry_at_s: float = 0.0


class Tail:
    """Extends one store; nothing is acknowledged that may not be durable."""

    def __init__(self, store: Store) -> None:
        """Nothing is opened yet."""
        self._store = store
        self._recent = _Recent(Position(0, b""), [])
        self._segment_bytes = 0
        self.head = Position(0, b"")
        """After the last durable record."""
        self.trouble: Trouble | None = None
        self.recovered: Trouble | None = None
        """What is over since the last batch, and not recorded yet."""

    # Opening ----------------------------------------------------------------------------------------------------

    def open(self, seen: Checkpoint | None) -> Cut | None:
        """Take the store and verify it from the last checkpoint on, and against what the witness has `seen`.

        Refused names the record that does not hold, or those that are missing; Unrecorded where it can't be read.
        """
        try:
            cut = self._store.open()
            self._verify([checkpoint for checkpoint in (self._last_checkpoint(), seen) if checkpoint])
        except BaseException as error:
            self._store.close()
            if isinstance(error, BadRecord | Unreadable):
                raise Refused(f"the evidence does not hold: {error}", hint=_RESTORE) from None
            if isinstance(error, OSError | StoreFault):
                raise Unrecorded(f"the evidence can't be opened: {_words(error)}", hint=_REPAIR) from error
            raise
        return cut

    def _last_checkpoint(self) -> Checkpoint | None:
        lines = self._store.checkpoints()
        if not lines:
            return None
        try:
            return parse_checkpoint(json.loads(lines[-1])["note"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadRecord(0, f"the last of {len(lines)} checkpoints can't be read: {error}") from error

    def _verify(self, promised: Sequence[Checkpoint]) -> None:
        for checkpoint in promised:
            if checkpoint.origin != self._store.origin:
                raise BadRecord(0, f"it is of `{self._store.origin}`, its checkpoint of `{checkpoint.origin}`")
        promised = [checkpoint for checkpoint in promised if checkpoint.size >= self._store.start.size]
        start = self._store.position_before(min((checkpoint.size for checkpoint in promised), default=0))
        last = self._store.position_before(self._store.segment_starts()[-1])
        walk = Walk(start, [last.size, *(checkpoint.size for checkpoint in promised)])
        leaves: list[bytes] = []
        self._segment_bytes = 0
        for lines in self._store.blocks(start.size):
            old = max(0, last.size - walk.size)
            leaves += walk.feed(lines)[old:]
            self._segment_bytes += sum(len(line) + 1 for line in lines[old:])
        for checkpoint in promised:
            keep_promise(checkpoint, walk, "a checkpoint counts")
        self._recent = _Recent(walk.passed[last.size], leaves)
        self.head = walk.position

    # Extending --------------------------------------------------------------------------------------------------

    def commit(self, records: Sequence[Unnumbered]) -> int:
        """Make them durable and return the number of the first; Unrecorded when that can't be done now."""
        self._recover(len(records))
        at, walk = self.head, Walk(self.head)
        added = [walk.add(record.numbered(at.size + n)) for n, record in enumerate(records)]
        lines, leaves = [line for line, _ in added], [leaf for _, leaf in added]
        fresh = self._segment_bytes >= SEGMENT_BYTES
        try:
            self._store.append(lines, at, fresh=fresh)
        except (OSError, StoreFault) as error:
            raise self._failed(error, len(records)) from error
        if fresh:
            self._recent, self._segment_bytes = _Recent(at, leaves), 0
        else:
            self._recent.leaves.extend(leaves)
        self._segment_bytes += sum(map(len, lines))
        self.head = walk.position
        return at.size

    def exempt_ids(self, since: int) -> set[str]:
        """The ids of the exempt acts that are in the log from record `since` on; Unrecorded when that is not known.

        What a failed write left to be read may be gone in a moment, so the end of the log is found again first.
        """
        self._recover(0)
        try:
            return exempt_ids(self._store.blocks(since))
        except (OSError, StoreFault) as error:
            raise Unrecorded(f"the evidence can't be searched: {_words(error)}", hint=_REPAIR) from error

    def _recover(self, wanted: int) -> None:
        if self.trouble is None:
            return
        if time.monotonic() < self.trouble.retry_at_s:
            raise self._unrecorded(self.trouble, wanted)
        try:
            self._store.recover(self.head)
            self._adopt()
        except (OSError, StoreFault) as error:
            raise self._failed(error, wanted) from error
        self.recovered, self.trouble = self.trouble, None

    def _adopt(self) -> None:
        """What a store kept although it could not tell us: it is in the log, so it stays."""
        walk = Walk(self.head)
        try:
            for lines in self._store.blocks(self.head.size):
                self._recent.leaves.extend(walk.feed(lines))
                self._segment_bytes += sum(map(len, lines))
        except BadRecord as bad:
            raise StoreFault(f"somebody else has written: {bad}") from None
        self.head = walk.position

    def _failed(self, error: OSError | StoreFault, wanted: int) -> Unrecorded:
        why = _words(error)
        trouble = self.trouble or self.recovered or Trouble(why, time.monotonic())
        trouble.why, trouble.retry_at_s = why, time.monotonic() + RETRY_S
        self.trouble, self.recovered = trouble, None
        return self._unrecorded(trouble, wanted)

    @staticmethod
    def _unrecorded(trouble: Trouble, wanted: int) -> Unrecorded:
        trouble.refused += wanted
        return Unrecorded(f"the evidence can't be written: {trouble.why}", hint=f"{_REPAIR} It goes on by itself then.")

    # Retention --------------------------------------------------------------------------------------------------

    def prunable(self, before: str, witnessed_size: int) -> Position | None:
        """Up to where whole closed segments are older than a time (UTC, ISO 8601) and under a witnessed checkpoint."""
        found = None
        for first in self._store.segment_starts()[1:]:
            if first > witnessed_size or self._time_of(first - 1) >= before:
                break
            found = first
        return None if found is None else self.position(found)

    def prune(self, to: Position) -> None:
        """Remove the segments before `to`; OSError or StoreFault when that fails, and nothing is lost but space."""
        self._store.prune(to)

    def _time_of(self, number: int) -> str:
        lines = next(lines for lines in self._store.blocks(number) if lines)
        return str(json.loads(lines[0][65:])["time"])

    # Reading ----------------------------------------------------------------------------------------------------

    def position(self, size: int) -> Position:
        """What is before record `size`; ValueError beyond the end or before what retention left."""
        head, recent = self.head, self._recent
        if size == head.size:
            return head
        if recent.base.size <= size < head.size:
            return _after(recent.base, recent.leaves[: size - recent.base.size])
        base = self._base(size)
        return base if base.size == size else _after(base, self._leaves(base)[: size - base.size])

    def tree(self, size: int) -> Tree:
        """The tree from `size`, or earlier, to the head; ValueError as above."""
        recent = self._recent
        if size >= recent.base.size:
            return Tree(recent.base.size, recent.base.peaks, recent.leaves)
        base = self._base(size)
        return Tree(base.size, base.peaks, self._leaves(base))

    def _base(self, size: int) -> Position:
        """The start of the segment that holds record `size`."""
        if not self._store.start.size <= size <= self.head.size:
            raise ValueError(f"size {size}, expected {self._store.start.size} to {self.head.size}")
        return self._store.position_before(size)

    def _leaves(self, base: Position) -> list[bytes]:
        """From there to the end, read from the store and verified."""
        walk = Walk(base)
        return [leaf for lines in self._store.blocks(base.size) for leaf in walk.feed(lines)]


def _after(base: Position, leaves: Sequence[bytes]) -> Position:
    chain, peaks = base.chain, list(base.peaks)
    for leaf in leaves:
        chain = hashlib.sha256(chain + leaf).digest()
    push(peaks, base.size, leaves)
    return Position(base.size + len(leaves), chain, tuple(peaks))


def _words(error: OSError | StoreFault) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
