"""What the checkpoints need of others: the log, the witness, and a place to keep them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from siaga.evidence.signatures import Checkpoint, Key
from siaga.evidence.witness_client import LastSeen, WitnessKey


class Log(Protocol):
    """The records, as far as a checkpoint needs them. Roots and proofs are asked for from any thread."""

    @property
    def origin(self) -> str:
        """The log's name, such as `siaga/payments/1`."""
        ...

    @property
    def size(self) -> int:
        """How many records are durable."""
        ...

    def root(self, size: int) -> bytes:
        """Of the tree over the first `size` records; ValueError where it can't be told."""
        ...

    def chain(self, size: int) -> bytes:
        """The chain's value after the first `size` records; ValueError as above."""
        ...

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """The proof that the tree of `new` records extends that of `old` (RFC 6962); ValueError as above."""
        ...


class Witness(Protocol):
    """Whoever cosigns; `WitnessClient` is one."""

    async def last(self, origin: str) -> LastSeen:
        """Its key, and what it saw last of this log."""
        ...

    async def cosign(
        self, note: str, key: Key, *, old_size: int, proof: Sequence[bytes], handovers: Sequence[str], epoch: int
    ) -> str:
        """The note with its cosignature below."""
        ...

    async def rotate_key(self, old: Key) -> WitnessKey:
        """Have it go over from `old` to a new key."""
        ...

    async def acknowledge(self, origin: str) -> None:
        """Have it forget the latest refusal of this log."""
        ...


class CheckpointStore(Protocol):
    """Keeps checkpoints where the log is kept. Its calls block; OSError where they can't be carried out."""

    def open(self, log_keys: Sequence[Key], witness_keys: Sequence[Key]) -> Checkpoint | None:
        """The last witnessed one, its signatures verified; BadInput when it is damaged."""
        ...

    def append(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Keep a witnessed one, durably when it returns."""
        ...

    def wait(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Keep one that only the log has signed; the next one takes its place."""
        ...

    def copy(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        """Put a copy of a witnessed one elsewhere, if a place is named."""
        ...
