"""From the stream into the store: batches, each durable before it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from siaga.journal.pgoutput import parse
from siaga.journal.records import Kind, Record
from siaga.journal.replication import Replication
from siaga.journal.store import Store
from siaga.journal.transaction import Assembler

BATCH_BYTES = 1 << 20
"""So much is made durable at once, while it keeps coming."""
PART_BYTES = 4 << 20
"""A transaction larger than this is written in parts, so that memory stays bounded."""
KEEP_ALIVE_S = 1.0


class Stream:
    """One started replication stream."""

    def __init__(
        self, store: Store, replication: Replication, assembler: Assembler, note_lag_ms: Callable[[float], None]
    ) -> None:
        self.until_marker: int | None = None
        """Nothing is taken after the transaction with this marker."""
        self.ended = False
        self._store = store
        self._replication = replication
        self._assembler = assembler
        self._note_lag_ms = note_lag_ms
        self._done: list[Record] = []
        self._done_bytes = 0
        self._oldest_us = 0
        self._position = 0
        """After the last commit in `done`."""
        self._open_bytes = 0
        self._parted = False
        """Whether frames of the open transaction are written already."""
        self._read_to = 0
        self._in_doubt = deque([store.position] if store.acknowledged < store.position else [])
        """Where commits end that had no quorum yet."""

    async def receive(self, timeout_s: float) -> None:
        """Take what has arrived, up to a batch; wait for something where there is nothing."""
        self._take_arrived()
        if (
            not self._done
            and not self.ended
            and self._open_bytes < PART_BYTES
            and await self._replication.arrive(timeout_s)
        ):
            self._take_arrived()

    def _take_arrived(self) -> None:
        while self._done_bytes < BATCH_BYTES and self._open_bytes < PART_BYTES and not self.ended:
            message = self._replication.pending()
            if message is None:
                return
            if message.content is None:
                self._read_to = max(self._read_to, message.position)
                continue
            self._open_bytes += len(message.content)
            position = self._assembler.take(parse(message.content))
            if position is not None:
                self._commit(position)

    def _commit(self, position: int) -> None:
        records, self._assembler.records = self._assembler.records, []
        until = self.until_marker
        self.ended = until is not None and any(r[0] == Kind.MARKER and r[1] >= until for r in records)
        # A begin and a commit alone: nothing of it concerned the ledger.
        if len(records) > 2 or self._parted:
            if not self._done:
                self._oldest_us = self._assembler.committed_us
            self._done += records
            self._done_bytes += self._open_bytes
            self._position = position
            self._in_doubt.append(position)
        self._read_to = max(self._read_to, position)
        self._open_bytes = 0

    async def flush(self) -> None:
        """Make durable what is whole, and acknowledge it; then the beginning of a transaction that is too large."""
        if self._done:
            records, self._done, self._done_bytes = self._done, [], 0
            await self._append(records, whole=True)
            self._parted = False
            self._replication.confirm(self._position)
            self._note_lag_ms(time.time() * 1e3 - self._oldest_us / 1e3)
        if self._open_bytes >= PART_BYTES:
            records, self._assembler.records, self._open_bytes = self._assembler.records, [], 0
            self._parted = True
            await self._append(records, whole=False)

    async def note(self, acknowledged: int | None) -> None:
        """Between transactions: how far was read without anything for us, and what had its quorum."""
        if self._done or self._assembler.inside:
            return
        standing = self._store.position
        records: list[Record] = []
        if self._read_to > standing:
            records.append([Kind.AT, self._read_to])
        # A standby's position may lie within a commit's record: only a commit that ends before it is acknowledged.
        ended = 0
        while acknowledged is not None and self._in_doubt and self._in_doubt[0] <= acknowledged:
            ended = self._in_doubt.popleft()
        if ended > self._store.acknowledged:
            records.append([Kind.ACKNOWLEDGED, ended])
        if records:
            await self._append(records, whole=True)
            self._replication.confirm(self._store.position)

    async def _append(self, records: list[Record], *, whole: bool) -> None:
        writing = asyncio.create_task(asyncio.to_thread(self._store.append, records, whole=whole))
        # A disk that stalls must not cost the connection: the server hears from us meanwhile.
        while not (await asyncio.wait((writing,), timeout=KEEP_ALIVE_S))[0]:
            self._replication.keep_alive(KEEP_ALIVE_S)
        await writing
