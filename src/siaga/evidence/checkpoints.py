"""Checkpoints of the log: signed when something was recorded, cosigned by the witness, kept (SUM, decision 21).

While the witness is away the log goes on and the newest signed checkpoint waits. When it refuses (the log shrank or
forked, or is signed by a stranger) nothing more is recorded, and so nothing more is done that needs a record.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from siaga.errors import Refused, StoreFault, Unreachable
from siaga.evidence import keys
from siaga.evidence.cosigning import REMEMBERED
from siaga.evidence.coverage import Coverage, due, standing
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.notes import checkpoint_text, fingerprint, signature_of, written
from siaga.evidence.pinned import PinnedWitness
from siaga.evidence.ports import CheckpointStore, Log, Witness
from siaga.evidence.signatures import ED25519, BadNote, Checkpoint, Key, parse_checkpoint
from siaga.evidence.witness_client import LastSeen, WitnessRefused
from siaga.sop.adherence import Standing
from siaga.sop.clauses import ClauseId

PASS_INTERVAL_S = 5.0
VALID_S = 60.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A checkpoint that only the log has signed."""

    checkpoint: Checkpoint
    note: str


class Checkpoints:
    """Takes checkpoints of one log, in a pass every few seconds and on request."""

    def __init__(
        self,
        log: Log,
        witness: Witness,
        store: CheckpointStore,
        append: Callable[[Record], Awaitable[int]],
        *,
        keys_directory: Path,
        now_monotonic_s: float,
        epoch: int = 0,
    ) -> None:
        """Open keys and checkpoints; BadInput when one is missing or damaged.

        `append` is the log's own, which no refusal closes; `keys_directory` holds `log.*` and the pinned `witness.pub`;
        `epoch` is the leadership under which this controller writes.
        """
        self._log = log
        self._witness = witness
        self._append = append
        self._epoch = epoch
        self._ring = keys.open_ring(keys_directory, "log", log.origin, ED25519)
        self._pinned = PinnedWitness(keys_directory / "witness.pub", append)
        self._store = store
        self._witnessed = self._store.open(self._ring.public, self._pinned.keys)
        self._waiting: _Waiting | None = None
        self._turn = asyncio.Lock()
        self._signed_s = -math.inf
        self._answered_s = now_monotonic_s
        self._uncovered_s: float | None = None
        self._looked_at: datetime | None = None
        self._remembered = ""
        self._trouble = ""
        self._not_copied = ""
        self.closed = ""
        """Why nothing may be recorded, in words; empty while it may."""

    # The loop -------------------------------------------------------------------------------------------------------

    async def run_pass(self, now: datetime, monotonic_s: float) -> None:
        """Look at the witness; take a checkpoint when one is due. Trouble shows in the standing, and is retried."""
        async with self._turn:
            try:
                await self._pass(now, monotonic_s, forced=False)
                self._trouble = ""
            except (Unreachable, WitnessRefused, Unrecorded) as error:
                self._trouble = error.message

    async def take(self, now: datetime, monotonic_s: float) -> Checkpoint:
        """Take a checkpoint at once, at a milestone.

        Unreachable when the witness is away, Refused when it refuses, Unrecorded when the disk does.
        """
        async with self._turn:
            return await self._taken(now, monotonic_s)

    async def _taken(self, now: datetime, monotonic_s: float) -> Checkpoint:
        if self._log.size == 0:
            raise Refused("nothing is recorded yet, so there is nothing to witness", hint="Try again after an act.")
        await self._pass(now, monotonic_s, forced=True)
        assert self._witnessed is not None, "a forced pass that did not raise was witnessed"
        return self._witnessed

    async def _pass(self, now: datetime, monotonic_s: float, *, forced: bool) -> None:
        self._looked_at = now
        self._watch_uncovered(monotonic_s)
        if forced or due(self._coverage(monotonic_s), since_signed_s=monotonic_s - self._signed_s):
            await self._sign(now, monotonic_s)
        seen = await self._witness.last(self._log.origin)
        self._answered_s, self._remembered = monotonic_s, seen.refusal
        await self._pinned.recognise(seen.witness)
        if self._waiting is not None:
            await self._cosign(self._waiting, seen, now)
            # What it doesn't cover came after it was signed.
            self._uncovered_s = None
            self._watch_uncovered(self._signed_s)

    def _watch_uncovered(self, monotonic_s: float) -> None:
        """Note since when there has been a record that no witnessed checkpoint covers."""
        if self._log.size <= (self._witnessed.size if self._witnessed else 0):
            self._uncovered_s = None
        elif self._uncovered_s is None:
            self._uncovered_s = monotonic_s

    async def _sign(self, now: datetime, monotonic_s: float) -> None:
        size = self._log.size
        text = await _on_disk(
            lambda: checkpoint_text(self._log.origin, size, self._log.root(size), self._log.chain(size))
        )
        note = written(text, [self._ring.current.sign(text, int(now.timestamp()))])
        waiting = _Waiting(parse_checkpoint(note), note)
        await _on_disk(lambda: self._store.wait(waiting.checkpoint, note, now))
        self._waiting, self._signed_s = waiting, monotonic_s

    async def _cosign(self, waiting: _Waiting, seen: LastSeen, now: datetime) -> None:
        size, old_size = waiting.checkpoint.size, seen.checkpoint.size if seen.checkpoint else 0
        # A log that shrank has no proof to offer, and is shown all the same: the witness keeps what it was shown.
        proof = await _on_disk(lambda: self._log.consistency(old_size, size)) if 0 < old_size < size else ()
        try:
            note = await self._witness.cosign(
                waiting.note,
                self._ring.current.public,
                old_size=old_size,
                proof=proof,
                handovers=self._ring.handovers,
                epoch=self._epoch,
            )
        except WitnessRefused as refused:
            if refused.refusal in REMEMBERED:
                self._waiting, self.closed = None, refused.message
            raise
        cosigned = self._verified(note, waiting)
        await _on_disk(lambda: self._store.append(cosigned, note, now))
        self._witnessed, self._waiting, self.closed = cosigned, None, ""
        await self._copy(cosigned, note, now)

    def _verified(self, note: str, waiting: _Waiting) -> Checkpoint:
        """What the witness sent back, if it is what it was sent and bears its signature."""
        try:
            cosigned = parse_checkpoint(note)
            signature_of(cosigned.note, self._pinned.keys[-1])
        except BadNote as error:
            raise Unreachable(f"the witness's signature is not good: {error}", hint="Restart the witness.") from error
        if cosigned.note.text != waiting.checkpoint.note.text:
            raise Unreachable("the witness cosigned another checkpoint than the one it was sent", hint="Look at both.")
        return cosigned

    async def _copy(self, checkpoint: Checkpoint, note: str, now: datetime) -> None:
        # The next copy covers all that one which failed would have.
        try:
            await asyncio.to_thread(self._store.copy, checkpoint, note, now)
            self._not_copied = ""
        except OSError as error:
            self._not_copied = f"the last checkpoint could not be copied: {error.strerror}"

    # What people ask for --------------------------------------------------------------------------------------------

    async def rotate_log_key(self, actor: str, reason: str, now: datetime, monotonic_s: float) -> Key:
        """Sign with a new key from now on; the change is recorded, and witnessed under the old key first.

        Unreachable, Refused and Unrecorded leave the old key in force; asked again it goes on with the same new key.
        """
        async with self._turn:
            if self.closed:
                raise Refused(f"no key is rotated while {self.closed}", hint="`siaga evidence verify` shows where.")
            handover = await _on_disk(lambda: self._ring.prepare(int(now.timestamp())))
            await self._record("evidence.key_rotated", actor, reason, keys.rotation_figures(handover))
            await self._taken(now, monotonic_s)
            self._ring = await _on_disk(lambda: self._ring.switch(handover))
            return self._ring.current.public

    async def rotate_witness_key(self, actor: str, reason: str) -> Key:
        """Have the witness sign with a new key from now on."""
        async with self._turn:
            if not self._pinned.keys:
                raise Refused("no witness is known yet", hint="Wait for the first checkpoint.")
            present = self._pinned.keys[-1]
            await self._record("evidence.witness_rotation_asked", actor, reason, {"key": present.text})
            await self._pinned.recognise(await self._witness.rotate_key(present))
            return self._pinned.keys[-1]

    async def accept_witness(self, wanted: str, actor: str, reason: str) -> None:
        """Trust the witness that answers now, if its key has this fingerprint; BadInput when it has another."""
        async with self._turn:
            seen = await self._witness.last(self._log.origin)
            await self._pinned.accept(seen.witness.key, wanted, actor, reason)

    async def acknowledge(self, actor: str, reason: str) -> None:
        """A person has looked into the witness's latest refusal; recorded before it is forgotten."""
        async with self._turn:
            refusal = (await self._witness.last(self._log.origin)).refusal
            if not refusal:
                raise Refused("the witness remembers no refusal of this log", hint="There is nothing to acknowledge.")
            await self._record("evidence.refusal_acknowledged", actor, reason, {"refusal": refusal})
            await self._witness.acknowledge(self._log.origin)
            self._remembered = ""

    async def _record(self, kind: str, actor: str, reason: str, figures: dict[str, str]) -> None:
        await self._append(Record(kind, actor, ClauseId.SUM, reason, figures))

    # What it says of itself -----------------------------------------------------------------------------------------

    @property
    def witnessed(self) -> Checkpoint | None:
        """The last checkpoint that the witness cosigned."""
        return self._witnessed

    def standing(self, monotonic_s: float) -> Standing:
        """The part "evidence" of SUM."""
        return standing(self._coverage(monotonic_s), self._looked_at, valid_s=VALID_S)

    def describe(self) -> dict[str, Any]:
        """What is witnessed, and by whose keys, as plain JSON."""
        witnessed, pinned = self._witnessed, self._pinned.keys
        return {
            "origin": self._log.origin,
            "records": self._log.size,
            "witnessed": witnessed.size if witnessed else 0,
            "root": witnessed.root.hex() if witnessed else "",
            "waiting": self._waiting is not None,
            "log_key": fingerprint(self._ring.current.public),
            "witness_key": fingerprint(pinned[-1]) if pinned else "",
            "closed": self.closed,
            "trouble": self._trouble,
        }

    def _coverage(self, monotonic_s: float) -> Coverage:
        remembered = self._remembered and f"the witness refused a checkpoint: {self._remembered}"
        return Coverage(
            records=self._log.size,
            witnessed=self._witnessed.size if self._witnessed else 0,
            uncovered_s=monotonic_s - self._uncovered_s if self._uncovered_s is not None else 0.0,
            away_s=monotonic_s - self._answered_s,
            refused=self.closed or self._pinned.stranger or remembered,
            trouble=self._trouble,
            not_copied=self._not_copied,
        )


T = TypeVar("T")


async def _on_disk(act: Callable[[], T]) -> T:
    """In a thread: it reads or writes where the log is kept, or hashes much."""
    try:
        return await asyncio.to_thread(act)
    except OSError as error:
        why = f"a checkpoint or key can't be kept: {error.strerror}"
        raise Unrecorded(why, hint="Make room on the disk.") from error
    except (StoreFault, ValueError) as error:
        raise Unrecorded(f"no checkpoint can be made: {error}", hint="Run `siaga evidence verify`.") from error
