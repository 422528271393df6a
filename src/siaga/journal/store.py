"""The journal's directory as its one writer sees it: the open log, closing it, and starting again after anything.

Whatever was not whole when the writer died is cut off, and the server sends it again: nothing is missing, nothing is
there twice. A log that was altered is cut at the damage, and what lies beyond becomes a gap of the judge (`gaps.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from siaga.errors import Refused
from siaga.hosts.local import sync_directory, write_and_rename
from siaga.journal import columnar, segments, state
from siaga.journal.frames import CHAIN_START, LogWriter, Torn
from siaga.journal.gaps import Branch
from siaga.journal.records import Kind, Record, encode, flat, outline
from siaga.journal.segments import Contents, Log, Seal
from siaga.journal.summary import Standing, Summary, standing
from siaga.ledger.accumulators import Shape

_log = structlog.get_logger()

DELTA_ENTRIES = 20_000
"""The open log's accumulators are kept anew after so many: a reader folds the rest in a quarter of a second."""


@dataclass
class _Open:
    """The log that is written now."""

    writer: LogWriter
    chain_before: bytes
    summary: Summary
    delta: state.Delta | None
    """None before the base says what an entry looks like."""
    kept_entries: int = 0
    whole: bool = True


class Store:
    """One directory, one writer (its lock says so)."""

    def __init__(self, directory: Path, *, log_bytes_max: int) -> None:
        self._directory = directory
        self._log_bytes_max = log_bytes_max
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Refused(
                f"another consumer writes to {directory}", hint="Two would double every entry; end the other one."
            ) from None
        self._closed: list[Summary] = []
        self._waiting: list[tuple[Log, state.Delta | None]] = []
        self._open: _Open | None = None
        self._seal: Seal | None = None
        self.bytes_written = 0
        """Since the start."""
        self.reopen()

    def close(self) -> None:
        """Everything is on the disk already."""
        if self._open is not None:
            self._open.writer.close()
            self._open = None
        os.close(self._lock)

    # What it stands at ------------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """What all logs together say, the open one as far as it is whole."""
        summaries = [*self._closed, *(log.summary for log, _ in self._waiting)]
        return standing([*summaries, *([self._open.summary] if self._open is not None else [])])

    @property
    def is_open(self) -> bool:
        """Whether there is a log to append to."""
        return self._open is not None

    @property
    def is_whole(self) -> bool:
        """Whether it ends with a whole transaction."""
        return self._open is None or self._open.whole

    @property
    def position(self) -> int:
        """How far the open log is whole."""
        return self._open.summary.end if self._open is not None else 0

    @property
    def acknowledged(self) -> int:
        """What had its quorum, as far as is noted."""
        return self._open.summary.acknowledged if self._open is not None else 0

    @property
    def head(self) -> str:
        """The chain's digest so far."""
        return (self._open.writer.chain if self._open is not None else self._chain()).hex()

    @property
    def shape(self) -> Shape | None:
        """What an entry looks like, as the base in force says."""
        base = self.standing.base
        return state.shape_from(base["shape"]) if base is not None else None

    # Starting again ---------------------------------------------------------------------------------------

    def reopen(self) -> None:
        """Read what is there and cut off what is not whole: at the start, and after a transaction cut short."""
        if self._open is not None:
            self._open.writer.close()
            self._open = None
        for scratch in (*self._directory.glob("*.new"), *self._directory.glob("*.rows")):
            scratch.unlink()
        contents = self._cut(segments.load(self._directory))
        for seal in contents.seals:
            # Killed between the seal and the removal of its log.
            segments.log_path(self._directory, seal.summary.number).unlink(missing_ok=True)
        self._closed = [seal.summary for seal in contents.seals]
        self._seal = contents.seals[-1] if contents.seals else None
        base = contents.standing.base
        shape = state.shape_from(base["shape"]) if base is not None else None
        if shape is not None:
            self._make_missing_deltas(contents, shape)
        deltas = [state.delta_of(contents, log, shape) if shape is not None else None for log in contents.logs]
        self._waiting = list(zip(contents.logs, deltas, strict=True))
        if self._waiting:
            log, delta = self._waiting.pop()
            writer = LogWriter(log.path, log.chain_after, log.end)
            self._open = _Open(writer, log.chain_before, log.summary, delta, delta.entries if delta else 0)

    def _cut(self, contents: Contents) -> Contents:
        """Put aside what is damaged and everything after it; a frame that was being written is no damage."""
        for follower in segments.stray_logs(contents):
            _log.error("a log that follows a damaged or missing one is put aside", log=follower.name)
            follower.replace(follower.with_suffix(".log.cut"))
        if not contents.logs:
            return contents
        last = contents.logs[-1]
        if last.damage is not None and not isinstance(last.damage, Torn):
            _log.error("the journal's log is damaged and is cut there", why=last.damage.message)
            aside = last.path.with_suffix(".log.cut")
            aside.write_bytes(last.path.read_bytes()[last.end :])
        if last.end == 0:
            # Not even its first frame: as if it had never been begun.
            last.path.unlink()
            sync_directory(self._directory)
            return replace(contents, logs=contents.logs[:-1])
        os.truncate(last.path, last.end)
        return replace(contents, logs=(*contents.logs[:-1], replace(last, damage=None, open_end=last.end)))

    def _make_missing_deltas(self, contents: Contents, shape: Shape) -> None:
        through = state.kept(self._directory, contents.standing).through
        for seal in contents.seals:
            number = seal.summary.number
            kept = state.read_delta(self._directory, number, shape)
            if number > through and (kept is None or kept[1] != seal.chain_after):
                delta = state.opening_delta(contents, number, shape)
                path = segments.segment_path(self._directory, number)
                delta.fold_rows(columnar.read_transactions(self._directory, path, "true"), back=False)
                state.write_delta(self._directory, number, delta, seal.chain_after)

    # Writing ----------------------------------------------------------------------------------------------

    def begin(
        self, system: str, timeline: int, position: int, branches: Sequence[Branch], events: list[Record]
    ) -> None:
        """Start a new log: at the beginning, on another timeline, or with a new base; the log before it is closed."""
        self._put_to_close()
        number = self.number + 1
        path = segments.log_path(self._directory, number)
        chain = self._chain()
        start: Record = [Kind.START, system, timeline, position, [[b.timeline, b.at] for b in branches]]
        before = self.standing
        same = before.position is not None and before.position.system == system
        acknowledged = min(before.acknowledged, position) if same else 0
        writer = LogWriter(path, chain, 0)
        self._open = _Open(writer, chain, Summary(number), None)
        try:
            self.append([start, [Kind.ACKNOWLEDGED, acknowledged], *events], whole=True)
        except OSError:
            self._open = None
            writer.close()
            path.unlink()
            raise
        shape = self.shape
        if shape is not None:
            forked = any(event[0] == Kind.FORK for event in events)
            contents = segments.load(self._directory) if forked else None
            self._open.delta = state.Delta(shape) if contents is None else state.opening_delta(contents, number, shape)
            state.write_delta(self._directory, number, self._open.delta, writer.chain.hex())

    @property
    def number(self) -> int:
        """Number of the last log."""
        if self._open is not None:
            return self._open.summary.number
        if self._waiting:
            return self._waiting[-1][0].summary.number
        return self._closed[-1].number if self._closed else 0

    def append(self, records: list[Record], *, whole: bool) -> None:
        """Make records durable; OSError leaves the journal as it was. Call it in a thread: it waits for the disk."""
        assert self._open is not None, "the journal has begun"
        one = self._open
        before = one.writer.end
        outlined = outline(records)
        one.writer.append(encode(records, outlined), whole=whole)
        self.bytes_written += one.writer.end - before
        one.whole = whole
        one.summary.note(outlined)
        if one.delta is not None:
            one.delta.fold(records)

    def settle(self) -> bool:
        """Between transactions: keep the accumulators, and whether there is a log to close now."""
        one = self._open
        if one is None or not one.whole:
            return False
        if one.delta is not None and one.delta.entries - one.kept_entries >= DELTA_ENTRIES:
            state.write_delta(self._directory, one.summary.number, one.delta, one.writer.chain.hex())
            one.kept_entries = one.delta.entries
        if one.writer.end >= self._log_bytes_max:
            summary = one.summary
            self.begin(summary.system, summary.timeline, summary.end, summary.branches, [])
        return bool(self._waiting)

    def _chain(self) -> bytes:
        if self._waiting:
            return self._waiting[-1][0].chain_after
        return bytes.fromhex(self._seal.chain_after) if self._seal is not None else CHAIN_START

    def _put_to_close(self) -> None:
        if self._open is None:
            return
        one = self._open
        one.writer.close()
        end = one.writer.end
        log = Log(one.writer.path, one.summary, one.chain_before, one.writer.chain, end, None, end)
        self._waiting.append((log, one.delta))
        self._open = None

    # Closing ----------------------------------------------------------------------------------------------

    def close_all(self) -> None:
        """Turn full logs into columnar, sealed segments, oldest first.

        Runs beside `append`, in a thread of its own. Killed anywhere, the log is still there and is closed again.
        """
        while self._waiting:
            self._close_log(*self._waiting[0])

    def _close_log(self, log: Log, delta: state.Delta | None) -> None:
        number = log.summary.number
        path = segments.segment_path(self._directory, number)
        digest = columnar.write_transactions(self._directory, path, flat(segments.log_records(log)))
        if delta is not None:
            state.write_delta(self._directory, number, delta, log.chain_after.hex())
        previous = self._seal.digest() if self._seal is not None else ""
        seal = Seal(log.summary, log.chain_before.hex(), log.chain_after.hex(), digest, previous)
        write_and_rename(
            segments.seal_path(self._directory, number), json.dumps(seal.document(), sort_keys=True, indent=1).encode()
        )
        log.path.unlink()
        sync_directory(self._directory)
        self._seal = seal
        self._closed.append(log.summary)
        del self._waiting[0]
        shape = self.shape
        if shape is not None:
            state.accumulate(self._directory, self.standing, number, shape)
