"""The evidence: everybody's records in one order, durable before anybody is told (SUM).

Appends that come while one write is on its way to the disk share the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from siaga.errors import SiagaError
from siaga.evidence import own_records
from siaga.evidence.chain import Position
from siaga.evidence.clock import Clock
from siaga.evidence.document import Exempt, Unnumbered, iso
from siaga.evidence.exempt import ExemptActs
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.selection import EVERYTHING, Selection, latest
from siaga.evidence.signatures import Checkpoint
from siaga.evidence.store import Store
from siaga.evidence.tail import Tail

T = TypeVar("T")

_log = structlog.get_logger()

DEADLINE_S = 5.0
"""Whoever waits longer for the disk is told that nothing is recorded; decisions can't hang behind a disk that does."""
BATCH_BYTES_MAX = 1024 * 1024
_LOOK = "Run `siaga evidence verify`, and look at the disk or the database that holds the evidence."


class EvidenceLog:
    """One log, written by this process alone. Use it from one event loop; roots and proofs from any thread."""

    def __init__(self, store: Store, *, spool: Path, epoch: int = 0, deadline_s: float = DEADLINE_S) -> None:
        """Nothing is opened yet. `spool` is a file on a local disk; `epoch` is the leader's, kept in each record."""
        self._store = store
        self._tail = Tail(store)
        self._epoch = epoch
        self._deadline_s = deadline_s
        self._clock = Clock()
        self._queue: list[tuple[Unnumbered, asyncio.Future[int]]] = []
        self._batch: list[asyncio.Future[int]] = []
        self._wake = asyncio.Event()
        self._hand = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidence")
        self._writing_since_s: float | None = None
        self._closed = "it is not open"
        self._writer: asyncio.Task[None] | None = None
        self._exempt = ExemptActs(spool, append=self._append_exempt_entry, recorded=self._recorded_exempt)

    # Life -------------------------------------------------------------------------------------------------------

    async def open(self, *, seen: Checkpoint | None = None) -> None:
        """Verify the end of the log, against what the witness has `seen` too, and begin to write.

        Refused when it does not hold, naming the record: `append` goes on refusing then, and exempt acts are noted
        locally until a log that holds is opened.
        """
        self._exempt.open()
        try:
            cut = await self._in_hand(self._tail.open, seen)
        except SiagaError as error:
            self._closed = error.message
            raise
        self._closed = ""
        self._writer = asyncio.create_task(self._write(), name="evidence")
        if cut is not None:
            self._put_unasked(own_records.tail_cut(self.size, cut.length_bytes, cut.sha256))
        self._exempt.begin_to_drain()

    async def close(self) -> None:
        """Write what was asked for, and let others write. Exempt acts that are not in the log stay noted."""
        await self._exempt.close()
        if self._writer is not None:
            self._closed = "it was closed"
            if asked := [*self._batch, *(future for _, future in self._queue)]:
                await asyncio.wait(asked, timeout=self._deadline_s)
            hangs = self._writing_since_s is not None
            self._writer.cancel()
            await asyncio.wait([self._writer])
            self._writer = None
            if not hangs:
                await self._in_hand(self._store.close)
        self._hand.shutdown(wait=False)

    def describe(self) -> dict[str, Any]:
        """What an operator wants to know of it, as JSON."""
        trouble = self._tail.trouble
        why = self._refusal() or (trouble.why if trouble else "")
        return {
            "origin": self.origin,
            "size": self.size,
            "recording": not why,
            "why": why,
            "refused": trouble.refused if trouble else 0,
            "exempt_waiting": self._exempt.waiting,
            "exempt_in_memory": self._exempt.in_memory,
            "reserve_bytes": self._store.reserve_bytes,
        }

    # Writing ----------------------------------------------------------------------------------------------------

    async def append(self, record: Record) -> int:
        """Return its number once it is durable; Unrecorded when it can't be made so, BadInput when it is not plain."""
        unnumbered = self._unnumbered(record)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._put(unnumbered)
        except TimeoutError:
            raise Unrecorded(
                f"the evidence was not written within {self._deadline_s:g} s",
                hint=f"{_LOOK} It goes on by itself.",
            ) from None

    async def append_exempt(self, record: Record) -> None:
        """Note what may not wait for the evidence; it is moved into the log as soon as that is possible (decision 21).

        Never raises; returns without waiting for a disk.
        """
        self._exempt.note(record, self._clock.stamp(), self.size)

    def _unnumbered(self, record: Record, exempt: Exempt | None = None) -> Unnumbered:
        unnumbered = Unnumbered.of(record, self._clock.stamp(), self._epoch, exempt)
        if jump_s := self._clock.take_jump_s():
            self._put_unasked(own_records.clock_set(jump_s))
        return unnumbered

    def _put_unasked(self, record: Record) -> None:
        """Nobody waits for these; while nothing can be recorded there are none."""
        with contextlib.suppress(Unrecorded):
            self._put(self._unnumbered(record)).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _put(self, record: Unnumbered) -> asyncio.Future[int]:
        if why := self._refusal():
            raise Unrecorded(f"the evidence can't be written: {why}", hint=_LOOK)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((record, future))
        self._wake.set()
        return future

    def _refusal(self) -> str:
        since_s = self._writing_since_s
        if not self._closed and since_s is not None and time.monotonic() - since_s > self._deadline_s:
            return f"the last write has not ended for {time.monotonic() - since_s:.0f} s"
        return self._closed

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while batch := self._take_batch():
                    await self._write_batch(batch)
        except Exception:
            _log.exception("the writer of the evidence has ended, nothing is recorded any more")
            raise
        finally:
            self._closed = self._closed or "its writer has ended"
            _refuse([future for _, future in self._queue], f"the evidence can't be written: {self._closed}")

    async def _write_batch(self, batch: Sequence[tuple[Unnumbered, asyncio.Future[int]]]) -> None:
        self._writing_since_s = time.monotonic()
        self._batch = [future for _, future in batch]
        try:
            first = await self._in_hand(self._tail.commit, [record for record, _ in batch])
            for number, future in enumerate(self._batch, first):
                if not future.done():
                    future.set_result(number)
        except Unrecorded as refusal:
            _refuse(self._batch, refusal.message, refusal.hint)
        finally:
            _refuse(self._batch, "whether the evidence was written is not known: its writer has ended")
            self._writing_since_s = None
        if self._tail.recovered is not None:
            over, self._tail.recovered = self._tail.recovered, None
            lasted_s = time.monotonic() - over.since_monotonic_s
            self._put_unasked(own_records.resumed(lasted_s, over.refused, over.why))

    def _take_batch(self) -> list[tuple[Unnumbered, asyncio.Future[int]]]:
        """What waits, up to a limit; whoever gave up waiting is left out."""
        waiting = [item for item in self._queue if not item[1].done()]
        length = count = 0
        while count < len(waiting) and length < BATCH_BYTES_MAX:
            length += waiting[count][0].length_bytes
            count += 1
        self._queue = waiting[count:]
        return waiting[:count]

    async def _in_hand(self, act: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._hand, act, *arguments)

    async def _append_exempt_entry(self, record: Record, exempt: Exempt) -> int:
        """Without a deadline: whether it is in the log must be known before it is tried again."""
        return await self._put(self._unnumbered(record, exempt))

    async def _recorded_exempt(self, since: int) -> set[str]:
        return await self._in_hand(self._tail.exempt_ids, since)

    # Retention --------------------------------------------------------------------------------------------------

    async def prune(
        self, before: datetime, *, witnessed_size: int, actor: str, dry_run: bool = False
    ) -> Position | None:
        """Remove whole closed segments older than `before` and under a witnessed checkpoint; where the log begins then.

        None when there are none. Recorded first: what can't be recorded is not removed.
        """
        to = await self._in_hand(self._tail.prunable, iso(before), witnessed_size)
        if to is not None and not dry_run:
            await self.append(own_records.pruned(actor, self._store.start.size, to, iso(before)))
            await self._in_hand(self._tail.prune, to)
        return to

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """The log's name, such as `siaga/payments/1`."""
        return self._store.origin

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._tail.head.size

    def root(self, size: int) -> bytes:
        """Of the tree over the first `size` records; ValueError where it can't be told."""
        return self._tail.position(size).root

    def chain(self, size: int) -> bytes:
        """The chain's value after the first `size` records; ValueError as above."""
        return self._tail.position(size).chain

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new` records extends that of `old` (RFC 6962); ValueError as above."""
        return self._tail.tree(old).consistency(old, new)

    def inclusion(self, number: int, size: int) -> list[bytes]:
        """The proof that record `number` is in the tree of `size` records; ValueError as above."""
        return self._tail.tree(number).inclusion(number, size)

    async def latest(self, count: int, selection: Selection = EVERYTHING) -> list[dict[str, Any]]:
        """The last `count` records that were asked for, oldest first."""
        return await asyncio.to_thread(latest, self._store.newest_first(), count, selection)


def _refuse(waiting: Sequence[asyncio.Future[int]], why: str, hint: str = _LOOK) -> None:
    for future in waiting:
        if not future.done():
            # Each its own: an exception remembers where it was raised.
            future.set_exception(Unrecorded(why, hint=hint))
