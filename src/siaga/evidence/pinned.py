"""Who the witness is: the first one that answered, its later keys by its own hand-overs, any other one by a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from siaga.errors import BadInput, Unreachable
from siaga.evidence import keys
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.notes import fingerprint, parse_handover
from siaga.evidence.signatures import Key
from siaga.evidence.witness_client import WitnessKey
from siaga.sop.clauses import ClauseId


class PinnedWitness:
    """The witness's keys as we trust them, oldest first; every change is recorded before it counts."""

    def __init__(self, path: Path, append: Callable[[Record], Awaitable[int]]) -> None:
        """`path`: where the keys are kept, in their text form. BadInput when the file is damaged."""
        self._path = path
        self._append = append
        self.keys = keys.read_public(path) if path.exists() else ()
        self.stranger = ""
        """What is wrong with whoever answered last in the witness's place; empty when nothing is."""

    async def recognise(self, found: WitnessKey) -> None:
        """Pin the first witness ever met, follow its hand-overs; Unreachable when it is another one."""
        if not self.keys:
            await self._trust(found.key, "controller", "the first that answered")
        if not found.follows(self.keys[-1]):
            self.stranger = (
                f"another witness answers: its key is {fingerprint(found.key)}, expected {fingerprint(self.keys[-1])}"
            )
            raise Unreachable(self.stranger, hint="Bring the old one back, or accept this one by its fingerprint.")
        for handover in found.handovers:
            if parse_handover(handover).old == self.keys[-1]:
                figures = keys.rotation_figures(handover)
                await self._record("evidence.witness_key_rotated", "witness", "the witness rotated its key", figures)
                self._keep(parse_handover(handover).new)
        self.stranger = ""

    async def accept(self, key: Key, wanted: str, actor: str, reason: str) -> None:
        """Trust this witness if its fingerprint is the one that a person read elsewhere; BadInput when it isn't."""
        if fingerprint(key) != wanted:
            raise BadInput(
                f"fingerprint: the witness that answers has {fingerprint(key)}, expected {wanted[:80]}",
                hint="Read the fingerprint on the witness's own machine.",
            )
        await self._trust(key, actor, reason)

    async def _trust(self, key: Key, actor: str, reason: str) -> None:
        figures = {"key": key.text, "fingerprint": fingerprint(key)}
        await self._record("evidence.witness_pinned", actor, f"this witness is trusted: {reason}", figures)
        self._keep(key)
        self.stranger = ""

    def _keep(self, key: Key) -> None:
        pinned = (*self.keys, key)
        try:
            keys.pin(self._path, pinned)
        except OSError as error:
            raise Unrecorded(
                f"the witness's key can't be kept: {error.strerror}", hint="Make room on the disk."
            ) from error
        self.keys = pinned

    async def _record(self, kind: str, actor: str, reason: str, figures: dict[str, str]) -> None:
        await self._append(Record(kind, actor, ClauseId.SUM, reason, figures))
