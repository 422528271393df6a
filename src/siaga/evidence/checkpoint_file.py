"""The witnessed checkpoints on disk, one JSON line each; and the signed one that waits for the witness."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from siaga.errors import BadInput
from siaga.evidence.disk import write_at
from siaga.evidence.notes import log_checkpoint
from siaga.evidence.signatures import NOTE_CHARACTERS_MAX, BadNote, Checkpoint, Key
from siaga.hosts.local import sync_directory, write_and_rename

WITNESSED = "checkpoints.jsonl"
PENDING = "checkpoint.pending.json"
_LINES_BYTES = 4 * NOTE_CHARACTERS_MAX
"""Holds the last whole line and a torn one, whatever their notes; a year of minutes is hundreds of MB."""


def _line(checkpoint: Checkpoint, note: str, now: datetime) -> bytes:
    document = {
        "note": note,
        "size": checkpoint.size,
        "time": now.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    return json.dumps(document).encode() + b"\n"


class CheckpointFile:
    """Appends what was witnessed; one process writes (it holds the log)."""

    def __init__(self, directory: Path, copies: Path | None = None) -> None:
        """`copies`: a directory elsewhere, best on storage that can be written once only."""
        self._path = directory / WITNESSED
        self._pending = directory / PENDING
        self._copies = copies
        self._length = 0

    def open(self, log_keys: Sequence[Key], witness_keys: Sequence[Key]) -> Checkpoint | None:
        """The last checkpoint, signatures verified; None when there is none. BadInput when it is damaged.

        A last line that a crash tore is cut off: it was never acknowledged, and the witness cosigns it again.
        """
        # With the log itself in PostgreSQL nobody else makes it.
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = self._path.stat().st_size if self._path.exists() else 0
        if size == 0:
            return None
        with self._path.open("rb") as file:
            file.seek(max(0, size - _LINES_BYTES))
            content = file.read()
        whole = content.rfind(b"\n") + 1
        self._length = size - len(content) + whole
        if self._length < size:
            os.truncate(self._path, self._length)
        return self._last(content[:whole], log_keys, witness_keys)

    def _last(self, lines: bytes, log_keys: Sequence[Key], witness_keys: Sequence[Key]) -> Checkpoint | None:
        if not lines:
            return None
        try:
            return _verified(json.loads(lines.splitlines()[-1])["note"], log_keys, witness_keys)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{self._path}, the last line: {error}",
                hint="Run `siaga evidence verify`; restore the evidence directory from a copy whose keys are these.",
            ) from error

    def append(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Keep a witnessed checkpoint, on disk when this returns; OSError leaves nothing of it."""
        line = _line(checkpoint, note, now)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            beyond = os.fstat(descriptor).st_size - self._length
            if beyond < 0 or b"\n" in os.pread(descriptor, beyond, self._length):
                # We may be a leader that was stopped and woke up: what its successor kept stays.
                raise BlockingIOError(errno.EBUSY, "another process has changed the checkpoints here")
            # What a failed append left behind.
            os.ftruncate(descriptor, self._length)
            write_at(descriptor, line, self._length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if self._length == 0:
            sync_directory(self._path.parent)
        self._length += len(line)
        self._pending.unlink(missing_ok=True)

    def wait(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Keep a checkpoint that only the log has signed; the next one takes its place."""
        write_and_rename(self._pending, _line(checkpoint, note, now))

    def copy(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Put a copy where it can't be changed afterwards, if a place is named; OSError when that fails."""
        if self._copies is None:
            return
        path = self._copies / f"{checkpoint.size:012d}-{now.astimezone(UTC):%Y%m%dT%H%M%S%f}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            write_at(descriptor, _line(checkpoint, note, now), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _verified(note: str, log_keys: Sequence[Key], witness_keys: Sequence[Key]) -> Checkpoint:
    why = BadNote("no keys to verify it with")
    for key in reversed(log_keys):
        try:
            checkpoint = log_checkpoint(note, key)
        except BadNote as error:
            why = error
            continue
        if checkpoint.note.signed_by(reversed(witness_keys)) is None:
            raise BadNote("not cosigned by any witness that is known")
        return checkpoint
    raise why
