"""Which evidence goes on after a restore: what is here, or what is in the backup; and what the witness knows of.

Evidence only ever grows. So evidence that is here, whole, and goes on from what is in the backup stays: a restore
then loses none of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from siaga.evidence.chain import BadRecord, Position, Walk
from siaga.evidence.segments import Segments, Unreadable
from siaga.evidence.signatures import BadNote, parse_checkpoint


@dataclass(frozen=True, slots=True)
class Log:
    """An evidence log, gone over from its first record to its last."""

    origin: str = ""
    """Empty when there is none."""
    end: Position | None = None
    passed: Position | None = None
    """Where the walk came by the size that was asked for."""
    bad: str = ""
    """What is wrong with it; empty when nothing."""

    @property
    def records(self) -> int:
        """How many there are, up to the first bad one."""
        return self.end.size if self.end is not None else 0


def read_log(directory: Path, at: int | None = None) -> Log:
    """Go over the log in this directory and note its position before record `at`."""
    try:
        segments = Segments(directory)
        walk = Walk(segments.start, () if at is None else (at,))
    except Unreadable as error:
        return Log(bad=str(error) if directory.exists() else "")
    try:
        for lines in segments.blocks():
            walk.feed(lines)
    except (BadRecord, OSError) as error:
        return Log(segments.origin, walk.position, walk.passed.get(at or 0), str(error))
    return Log(segments.origin, walk.position, walk.passed.get(-1 if at is None else at))


def goes_on_from(present: Log, backup: Log) -> bool:
    """Whether what is here is whole and begins with what is in the backup."""
    if present.bad or not present.origin or present.origin != backup.origin or backup.end is None:
        return False
    return present.passed is not None and present.passed.chain == backup.end.chain


def witnessed(memory: Path, origin: str) -> int | None:
    """How many records of this log the witness has seen; None when its memory can't be read here."""
    try:
        logs = json.loads(memory.read_bytes())["logs"]
        return parse_checkpoint(logs[origin]["note"]).size if origin in logs else 0
    except (OSError, ValueError, KeyError, TypeError, BadNote):
        return None


def lost(records: int, known_elsewhere: Sequence[int | None]) -> tuple[int, int] | None:
    """The first and last record that somebody knows of and that are not here any more."""
    most = max((known for known in known_elsewhere if known is not None), default=0)
    return (records, most - 1) if most > records else None
