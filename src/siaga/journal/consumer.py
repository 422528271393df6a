"""The loop: receive, make durable, acknowledge; in that order, so that a kill loses and doubles nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import structlog

from siaga.errors import Exit, SiagaError
from siaga.journal import handover, status
from siaga.journal.config import PUBLICATIONS, JournalConfig
from siaga.journal.gaps import Fork, Gap, Journal, Rebase, Resume, Server, Stop, next_step
from siaga.journal.handover import Source
from siaga.journal.lsn import show
from siaga.journal.records import Kind, Record
from siaga.journal.replication import Replication
from siaga.journal.schema import table_from
from siaga.journal.store import Store
from siaga.journal.stream import Stream
from siaga.journal.summary import Marker, fork_document, gap_document
from siaga.journal.transaction import Assembler
from siaga.journal.watch import Look, Watch

_log = structlog.get_logger()

TICK_S = 0.2
SECOND = 1.0
RETRY_S_MAX = 5.0


class Stopped(SiagaError):
    """Nothing may be journaled until a person has looked."""

    exit_code = Exit.REFUSED


@dataclass(frozen=True, slots=True)
class BaseOrder:
    """What a base is read from, and where to."""

    conninfo: str
    snapshot: str
    directory: Path
    name: str
    """File name of the accumulators."""


class BaseReader(Protocol):
    """Reads the accumulators of everything that a snapshot sees."""

    async def __call__(self, order: BaseOrder) -> dict[str, Any]:
        """The base's document: file, sha256, map, shape, tables."""
        ...


