"""Acts that may not wait for their record: noted in the spool at once, moved into the log when that is possible.

Each gets there exactly once: its entry has an id that its record bears, and after a crash or a write with an unknown
end the log is searched for the id before the record is written again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import structlog

from siaga.errors import BadInput, Refused
from siaga.evidence.document import Exempt, Stamp, spooled, unspooled
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.spool import Entry, Spool, SpoolFull

BODY_BYTES_MAX = 64 * 1024
BATCH = 64
RETRY_S = 1.0
CLOSE_S_MAX = 5.0

_log = structlog.get_logger()


class ExemptActs:
    """Everything about `append_exempt`. Note from one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        append: Callable[[Record, Exempt], Awaitable[object]],
        recorded: Callable[[int], Awaitable[set[str]]],
    ) -> None:
        """`append` writes to the log; `recorded` finds the ids that are in it from a record on."""
        self._path = path
        self._append = append
        self._recorded = recorded
        self._spool: Spool | None = None
        self._waiting: list[Entry] = []
        self._in_doubt = False
        self._noted = asyncio.Event()
        self._unsynced = asyncio.Event()
        self._hand = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidence-spool")
        self._tasks: list[asyncio.Task[None]] = []
        self._unnoted = 0

    def open(self) -> None:
        """Find what an earlier process left. Without its file, acts are kept in memory, and that is said aloud."""
        if self._tasks:
            return
        try:
            self._spool = Spool(self._path)
        except (OSError, Refused) as error:
            _log.error("exempt acts can't be noted on disk, they are kept in memory", why=str(error))
            return
        if self._spool.torn:
            _log.warning("half-written notes of acts that had not begun are left out", count=self._spool.torn)
        self._waiting = list(self._spool.found)
        self._in_doubt = bool(self._waiting)
        self._tasks.append(asyncio.create_task(self._sync(self._spool), name="evidence-spool"))

    def begin_to_drain(self) -> None:
        """The log is open: move there what waits, and what comes."""
        self._noted.set()
        self._tasks.append(asyncio.create_task(self._drain(), name="evidence-exempt"))

    async def close(self) -> None:
        """What is not in the log stays noted on disk."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        if self._spool is not None:
            # Behind what is still to be cleared; a disk that hangs does not keep us.
            closed = asyncio.get_running_loop().run_in_executor(self._hand, self._spool.close)
            await asyncio.wait([closed], timeout=CLOSE_S_MAX)
            self._spool = None
        self._hand.shutdown(wait=False)

    @property
    def waiting(self) -> int:
        """How many are not in the log yet."""
        return len(self._waiting)

    @property
    def in_memory(self) -> int:
        """How many of them would be lost with this process."""
        return sum(entry.pages == 0 for entry in self._waiting)

    def note(self, record: Record, stamp: Stamp, log_size: int) -> None:
        """Never raises, never waits for a disk."""
        body = _body(record, stamp)
        try:
            if self._spool is None:
                raise SpoolFull
            entry = self._spool.put(body, log_size)
            self._unsynced.set()
        except (SpoolFull, OSError) as error:
            self._unnoted += 1
            entry = Entry.in_memory(f"{id(self):x}-{self._unnoted}", body, log_size)
            _log.error("an exempt act is noted in memory alone", kind=record.kind, reason=record.reason, why=str(error))
        self._waiting.append(entry)
        self._noted.set()

    async def _drain(self) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            while self._waiting:
                try:
                    await self._drain_some()
                except Unrecorded as refusal:
                    self._in_doubt = True
                    _log.warning("exempt acts wait for the evidence", count=len(self._waiting), why=refusal.message)
                    await asyncio.sleep(RETRY_S)

    async def _drain_some(self) -> None:
        if self._in_doubt:
            known = await self._recorded(min(entry.log_size for entry in self._waiting))
            self._settle([entry for entry in self._waiting if entry.id in known])
            self._in_doubt = False
        entries = self._waiting[:BATCH]
        outcomes = await asyncio.gather(*(self._move(entry) for entry in entries), return_exceptions=True)
        self._settle([entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome is None])
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _move(self, entry: Entry) -> None:
        record, stamp = unspooled(entry.document)
        await self._append(record, Exempt(entry.id, stamp))

    def _settle(self, entries: Sequence[Entry]) -> None:
        done = {entry.id for entry in entries}
        self._waiting = [entry for entry in self._waiting if entry.id not in done]
        for entry in entries:
            if self._spool is not None and entry.pages:
                self._hand.submit(self._spool.clear, entry)

    async def _sync(self, spool: Spool) -> None:
        """Make the notes outlive the machine, too, as soon as the disk is able to."""
        while True:
            await self._unsynced.wait()
            self._unsynced.clear()
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().run_in_executor(self._hand, spool.sync)


def _body(record: Record, stamp: Stamp) -> bytes:
    """As much of it as can be written: an act that is done is noted, whatever its figures are."""
    try:
        body = spooled(record, stamp)
    except BadInput as error:
        words = {name: _plain(getattr(record, name)) for name in ("kind", "actor", "clause", "reason", "run")}
        return spooled(Record(**words, figures={"not_recorded": _plain(error.message)}), stamp)
    if len(body) > BODY_BYTES_MAX:
        figures = {"not_recorded": f"figures of {len(body)} bytes, at most {BODY_BYTES_MAX}"}
        return spooled(replace(record, reason=record.reason[:4096], figures=figures), stamp)
    return body


def _plain(value: object) -> str:
    return str(value)[:4096].encode(errors="replace").decode()
