"""Checks Siaga's evidence, offline and by itself: needs Python 3.11 and `cryptography`, nothing of Siaga.

    python verify_export.py EXPORT --log-key log.pub --witness-key witness.pub

EXPORT is the directory or the `.jsonl` file that `siaga evidence export` wrote. The keys should have reached you by
another way than the export: whoever could forge the one could forge the other. Checked are the form of every line,
the chain from record to record, the root of the tree (RFC 6962) at every checkpoint, the log's signature on each of
them (through every change of its key), and the signature of the witness, who is not the log's writer.

Exit codes: 0 all of it is proven, 1 it does not hold and the first bad record is named, 2 wrong usage,
3 intact, but not all of it is under a checkpoint with the witness's signature.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from siaga.evidence.chain import BadRecord, Position, Walk
from siaga.evidence.notes import Handover, parse_handover
from siaga.evidence.segments import ExportFile, Segments, Unreadable
from siaga.evidence.signatures import BadNote, Checkpoint, Key, parse_checkpoint, parse_key
from siaga.evidence.signers import Signers

HANDOVER_KINDS = ("evidence.key_rotated", "evidence.witness_key_rotated")
_HANDOVER_MARK = b'key_rotated","monotonic_s"'
"""In the canonical form of such a record `kind` stands before `monotonic_s`."""


class Source(Protocol):
    """Evidence to read: files, an export, a database."""

    @property
    def origin(self) -> str:
        """The log's name."""

    @property
    def start(self) -> Position:
        """Where the records that are left begin."""

    @property
    def unfinished_bytes(self) -> int:
        """Bytes after the last whole line, once that was read."""

    def checkpoints(self) -> list[bytes]:
        """The lines of the signed checkpoints, oldest first."""

    def blocks(self) -> Iterator[list[bytes]]:
        """The lines of all records that are left, in order."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not hold, from this record on."""

    record: int
    why: str


@dataclass
class Report:
    """What was verified, and what does not hold."""

    origin: str
    first: int
    """The first record that is there; those before were removed by retention."""
    size: int = 0
    """How many records the log counts, removed ones included."""
    checkpoints: int = 0
    key_changes: int = 0
    witnessed_size: int = 0
    """Records under a checkpoint that the witness signed."""
    witnessed_at: str = ""
    unfinished_bytes: int = 0
    pruned_under: int = 0
    """The size of the first checkpoint that covers what was removed, and was found to."""
    broken_at: int | None = None
    """The record where the history ends to hold; nothing is known of what is behind."""
    faults: list[Fault] = field(default_factory=list)

    def break_at(self, record: int, why: str) -> None:
        """Note where the history ends to hold."""
        self.faults.append(Fault(record, why))
        self.broken_at = record

    @property
    def exit_code(self) -> int:
        """0 proven, 1 does not hold, 3 intact but not all of it witnessed."""
        if self.faults:
            return 1
        return 0 if 0 < self.size == self.witnessed_size else 3

    def document(self) -> dict[str, Any]:
        """As JSON."""
        faults = [{"record": fault.record, "why": fault.why} for fault in self.faults]
        verdict = {0: "proven", 1: "does not hold", 3: "intact, not all of it witnessed"}[self.exit_code]
        return {"verdict": verdict, **{name: getattr(self, name) for name in _FIGURES}, "faults": faults}

    def words(self) -> list[str]:
        """What was verified, a sentence a line."""
        said = [f"log {self.origin}"]
        if self.first:
            root = (
                f"their root is in the checkpoint of {self.pruned_under}" if self.pruned_under else "no checkpoint left"
            )
            said.append(f"records 0 to {self.first - 1} were removed by retention, {root}")
        last = f"records {self.first} to {self.size - 1}" if self.size > self.first else "no records"
        said.append(f"{last}: form and chain hold" + (" up to here" if self.faults else ""))
        said.append(f"{self.checkpoints} checkpoints read, {self.key_changes} changes of key followed")
        if self.witnessed_size:
            said.append(f"{self.witnessed_size} records are under the witness's signature of {self.witnessed_at}")
        if not self.faults and self.size > self.witnessed_size:
            said.append(f"records {self.witnessed_size} to {self.size - 1} are under no checkpoint of the witness yet")
        if self.unfinished_bytes:
            said.append(
                f"record {self.size} is half written ({self.unfinished_bytes} bytes) and was never acknowledged"
            )
        return said + [f"record {fault.record}: {fault.why}" for fault in self.faults]


_FIGURES = (
    "origin", "first", "size", "checkpoints", "key_changes", "witnessed_size", "witnessed_at", "unfinished_bytes",
)  # fmt: skip


