"""Which evidence goes on after a restore: what is here, or what is in the backup; and what the witness knows of.

Evidence only ever grows. So evidence that is here, whole, and goes on from what is in the backup stays: a restore
then loses none of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from siaga.controller import state
from siaga.controller.state_manifest import Manifest
from siaga.controller.state_version import StateVersion, evidence_directory, evidence_origin
from siaga.errors import BadInput, Refused
from siaga.evidence.chain import BadRecord, Position, Walk
from siaga.evidence.segments import Segments, Unreadable
from siaga.evidence.signatures import BadNote, parse_checkpoint


@dataclass(frozen=True, slots=True)
class EvidenceAfter:
    """Which evidence the platform goes on with."""

    kept: bool
    """What is here stays, since it goes on from the backup's."""
    records: int | None
    """How many there are; None where they are in PostgreSQL."""
    witnessed: int | None
    """How many the witness knows of; None when its memory is not here."""
    lost: tuple[int, int] | None
    """First and last record that are gone for good."""
    generation: int
    """Of the log that is written from now on."""


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


def evidence_after(here: Path, unpacked: Path, memory: Path, manifest: Manifest, accept_loss: str) -> EvidenceAfter:
    """Of state in SQLite; BadInput when the backup's own does not hold, Refused when records would be lost unanswered.

    `here` and `unpacked` are the controllers' directories, `memory` is the witness's.
    """
    found, before = state.read(unpacked), version_here(here)
    backup = read_log(unpacked / evidence_directory(found.generation))
    if backup.bad:
        raise BadInput(
            f"the evidence in the backup does not hold: {backup.bad}", hint="Take another backup; nothing was changed."
        )
    present = read_log(here / evidence_directory(before.generation), backup.records)
    newer = before.generation > found.generation
    kept = (newer and bool(present.origin) and not present.bad) or goes_on_from(present, backup)
    goes_on = present if kept else backup
    if newer and not kept:
        # The backup's log was given up since, and of the one that followed nothing can be used.
        goes_on = Log(evidence_origin(manifest.site, before.generation))
    seen = witnessed(memory, goes_on.origin)
    gone = lost(goes_on.records, (seen, present.records if present.origin == goes_on.origin else None))
    if gone is not None and not accept_loss:
        raise _refusal(gone, goes_on.origin, present.bad)
    generation = max(before.generation, found.generation) + (1 if gone is not None else 0)
    return EvidenceAfter(kept, goes_on.records, seen, gone, generation)


def evidence_after_elsewhere(
    here: Path, unpacked: Path, memory: Path, manifest: Manifest, accept_loss: str
) -> EvidenceAfter:
    """The log is in PostgreSQL, and is what that database's own backup made of it; here are keys and checkpoints."""
    before = version_here(here)
    kept = (here / evidence_directory(before.generation)).exists()
    generation = before.generation if kept else state.read(unpacked).generation
    seen = witnessed(memory, evidence_origin(manifest.site, generation))
    return EvidenceAfter(kept, None, seen, None, generation + (1 if accept_loss else 0))


def _refusal(gone: tuple[int, int], origin: str, bad: str) -> Refused:
    because = f"; the evidence here does not hold: {bad}" if bad else ""
    return Refused(
        f"the backup ends before record {gone[0]}, and records {gone[0]} to {gone[1]} of `{origin}` are known "
        f"to exist: they would be lost{because}",
        hint='Look for a later backup or copy. If there is none: `--accept-loss "why"`; the evidence then goes on '
        "as a new log, which begins with what is missing and who answers for it.",
    )


def version_here(here: Path) -> StateVersion:
    """The version of the state that a restore replaces."""
    try:
        return state.read(here)
    except BadInput:
        # Damaged: that may be what the restore is for.
        return StateVersion()