class Consumer:
    """One journal, from whichever server is the primary."""

    def __init__(self, config: JournalConfig, store: Store, read_base: BaseReader) -> None:
        self._config = config
        self._store = store
        self._read_base = read_base
        self._figures = status.Figures()
        self._look: Look | None = None
        self._state, self._why, self._hint = "starting", "", ""
        self._closing: asyncio.Task[None] | None = None
        self._closed_before = 0
        """The log that was open when full ones were last closed."""
        self._source = self._go_over()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`, over every fault of the server, the network and the disk."""
        telling = asyncio.create_task(self._tell())
        delay_s = 0.1
        try:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    await self._session(stop)
                except (SiagaError, OSError, duckdb.Error) as error:
                    self._fault(error)
                if time.monotonic() - began > RETRY_S_MAX:
                    delay_s = 0.1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay_s)
                delay_s = min(2 * delay_s, RETRY_S_MAX)
        finally:
            telling.cancel()
            await self._closed()
            self._state, self._why, self._hint = "stopped", "ended on request", ""
            await self._say()

    def _fault(self, error: Exception) -> None:
        hint = error.hint if isinstance(error, SiagaError) else "It is tried again; the server keeps what comes."
        why = error.message if isinstance(error, SiagaError) else str(error)
        state = "waiting" if not isinstance(error, SiagaError) or error.exit_code == Exit.UNREACHABLE else "stopped"
        if (state, why) != (self._state, self._why):
            _log.error("the journal does not consume", state=state, why=why, hint=hint)
        self._state, self._why, self._hint = state, why, hint
        self._look = None

    # A session: one connection --------------------------------------------------------------------------

    async def _session(self, stop: asyncio.Event) -> None:
        if not self._store.is_whole:
            # What the last session left half written is cut off; the server sends it again.
            await self._closed()
            await asyncio.to_thread(self._store.reopen)
        self._source = self._go_over()
        conninfo = self._config.connection(self._source.conninfo)
        watch = Watch(conninfo, self._source.slot)
        replication = await Replication.connect(conninfo)
        try:
            server = await replication.identify()
            self._look = await watch.look()
            publications = await watch.publications(PUBLICATIONS)
            position = await self._prepare(replication, server, publications)
            assembler = self._assembler(position, await watch.next_xid())
            stream = Stream(self._store, replication, assembler, self._figures.commit_lag_ms.append)
            await replication.start(self._source.slot, position, publications)
            self._state, self._why, self._hint = "streaming", "", ""
            _log.info("streaming", system=server.system, timeline=server.timeline, position=show(position))
            await self._consume(stream, replication, watch, stop)
        finally:
            await replication.close()
            await watch.close()

    def _go_over(self) -> Source:
        """Where to read from; a hand-over whose marker was read is carried out here."""
        directory = self._config.directory
        ordered = handover.ordered(directory)
        if ordered is not None and self._reached(ordered):
            handover.complete(directory)
            _log.warning("the journal goes over to the other side of a switch", marker=ordered.marker)
        return handover.current(directory) or Source(self._config.conninfo, self._config.slot, 0)

    def _reached(self, ordered: Source) -> bool:
        marker = self._store.standing.marker
        return marker is not None and marker.n >= ordered.marker

    async def _prepare(self, replication: Replication, server: Server, publications: tuple[str, ...]) -> int:
        """Do what the judge says; where the stream begins."""
        if not publications:
            raise Stopped(
                f"none of the publications {', '.join(PUBLICATIONS)} exists",
                hint="`siaga journal prepare` makes them, as the owner of the ledger's tables.",
            )
        standing = self._store.standing
        assert self._look is not None, "the session has looked"
        # Read up to the marker on the old side, and nothing of the new one yet.
        position, marker = standing.position, standing.marker
        over = position is not None and marker == Marker(position.system, self._source.marker)
        known = Journal(standing.position, standing.branches, standing.base_position, over)
        step = next_step(known, server, self._look.slot)
        match step:
            case Stop(why, hint):
                raise Stopped(why, hint=hint)
            case Rebase(gap, fork):
                return await self._rebase(replication, server, gap, fork)
            case Resume(at, fork):
                events: list[Record] = [[Kind.FORK, fork_document(fork)]] if fork is not None else []
                elsewhere = standing.position is not None and standing.position.system != server.system
                if events or elsewhere or not self._store.is_open:
                    await self._begin(server, at, events)
                return at

    async def _begin(self, server: Server, at: int, events: list[Record]) -> None:
        await asyncio.to_thread(self._store.begin, server.system, server.timeline, at, server.branches, events)

    async def _rebase(self, replication: Replication, server: Server, gap: Gap | None, fork: Fork | None) -> int:
        """A new slot, and everything before it as one sum an account."""
        assert self._look is not None, "the session has looked"
        self._state, self._why = "reading a base", str(gap) if gap is not None else "the journal begins"
        _log.warning("the journal needs a base", gap=str(gap) if gap is not None else "")
        if self._look.slot is not None:
            await replication.drop_slot(self._source.slot)
        position, snapshot = await replication.create_slot(self._source.slot, failover=self._config.failover)
        name = f"base-{self._store.number + 1:010}.parquet"
        order = BaseOrder(self._config.connection(self._source.conninfo), snapshot, self._config.directory, name)
        base = await self._read_base(order)
        stands = {"system": server.system, "timeline": server.timeline, "lsn": show(position), "snapshot": snapshot}
        events: list[Record] = [[Kind.BASE, {**base, **stands}]]
        if gap is not None:
            events.append([Kind.GAP, gap_document(Gap(gap.system, gap.timeline, gap.begin, position, gap.why))])
        if fork is not None:
            events.append([Kind.FORK, fork_document(fork)])
        await self._begin(server, position, events)
        return position

    def _assembler(self, position: int, next_xid: int) -> Assembler:
        standing = self._store.standing
        assert standing.base is not None, "a session begins with a base"
        tables = [table_from(document) for document in standing.base["tables"]]
        return Assembler({(t.schema, t.name): t for t in tables}, position, next_xid)

    # Streaming --------------------------------------------------------------------------------------------

    async def _consume(self, stream: Stream, replication: Replication, watch: Watch, stop: asyncio.Event) -> None:
        next_look = 0.0
        while not stop.is_set() and not stream.ended:
            await stream.receive(TICK_S)
            await stream.flush()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + SECOND
                self._look = await watch.look()
                ordered = handover.ordered(self._config.directory)
                if ordered is not None and self._reached(ordered):
                    return
                stream.until_marker = ordered.marker if ordered is not None else None
                await stream.note(self._look.acknowledged)
                replication.keep_alive(SECOND)
            if await asyncio.to_thread(self._store.settle):
                self._close_logs()

    def _close_logs(self) -> None:
        """In a thread of its own; once for each log that is begun, so that one that can't be closed costs little."""
        if (self._closing is None or self._closing.done()) and self._closed_before != self._store.number:
            self._closed_before = self._store.number
            self._closing = asyncio.create_task(self._close_all())

    async def _close_all(self) -> None:
        try:
            await asyncio.to_thread(self._store.close_all)
        except (SiagaError, OSError, duckdb.Error) as error:
            # It stays a log: as durable, and slower to read.
            _log.error("a full log could not be closed", why=str(error))

    async def _closed(self) -> None:
        """No log is being closed any more."""
        if self._closing is not None:
            await self._closing

    # Telling -----------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(SECOND)
            await self._say()

    async def _say(self) -> None:
        self._figures.note(self._look, self._store.bytes_written)
        content = status.document(
            self._state,
            self._why,
            self._hint,
            self._store.standing,
            self._figures,
            self._config.directory,
            self._store.head,
        )
        # A full disk must not end the consumer; the status then grows old, which is shown.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(status.write, self._config.status, content)
