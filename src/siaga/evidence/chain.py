"""The chain from record to record, over the stored bytes.

A line is `CHAIN JSON`: leaf = SHA-256(0x00 || JSON), chain = SHA-256(chain before || leaf); the chain before record 0
is SHA-256("siaga evidence v1" LF origin). Pure, and of the standard library alone: the offline verifier carries this
file along.
"""

from __future__ import annotations

import hashlib
import json
from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siaga.evidence.merkle import push, root_of

FORMAT = "siaga evidence v1"


class BadRecord(ValueError):
    """A record that is not what it should be: its number, and what was found."""

    def __init__(self, record: int, why: str) -> None:
        super().__init__(f"record {record}: {why}")
        self.record = record
        self.why = why


@dataclass(frozen=True, slots=True)
class Position:
    """Everything before record `size`, in little: enough to go on from there."""

    size: int
    chain: bytes
    peaks: tuple[bytes, ...] = ()
    """Of the tree over the records before, largest first."""

    @property
    def root(self) -> bytes:
        """The tree's root over the records before."""
        return root_of(self.peaks)

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {"size": self.size, "chain": self.chain.hex(), "frontier": [peak.hex() for peak in self.peaks]}

    @staticmethod
    def from_document(found: Mapping[str, Any]) -> Position:
        """Read it back; ValueError when it can't be one."""
        try:
            size, chain = int(found["size"]), bytes.fromhex(found["chain"])
            peaks = tuple(bytes.fromhex(peak) for peak in found["frontier"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a position in the log: {error}") from error
        if len(peaks) != size.bit_count() or {32} != {len(chain), *map(len, peaks)}:
            raise ValueError(f"not a position in the log: {len(peaks)} subtrees do not make {size} records")
        return Position(size, chain, peaks)


def beginning(origin: str) -> Position:
    """Before record 0."""
    return Position(0, hashlib.sha256(f"{FORMAT}\n{origin}".encode()).digest())


class Walk:
    """Goes over records in order and hashes their stored bytes; nothing is parsed."""

    def __init__(self, start: Position, sizes: Iterable[int] = ()) -> None:
        """Keep the position wherever the walk comes by one of `sizes`."""
        self.size = start.size
        self.chain = start.chain
        self.peaks = list(start.peaks)
        self.passed: dict[int, Position] = {}
        self._ahead = sorted({size for size in sizes if size >= start.size}, reverse=True)
        self._pass()

    @property
    def position(self) -> Position:
        """Where the walk stands."""
        return Position(self.size, self.chain, tuple(self.peaks))

    def add(self, document: bytes) -> tuple[bytes, bytes]:
        """Go over a new record; return its line (with its LF) and its leaf."""
        leaf = hashlib.sha256(b"\x00" + document).digest()
        self.chain = hashlib.sha256(self.chain + leaf).digest()
        push(self.peaks, self.size, (leaf,))
        self.size += 1
        return hexlify(self.chain) + b" " + document + b"\n", leaf

    def feed(self, lines: Sequence[bytes]) -> list[bytes]:
        """Check the next lines (without their LF) and return their leaves; BadRecord names the first bad one."""
        leaves: list[bytes] = []
        done = 0
        while done < len(lines):
            end = min(len(lines), done + self._ahead[-1] - self.size) if self._ahead else len(lines)
            leaves += self._check(lines[done:end])
            done = end
            self._pass()
        return leaves

    def _check(self, lines: Sequence[bytes]) -> list[bytes]:
        # The inner loop of all verifying, so its names are local.
        sha256, chain, size = hashlib.sha256, self.chain, self.size
        leaves: list[bytes] = []
        try:
            for line in lines:
                leaf = sha256(b"\x00" + line[65:]).digest()
                following = sha256(chain + leaf).digest()
                if not line.startswith(hexlify(following) + b" {") or b'"number":%d,' % size not in line:
                    raise BadRecord(size, _why_bad(line, size))
                chain = following
                leaves.append(leaf)
                size += 1
        finally:
            push(self.peaks, self.size, leaves)
            self.chain, self.size = chain, size
        return leaves

    def _pass(self) -> None:
        while self._ahead and self._ahead[-1] == self.size:
            self.passed[self._ahead.pop()] = self.position


def _why_bad(line: bytes, expected: int) -> str:
    """What is wrong with a line that does not follow, as far as it says so itself."""
    try:
        number = int(json.loads(line[65:])["number"])
    except (ValueError, TypeError, KeyError):
        return "it can't be read, so its bytes were altered"
    if number > expected:
        return f"records {expected} to {number - 1} are missing, the next line is record {number}"
    if number < expected:
        return f"found record {number} in its place"
    return "its content or its chain value was altered, or it does not follow from the record before it"
