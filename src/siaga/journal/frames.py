"""The open log: frames appended to one file, each bound to the one before by its SHA-256, fsynced before it counts.

A frame is what became durable together. One that is not `whole` ends inside a large transaction: whoever starts again
drops it, since the server sends that transaction once more. The digest is the checksum too: a flipped byte, a frame
taken out or put in, breaks it.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from siaga.errors import Exit, SiagaError
from siaga.hosts.local import sync_directory

CHAIN_START = bytes(32)
_HEADER = struct.Struct(">IB32s")
_NO_TEXT = re.compile(rb"[\x00-\x09\x0b-\x1f]")
"""A header's first byte is one, a payload has none: a part of a payload with one has the next frame in it."""
PAYLOAD_BYTES_MAX = 1 << 28
"""No frame is larger; a length beyond it is damage, not a reason to ask for memory."""


class Damaged(SiagaError):
    """The journal's own files are not what was written."""

    exit_code = Exit.DOES_NOT_HOLD

    def __init__(self, message: str) -> None:
        super().__init__(
            message, hint="Keep the files; what was acknowledged beyond is a gap, and a new base closes it."
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as read."""

    payload: bytes
    whole: bool
    chain: bytes
    """The chain's digest with this frame."""
    end: int
    """Where the next one begins, in bytes."""


def bind(chain: bytes, whole: int, payload: bytes) -> bytes:
    """The chain's next digest; `whole` is one byte, 1 or 0."""
    return hashlib.sha256(chain + bytes((whole,)) + payload).digest()


def read(path: Path, chain: bytes) -> Iterator[Frame]:
    """Every frame from the first on; Damaged at the first that is not as written, `Torn` at a last one cut short."""
    end, count = 0, 0
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            count += 1
            if len(header) < _HEADER.size:
                raise Torn(path, count, end)
            length, whole, written = _HEADER.unpack(header)
            if length > PAYLOAD_BYTES_MAX:
                raise Damaged(f"{path.name}: frame {count} at byte {end} says it has {length} bytes")
            payload = file.read(length)
            if len(payload) < length:
                # Zeros to the end are what a power cut leaves of a frame that was being written.
                if _NO_TEXT.search(payload.rstrip(b"\0")) or bind(chain, whole, payload) == written:
                    raise Damaged(f"{path.name}: frame {count} at byte {end} says it has {length} bytes")
                raise Torn(path, count, end)
            chain = bind(chain, whole, payload)
            if chain != written:
                raise Damaged(f"{path.name}: frame {count} at byte {end} is not what was written (its digest differs)")
            end += _HEADER.size + length
            yield Frame(payload, bool(whole), chain, end)


class Torn(Damaged):
    """The last frame is cut short: it was being written, and was never acknowledged."""

    def __init__(self, path: Path, count: int, at: int) -> None:
        super().__init__(f"{path.name}: frame {count} at byte {at} is cut short")


class LogWriter:
    """Appends to one open log; after a failed write the file is cut back to its last good frame."""

    def __init__(self, path: Path, chain: bytes, end: int) -> None:
        self.path = path
        self.chain = chain
        self.end = end
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, end)
        sync_directory(path.parent)

    def append(self, payload: bytes, *, whole: bool) -> None:
        """Write one frame and wait for the disk; OSError (disk full) leaves the log as it was."""
        chain = bind(self.chain, whole, payload)
        frame = _HEADER.pack(len(payload), whole, chain) + payload
        try:
            written = 0
            while written < len(frame):
                written += os.pwrite(self._descriptor, frame[written:], self.end + written)
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.end)
            raise
        self.chain = chain
        self.end += len(frame)

    def close(self) -> None:
        """Everything is on the disk already."""
        os.close(self._descriptor)