def verify(
    source: Source,
    log_keys: Sequence[Key],
    witness_keys: Sequence[Key],
    *,
    seen: Sequence[Checkpoint] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> Report:
    """Verify everything that is there; `seen` is what the witness itself remembers of this log."""
    report = Report(source.origin, source.start.size)
    promised = _read_checkpoints(source, report)
    seen = [checkpoint for checkpoint in seen if checkpoint.size >= report.first]
    walk = Walk(source.start, [checkpoint.size for checkpoint in (*promised, *seen)])
    handovers = _walk(source, walk, report, progress)
    _judge_checkpoints(promised, walk, Signers(log_keys, witness_keys, handovers), report)
    for checkpoint in seen:
        _judge_root(checkpoint, walk, report, "the witness remembers")
    report.faults.sort(key=lambda fault: fault.record)
    return report


def _read_checkpoints(source: Source, report: Report) -> list[Checkpoint]:
    """Those that speak of records that are left, in order."""
    found: list[Checkpoint] = []
    for number, line in enumerate(source.checkpoints(), 1):
        before = found[-1].size if found else report.first
        try:
            checkpoint = parse_checkpoint(json.loads(line)["note"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            report.faults.append(Fault(before, f"checkpoint {number} after it can't be read: {error}"))
            continue
        if checkpoint.origin != source.origin:
            report.faults.append(Fault(before, f"checkpoint {number} is of another log, `{checkpoint.origin}`"))
        elif found and checkpoint.size < before:
            why = f"checkpoint {number} counts {checkpoint.size} records, the one before it {before}"
            report.faults.append(Fault(checkpoint.size, why))
        elif checkpoint.size >= report.first:
            found.append(checkpoint)
    report.checkpoints = len(found)
    return found


def _walk(source: Source, walk: Walk, report: Report, progress: Callable[[int], None]) -> list[tuple[int, Handover]]:
    """Go over all records; what they tell of changes of keys."""
    handovers: list[tuple[int, Handover]] = []
    try:
        for lines in source.blocks():
            walk.feed(lines)
            progress(walk.size)
            for line in lines:
                if _HANDOVER_MARK in line:
                    handovers += _handover(json.loads(line[65:]))
    except BadRecord as bad:
        report.break_at(bad.record, bad.why)
    report.size = walk.size
    report.unfinished_bytes = source.unfinished_bytes
    report.key_changes = len(handovers)
    return handovers


def _handover(document: Mapping[str, Any]) -> list[tuple[int, Handover]]:
    """Number and hand-over, where the record is one: another record's text may hold the mark too."""
    if document["kind"] not in HANDOVER_KINDS:
        return []
    try:
        return [(document["number"], parse_handover(document["figures"]["handover"]))]
    except (BadNote, KeyError, TypeError, AttributeError) as error:
        raise BadRecord(document["number"], f"its change of key does not hold: {error}") from error


def _judge_checkpoints(promised: Sequence[Checkpoint], walk: Walk, signers: Signers, report: Report) -> None:
    strangers: set[str] = set()
    for checkpoint in promised:
        if not _judge_root(checkpoint, walk, report, "a checkpoint counts"):
            continue
        note, size = checkpoint.note, checkpoint.size
        report.pruned_under = report.pruned_under or (size if report.first else 0)
        try:
            if not signers.log_signed(note, size):
                raise BadNote(f"not signed by the log's key whose turn it is, {signers.log_name}")
            witnessed_at_s = signers.witnessed_at_s(note)
        except BadNote as error:
            fault = Fault(max(signers.signed_size, report.first), f"the checkpoint of {size} records: {error}")
            report.faults.append(fault)
            continue
        if witnessed_at_s is None:
            strangers |= {line.name for line in note.signatures if line.name != checkpoint.origin}
        else:
            report.witnessed_size = size
            report.witnessed_at = datetime.fromtimestamp(witnessed_at_s, UTC).isoformat() if witnessed_at_s else ""
    if strangers and not report.witnessed_size:
        why = f"cosigned by {', '.join(sorted(strangers))}, and nowhere with the witness key that was given"
        report.faults.append(Fault(report.first, why))


def _judge_root(checkpoint: Checkpoint, walk: Walk, report: Report, who: str) -> bool:
    """Whether the records lead to this root; behind a record that is bad itself nothing is known."""
    if report.broken_at is not None and checkpoint.size > report.broken_at:
        return False
    try:
        keep_promise(checkpoint, walk, who, half_written=report.unfinished_bytes > 0)
    except BadRecord as bad:
        report.break_at(bad.record, bad.why)
        return False
    return True


def keep_promise(checkpoint: Checkpoint, walk: Walk, who: str, *, half_written: bool = False) -> None:
    """BadRecord when the records that were walked are fewer than a checkpoint counts, or others."""
    position = walk.passed.get(checkpoint.size)
    if position is None:
        half = ", the first of them half written" if half_written else ""
        missing = f"records {walk.size} to {checkpoint.size - 1} are missing{half}"
        raise BadRecord(walk.size, f"{missing}: {who} {checkpoint.size}")
    if (position.root, position.chain) != (checkpoint.root, checkpoint.chain):
        agreed = max((size for size in walk.passed if size < checkpoint.size), default=0)
        why = f"records {agreed} to {checkpoint.size - 1} are not those that were signed: {who} another history"
        raise BadRecord(agreed, why)


# The command --------------------------------------------------------------------------------------------------------


def read_keys(path: Path) -> list[Key]:
    """The public keys in a file, one a line, oldest first; BadNote or OSError when there is none."""
    found = [parse_key(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise BadNote("no public key in it")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one export and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="directory or .jsonl file")
    parser.add_argument("--log-key", type=Path, required=True, help="the log's public keys, one a line, oldest first")
    parser.add_argument("--witness-key", type=Path, required=True, help="the public keys of the witness")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of words")
    chosen = parser.parse_args(arguments)
    keys: list[list[Key]] = []
    for path in (chosen.log_key, chosen.witness_key):
        try:
            keys.append(read_keys(path))
        except (OSError, ValueError) as error:
            return _wrong(f"{path}: {error}")
    try:
        source = Segments(chosen.export) if chosen.export.is_dir() else ExportFile(chosen.export)
        report = verify(source, keys[0], keys[1], progress=_say_progress)
    except (Unreadable, OSError) as error:
        return _wrong(str(error))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(json.dumps(report.document(), indent=2) if chosen.json else "\n".join(report.words()))
    if not chosen.json:
        print(report.document()["verdict"].upper())
    return report.exit_code


def _wrong(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 2


def _say_progress(size: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{size} records", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
