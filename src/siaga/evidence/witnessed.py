"""The evidence as everybody writes it: closed while the witness refuses the log (fail closed, decision 21)."""

from __future__ import annotations

from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.model import Evidence, Record, Unrecorded


class WitnessedEvidence:
    """Passes records on to the log, unless the witness has refused it."""

    def __init__(self, log: Evidence, checkpoints: Checkpoints) -> None:
        self._log = log
        self._checkpoints = checkpoints

    async def append(self, record: Record) -> int:
        """Return the record's number once it is durable; Unrecorded while the witness refuses the log."""
        if self._checkpoints.closed:
            raise Unrecorded(
                f"nothing is recorded while {self._checkpoints.closed}",
                hint="`siaga evidence verify` shows where; restore the evidence, or begin a log of another origin.",
            )
        return await self._log.append(record)

    async def append_exempt(self, record: Record) -> None:
        """Record what may not wait, whatever the witness says."""
        await self._log.append_exempt(record)
