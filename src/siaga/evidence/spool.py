"""Where acts are noted that may not wait for the evidence: a small local file, its space taken ahead (decision 21).

An entry fills whole pages of its own, so that writing it never waits for a page to be read, nor for one that is on its
way to a disk that hangs. Written, it survives the process; `sync` makes it survive the machine. An entry stays until it
is in the log and is cleared then; whoever finds one again after a crash looks the log through for its id first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siaga.errors import Refused
from siaga.evidence.disk import write_at

PAGE_BYTES = 4096
SPOOL_BYTES = 4 * 1024 * 1024
_PAGES = SPOOL_BYTES // PAGE_BYTES
_MAGIC = b"SGX1"
_HEADER = struct.Struct(">4sIIQQ")
"""Magic, CRC-32 of all that follows, length of the body, sequence, size of the log when it was written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that is not in the log yet, as far as we know."""

    id: str
    document: Mapping[str, Any]
    log_size: int
    """How many records the log had: it can be in the log from there on only."""
    page: int
    pages: int
    """0 when it is in memory alone."""

    @staticmethod
    def in_memory(entry_id: str, body: bytes, log_size: int) -> Entry:
        """An entry that found no room."""
        return Entry(entry_id, json.loads(body), log_size, 0, 0)


class SpoolFull(Exception):
    """No room for another entry until some are in the log."""


class Spool:
    """One writer; entries may be cleared from another thread."""

    def __init__(self, path: Path) -> None:
        """Open the spool, or make it; OSError when there is no space, Refused when another process has it."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take_lock(path)
            self._take_space()
            self.torn = 0
            """Entries that a crash left half-written: the act had not begun."""
            self._used = bytearray(_PAGES)
            self._free = threading.Lock()
            self._run = secrets.token_hex(8)
            self._sequence = 0
            self._next = 0
            self.found = self._read()
        except BaseException:
            os.close(self._descriptor)
            raise

    def put(self, body: bytes, log_size: int) -> Entry:
        """Note a record: a copy into memory of the kernel, no wait for a disk. SpoolFull, or OSError."""
        self._sequence += 1
        document = b'{"id":"%b-%d","record":%b}' % (self._run.encode(), self._sequence, body)
        protected = struct.pack(">IQQ", len(document), self._sequence, log_size) + document
        content = _MAGIC + struct.pack(">I", zlib.crc32(protected)) + protected
        pages = -(-len(content) // PAGE_BYTES)
        with self._free:
            # Onwards from the last one, so that a page that was cleared just now has time to reach the disk.
            page = self._used.find(bytes(pages), self._next)
            if page < 0:
                page = self._used.find(bytes(pages))
            if page < 0:
                raise SpoolFull
            self._next = page + pages
            self._used[page : page + pages] = b"\1" * pages
        try:
            write_at(self._descriptor, content.ljust(pages * PAGE_BYTES, b"\0"), page * PAGE_BYTES)
        except OSError:
            self._release(page, pages)
            raise
        return Entry(f"{self._run}-{self._sequence}", json.loads(body), log_size, page, pages)

    def clear(self, entry: Entry) -> None:
        """It is in the log."""
        # Should this fail or get lost, the entry is found again, and so is its record in the log.
        with contextlib.suppress(OSError):
            write_at(self._descriptor, bytes(PAGE_BYTES), entry.page * PAGE_BYTES)
        self._release(entry.page, entry.pages)

    def sync(self) -> None:
        """Wait until what was noted is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)

    def _release(self, page: int, pages: int) -> None:
        with self._free:
            self._used[page : page + pages] = bytes(pages)

    def _take_lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another process notes exempt acts in {path}, expected to be the only one",
                hint="Look for the other controller with `siaga status`.",
            ) from None

    def _take_space(self) -> None:
        missing = SPOOL_BYTES - os.fstat(self._descriptor).st_size
        if missing > 0:
            # Zeros, not `fallocate`: a block that was written once can be written again on a full disk for certain.
            write_at(self._descriptor, bytes(missing), SPOOL_BYTES - missing)
            os.fsync(self._descriptor)

    def _read(self) -> list[Entry]:
        """What an earlier process left, in its order."""
        content = os.pread(self._descriptor, SPOOL_BYTES, 0)
        found: list[tuple[int, Entry]] = []
        page = 0
        while page < _PAGES:
            read = _read_entry(content, page)
            if read is None:
                self.torn += content.startswith(_MAGIC, page * PAGE_BYTES)
                page += 1
                continue
            found.append(read)
            self._used[page : page + read[1].pages] = b"\1" * read[1].pages
            page += read[1].pages
        found.sort(key=lambda numbered: numbered[0])
        self._sequence = found[-1][0] if found else 0
        return [entry for _, entry in found]


def _read_entry(content: bytes, page: int) -> tuple[int, Entry] | None:
    begin = page * PAGE_BYTES
    magic, crc, length, sequence, log_size = _HEADER.unpack_from(content, begin)
    end = begin + _HEADER.size + length
    if magic != _MAGIC or end > len(content) or zlib.crc32(content[begin + 8 : end]) != crc:
        return None
    document = json.loads(content[begin + _HEADER.size : end])
    return sequence, Entry(document["id"], document["record"], log_size, page, -(-(end - begin) // PAGE_BYTES))
