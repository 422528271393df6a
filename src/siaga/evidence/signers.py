"""Whose signatures count on a checkpoint, through every change of a key that the records tell.

Standard library and `cryptography` alone: the offline verifier carries this file along.
"""

from __future__ import annotations

from collections.abc import Sequence

from siaga.evidence.notes import Handover, cosigned_at
from siaga.evidence.signatures import COSIGNATURE, Key, Note


class Signers:
    """The log's keys, each in its turn, and the witness's. Checkpoints are shown to it in their order."""

    def __init__(
        self, log_keys: Sequence[Key], witness_keys: Sequence[Key], handovers: Sequence[tuple[int, Handover]]
    ) -> None:
        """Take the keys that are trusted, oldest first, and the hand-overs with their record numbers."""
        changes = [handover for _, handover in handovers]
        self._log_keys = _succession(log_keys, changes)
        self._witness_keys = _succession(witness_keys, changes)
        self._recorded_at = {handover.new: number for number, handover in handovers}
        self._turn: int | None = None
        self.signed_size = 0
        """Records under the last checkpoint that the log's key of its time signed."""

    @property
    def log_name(self) -> str:
        """Name and id of the log's key whose turn it is."""
        key = self._log_keys[self._turn or 0]
        return f"`{key.name}` (key {key.id.hex()})"

    def log_signed(self, note: Note, size: int) -> bool:
        """Whether the key whose turn it is signed this checkpoint, or the next one that may take over here.

        The next one may when its hand-over is a record under a checkpoint of the old key; from then on the old key
        counts for nothing. BadNote when a signature does not match.
        """
        turns = range(len(self._log_keys)) if self._turn is None else range(self._turn, len(self._log_keys))[:2]
        for turn in turns:
            key = self._log_keys[turn]
            if note.signed_by([key]) is None:
                continue
            if self._turn in (None, turn) or self._recorded_at.get(key, -1) < self.signed_size:
                self._turn, self.signed_size = turn, size
                return True
        return False

    def witnessed_at_s(self, note: Note) -> int | None:
        """When the witness signed, in POSIX seconds as it says; None when it did not. BadNote as above."""
        key = note.signed_by(self._witness_keys)
        if key is None:
            return None
        return cosigned_at(note, key) if key.kind == COSIGNATURE else 0


def _succession(given: Sequence[Key], changes: Sequence[Handover]) -> list[Key]:
    """The keys given, those that led to the first of them, and those that follow from the last."""
    keys = list(given)
    for change in changes:
        if change.old == keys[-1] and change.new not in keys:
            keys.append(change.new)
    for change in reversed(changes):
        if change.new == keys[0] and change.old not in keys:
            keys.insert(0, change.old)
    return keys
