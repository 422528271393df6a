"""The evidence as the controller keeps it: the log, its checkpoints with the witness, the index over both (SUM).

A log that does not open is no reason to be blind: probes go on and the bleeding is stopped; all else is refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from siaga.errors import SiagaError
from siaga.evidence import index as folding
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.document import iso
from siaga.evidence.index import Index
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.selection import Selection
from siaga.evidence.signatures import Checkpoint
from siaga.evidence.store import Store
from siaga.evidence.witness_client import WitnessClient, WitnessRefused
from siaga.evidence.witnessed import WitnessedEvidence
from siaga.hosts.local import write_and_rename
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

_log = structlog.get_logger()
_HINT = "Run `siaga evidence verify`; it names the record. What stops the bleeding is still done, and noted locally."


class Recording:
    """One per controller that leads; the `Evidence` of everybody in it."""

    def __init__(
        self,
        store: Store,
        witness: WitnessClient,
        checkpoints: Callable[[EvidenceLog], Checkpoints],
        *,
        spool: Path,
        index: Path,
        epoch: int,
    ) -> None:
        """Nothing is opened yet; `checkpoints` is called with the open log."""
        self._store = store
        self._witness = witness
        self._open_checkpoints = checkpoints
        self._index_path = index
        self._log = EvidenceLog(store, spool=spool, epoch=epoch)
        self._checkpoints: Checkpoints | None = None
        self._closed = "it is not open yet"
        self.index = Index()

    async def open(self) -> None:
        """Open what can be opened; what can't is told by `standing`, and refuses every append."""
        try:
            await self._log.open(seen=await self._seen())
            self._checkpoints = await asyncio.to_thread(self._open_checkpoints, self._log)
        except (SiagaError, OSError) as error:
            self._closed = error.message if isinstance(error, SiagaError) else str(error)
            _log.error("the evidence does not open, only what stops the bleeding is done", why=self._closed)
            return
        self._closed = ""
        self.index = await asyncio.to_thread(_load, self._index_path)
        await self._fold()

    async def _seen(self) -> Checkpoint | None:
        """What the witness remembers; when it is away its refusal comes with the first checkpoint instead."""
        try:
            return (await self._witness.last(self._log.origin)).checkpoint
        except WitnessRefused:
            return None
        except SiagaError as error:
            _log.warning("the witness does not answer", why=error.message)
            return None

    async def close(self) -> None:
        """Write what was asked for, and let others write."""
        await self._log.close()

    # Evidence -------------------------------------------------------------------------------------------

    async def append(self, record: Record) -> int:
        """Return its number once it is durable; Unrecorded when it can't be, or when the witness has refused us."""
        if self._checkpoints is None:
            raise Unrecorded(f"the evidence can't be written: {self._closed}", hint=_HINT)
        return await WitnessedEvidence(self._log, self._checkpoints).append(record)

    async def append_exempt(self, record: Record) -> None:
        """Note what may not wait (decision 21). Never raises."""
        await self._log.append_exempt(record)

    # The loop -------------------------------------------------------------------------------------------

    async def run_pass(self, now: datetime, monotonic_s: float) -> None:
        """Have a checkpoint witnessed when one is due."""
        if self._checkpoints is not None:
            await self._checkpoints.run_pass(now, monotonic_s)

    async def refresh_index(self) -> None:
        """Take in what was recorded since the last call."""
        if not self._closed and self.index.records < self._log.size:
            await self._fold()
            document = json.dumps(folding.to_document(self.index)).encode()
            await asyncio.to_thread(write_and_rename, self._index_path, document)

    async def _fold(self) -> None:
        if self.index.records > self._log.size:
            # The cache is of another log, or of one that was longer.
            self.index = Index()
        self.index = await asyncio.to_thread(_folded, self._store, self.index, self._log.size)

    async def history(self, domain: str) -> list[Mapping[str, Any]]:
        """Every record of one domain, oldest first."""
        return await asyncio.to_thread(_of_domain, self._store, domain)

    async def since(self, moment: datetime) -> list[dict[str, Any]]:
        """Every record from a moment on, oldest first."""
        return await self._log.latest(sys.maxsize, Selection(since=iso(moment)))

    async def checkpoint(self, now: datetime, monotonic_s: float) -> Checkpoint:
        """Take a witnessed checkpoint at once."""
        return await self._open.take(now, monotonic_s)

    async def rotate_key(self, role: str, actor: str, reason: str, now: datetime, monotonic_s: float) -> str:
        """Sign with a new key from now on, the log (`log`) or the witness (`witness`); its text form."""
        if role == "witness":
            return (await self._open.rotate_witness_key(actor, reason)).text
        return (await self._open.rotate_log_key(actor, reason, now, monotonic_s)).text

    async def acknowledge(self, actor: str, reason: str) -> None:
        """A person has looked into the witness's refusal."""
        await self._open.acknowledge(actor, reason)

    async def accept_witness(self, fingerprint: str, actor: str, reason: str) -> None:
        """Trust another witness, whose key has this fingerprint."""
        await self._open.accept_witness(fingerprint, actor, reason)

    async def prune(self, before: datetime, actor: str, *, dry_run: bool) -> int | None:
        """Remove whole segments older than `before` that are witnessed; the first record that is left, or None."""
        witnessed = self._open.witnessed
        to = await self._log.prune(
            before, witnessed_size=witnessed.size if witnessed else 0, actor=actor, dry_run=dry_run
        )
        return to.size if to is not None else None

    @property
    def _open(self) -> Checkpoints:
        if self._checkpoints is None:
            raise Unrecorded(f"the evidence is not open: {self._closed}", hint=_HINT)
        return self._checkpoints

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._log.size

    # What it says of itself -------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """For `siaga status`."""
        described = self._log.describe()
        return {
            **described,
            "why": self._closed or described["why"],
            "recording": not self._closed and described["recording"],
        }

    def standing(self, now: datetime, monotonic_s: float) -> Standing:
        """The part "evidence" of SUM."""
        if self._checkpoints is None:
            return Standing(
                clause=ClauseId.SUM,
                adherence=Adherence.BROKEN,
                figure="",
                limit="every record verified and witnessed",
                why=self._closed,
                observed_at=now,
                part="evidence",
                valid_s=60.0,
            )
        return self._checkpoints.standing(monotonic_s)

    async def latest(self, count: int) -> list[dict[str, Any]]:
        """The last records, oldest first."""
        return await self._log.latest(count)


def _load(path: Path) -> Index:
    try:
        return folding.from_document(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        # A cache: it is folded again from the first record.
        return Index()


def _folded(store: Store, index: Index, size: int) -> Index:
    """Up to `size`: lines beyond it are written and not durable yet."""
    for lines in store.blocks(index.records):
        for line in lines[: size - index.records]:
            index = index.taking(json.loads(line[65:]))
        if index.records >= size:
            break
    return index


def _of_domain(store: Store, domain: str) -> list[Mapping[str, Any]]:
    mark = f'"kind":"{domain}.'.encode()
    return [json.loads(line[65:]) for lines in store.blocks() for line in lines if mark in line]
