"""What the log asks of the place that keeps its lines: files here, PostgreSQL where two controllers share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from siaga.evidence.chain import Position
from siaga.evidence.verify_export import Source


@dataclass(frozen=True, slots=True)
class Cut:
    """A half-written line that a crash left behind and that was cut off: nobody was told that it was kept."""

    length_bytes: int
    sha256: str


class Store(Source, Protocol):
    """Keeps lines, in order, durably. Its calls block; the log makes them in a thread of its own, one at a time."""

    def open(self) -> Cut | None:
        """Take it for writing, and make sure of its end. Refused while another process writes there."""

    def append(self, lines: Sequence[bytes], at: Position, *, fresh: bool) -> None:
        """Keep these lines (each with its LF) after `at`, durably when it returns; OSError or StoreFault else.

        `fresh` begins a new segment, which can be read and removed apart from the others.
        """

    def recover(self, at: Position) -> None:
        """After a failed append: find an end again that is `at`, or later if the lines were kept after all."""

    def blocks(self, first: int = 0) -> Iterator[list[bytes]]:
        """Lines in order, from record `first` on."""

    def newest_first(self) -> Iterator[bytes]:
        """Lines, the last one first."""

    def segment_starts(self) -> list[int]:
        """The first record of every segment that is left."""

    def position_before(self, size: int) -> Position:
        """The latest start of a segment that is known and not after `size`."""

    def prune(self, to: Position) -> None:
        """Remove every segment before `to`, which is the start of one; `start` is `to` from then on."""

    @property
    def reserve_bytes(self) -> int:
        """Space taken beforehand, which a full disk can't take away."""

    def close(self) -> None:
        """Let others write."""
