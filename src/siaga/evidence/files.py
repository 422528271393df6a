"""The log as files: segments with a line a record, appended and on disk before anybody is told."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from siaga.errors import Refused
from siaga.evidence.chain import Position
from siaga.evidence.disk import preallocate, write_at
from siaga.evidence.segments import Segments
from siaga.evidence.store import Cut
from siaga.hosts.local import sync_directory, write_and_rename

ROOM_BYTES = 20 * 1024 * 1024
"""Taken ahead for a segment: 16 MiB and the last batch, which may go beyond."""
RESERVE_RETRY_S = 10.0
_UNSURE_BYTES = 4 * 1024 * 1024
"""More than one batch: what a crash may have left in memory alone, though a reader finds it in the file."""


class FileStore:
    """Writes an evidence directory, alone: one process at a time.

    `log/NUMBER.start` says what is before a segment, so that opening reads the last ones only; `log/reserve` is the
    next segment, its space taken already.
    """

    def __init__(self, directory: Path, origin: str) -> None:
        """The log in this directory, which may not be there yet."""
        self.origin = origin
        self._directory = directory
        self._log = directory / "log"
        self._lock: int | None = None
        self._descriptor: int | None = None
        self._path = Path()
        self._end = 0
        self._reserved = False
        self._reserve_tried_s = 0.0

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def _segments(self) -> Segments:
        return Segments(self._directory)

    @property
    def start(self) -> Position:
        """Where the records that are left begin."""
        return self._segments.start

    @property
    def unfinished_bytes(self) -> int:
        """None: a half-written line is cut off before anything else."""
        return 0

    def checkpoints(self) -> list[bytes]:
        """The lines of the signed checkpoints, oldest first."""
        return self._segments.checkpoints()

    def blocks(self, first: int = 0) -> Iterator[list[bytes]]:
        """Lines in order, from record `first` on."""
        return self._segments.blocks(first)

    def newest_first(self) -> Iterator[bytes]:
        """Lines, the last one first."""
        return self._segments.newest_first()

    def segment_starts(self) -> list[int]:
        """The first record of every segment that is left."""
        return [first for first, _ in self._segments.segments()]

    def position_before(self, size: int) -> Position:
        """The latest start of a segment that is known and not after `size`."""
        for first in reversed(self.segment_starts()):
            if first <= size:
                # Without its note, or with a damaged one, reading begins a segment earlier.
                with contextlib.suppress(OSError, ValueError):
                    position = Position.from_document(json.loads(self._start_path(first).read_bytes()))
                    if position.size == first:
                        return position
        return self.start

    # Writing ----------------------------------------------------------------------------------------------------

    def open(self) -> Cut | None:
        """Take the directory; Refused when another process writes there, or it belongs to another log."""
        self._log.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._take_lock()
        self._settle_origin()
        segments = self._segments.segments()
        if not segments:
            self._begin_segment(self.start)
            return None
        self._remove_pruned()
        self._path = segments[-1][1]
        self._descriptor = os.open(self._path, os.O_RDWR)
        self._end, torn = _settle_end(self._descriptor)
        with contextlib.suppress(OSError):
            preallocate(self._descriptor, ROOM_BYTES)
        self._make_reserve()
        if not torn:
            return None
        # For whoever wants to know what it was; on a full disk its digest has to do.
        with contextlib.suppress(OSError):
            write_and_rename(self._log / f"{self._path.stem}.torn", torn)
        return Cut(len(torn), hashlib.sha256(torn).hexdigest())

    def append(self, lines: Sequence[bytes], at: Position, *, fresh: bool) -> None:
        """Write and fsync; OSError when that fails, and `recover` comes next."""
        if fresh:
            self._begin_segment(at)
        assert self._descriptor is not None, "opened"
        content = b"".join(lines)
        write_at(self._descriptor, content, self._end)
        os.fdatasync(self._descriptor)
        self._end += len(content)
        if not self._reserved and time.monotonic() > self._reserve_tried_s + RESERVE_RETRY_S:
            self._make_reserve()

    def recover(self, at: Position) -> None:
        """Cut off what a failed append wrote.

        After a failed fsync the kernel may show what never reached the disk and count it as written, so nothing of it
        is trusted: it is cut off, through a new descriptor, and written anew by whoever wants it recorded.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        for first, path in self._segments.segments():
            if first >= at.size and path != self._path:
                path.unlink()
        self._descriptor = os.open(self._path, os.O_RDWR)
        if os.fstat(self._descriptor).st_size != self._end:
            os.ftruncate(self._descriptor, self._end)
            # Cutting gave the space ahead back, too.
            with contextlib.suppress(OSError):
                preallocate(self._descriptor, ROOM_BYTES)
        os.fsync(self._descriptor)
        sync_directory(self._log)

    def prune(self, to: Position) -> None:
        """Remove every segment before `to`. A crash on the way leaves files that the next opening removes."""
        document = {"first": 0, "last": to.size - 1, **to.document()}
        write_and_rename(self._log / f"{0:012d}.pruned", json.dumps(document).encode())
        self._remove_pruned()

    @property
    def reserve_bytes(self) -> int:
        """Space taken ahead, in this segment and for the next one."""
        return (max(0, ROOM_BYTES - self._end) + ROOM_BYTES) if self._reserved else 0

    def close(self) -> None:
        """Let others write."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Refused(
                f"another process writes the evidence in {self._directory}, expected to be the only one",
                hint="Two controllers need a state in PostgreSQL. Look for the other one with `siaga status`.",
            ) from None
        self._lock = lock

    def _settle_origin(self) -> None:
        path = self._directory / "origin"
        if not path.exists():
            write_and_rename(path, f"{self.origin}\n".encode())
        found = path.read_text(encoding="utf-8").strip()
        if found != self.origin:
            raise Refused(
                f"the evidence in {self._directory} is of the log `{found}`, expected `{self.origin}`",
                hint="It is another site's, or another generation's: restore the directory that belongs here.",
            )

    def _begin_segment(self, at: Position) -> None:
        """The reserve becomes the new segment, so that a full disk can't prevent it."""
        path = self._log / f"{at.size:012d}.jsonl"
        if at.size:
            # Without this note, opening reads a segment more; a full disk must not prevent the new segment.
            with contextlib.suppress(OSError):
                write_and_rename(self._start_path(at.size), json.dumps(at.document()).encode())
        reserve = self._log / "reserve"
        descriptor = os.open(reserve, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(OSError):
                preallocate(descriptor, ROOM_BYTES)
            reserve.rename(path)
            sync_directory(self._log)
        except BaseException:
            os.close(descriptor)
            raise
        if self._descriptor is not None:
            # Nothing more is appended there: the rest of what was taken ahead goes back.
            os.ftruncate(self._descriptor, self._end)
            os.close(self._descriptor)
        self._descriptor, self._path, self._end = descriptor, path, 0
        self._reserved = False
        self._make_reserve()

    def _make_reserve(self) -> None:
        """Without it, writing goes on as long as the disk has space."""
        self._reserve_tried_s = time.monotonic()
        with contextlib.suppress(OSError):
            descriptor = os.open(self._log / "reserve", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._reserved = preallocate(descriptor, ROOM_BYTES)
            finally:
                os.close(descriptor)

    def _remove_pruned(self) -> None:
        for path in self._log.iterdir():
            if path.suffix in (".jsonl", ".start") and path.stem.isdigit() and int(path.stem) < self.start.size:
                path.unlink()
        sync_directory(self._log)

    def _start_path(self, first: int) -> Path:
        return self._log / f"{first:012d}.start"


def _settle_end(descriptor: int) -> tuple[int, bytes]:
    """Cut off a half-written last line and return where it began and what it was.

    What is read before it is on the disk afterwards, too.
    """
    length = os.fstat(descriptor).st_size
    begin = max(0, length - _UNSURE_BYTES)
    content = os.pread(descriptor, length - begin, begin)
    whole = content.rfind(b"\n") + 1
    # Zeros are what a file system fills in where a block of a torn write is missing.
    while whole and b"\0" in content[content.rfind(b"\n", 0, whole - 1) + 1 : whole]:
        whole = content.rfind(b"\n", 0, whole - 1) + 1
    torn = content[whole:]
    if torn:
        os.ftruncate(descriptor, begin + whole)
    # Written by a process that was killed before, or after a failed, fsync, it may be in memory alone.
    write_at(descriptor, content[:whole], begin)
    os.fsync(descriptor)
    return begin + whole, torn
