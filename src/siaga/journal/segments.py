"""The journal's directory as anybody may read it: closed segments with their seals, logs not closed yet.

0000000007.parquet     what the transactions of log 7 held
0000000007.seal.json   its position, counts, events, the digests that bind it to its neighbours
0000000008.log         the open log (`frames.py`); an older one is about to be closed
0000000007.delta.json  accumulators of log 7 alone; accumulators.json names the file they are folded into
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from siaga.errors import BadInput
from siaga.journal import columnar
from siaga.journal.frames import CHAIN_START, Damaged, Frame, read
from siaga.journal.gaps import Branch
from siaga.journal.lsn import parse, show
from siaga.journal.records import FLAT_FIELDS, Record, decode, decode_outline, flat
from siaga.journal.summary import LogFork, Standing, Summary, standing

FORMAT = 1
ATTEMPTS_MAX = 5

T = TypeVar("T")
Taker = Callable[[int], Callable[[Sequence[Record]], None]]
"""For the log with a number, from its beginning: what takes its outlines, a transaction that is not whole included."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A closed segment, bound to its file and to the seal before it."""

    summary: Summary
    chain_before: str
    chain_after: str
    file_sha256: str
    previous: str
    """Digest of the seal before; empty for the first."""

    def document(self) -> dict[str, Any]:
        """As it is written."""
        plain = {each.name: getattr(self.summary, each.name) for each in fields(Summary)}
        plain |= {name: show(plain[name]) for name in ("begin", "end", "acknowledged")}
        plain["branches"] = [[branch.timeline, branch.at] for branch in self.summary.branches]
        own = {name: getattr(self, name) for name in ("chain_before", "chain_after", "file_sha256", "previous")}
        return {"format": FORMAT, **plain, **own}

    def digest(self) -> str:
        """SHA-256 of its document."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Log:
    """A log that is not closed yet, as far as it is whole."""

    path: Path
    summary: Summary
    chain_before: bytes
    chain_after: bytes
    end: int
    """In bytes."""
    damage: Damaged | None
    """What was found beyond `end`; None where it ends there, in or after a whole frame."""
    open_end: int
    """In bytes, with the frames of a transaction that is not whole."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the directory."""

    directory: Path
    seals: tuple[Seal, ...]
    logs: tuple[Log, ...]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """Of all logs, oldest first."""
        return (*(seal.summary for seal in self.seals), *(log.summary for log in self.logs))

    @property
    def standing(self) -> Standing:
        """What they say together."""
        return standing(self.summaries)

    @property
    def next_number(self) -> int:
        """Of the log that would follow."""
        return 1 + (self.logs[-1].summary.number if self.logs else self.seals[-1].summary.number if self.seals else 0)

    @property
    def head(self) -> str:
        """The chain's digest so far: who keeps it elsewhere can prove that nothing before it was altered."""
        if self.logs:
            return self.logs[-1].chain_after.hex()
        return self.seals[-1].chain_after if self.seals else CHAIN_START.hex()


def segment_path(directory: Path, number: int) -> Path:
    """The closed segment's file."""
    return directory / f"{number:010}.parquet"


def seal_path(directory: Path, number: int) -> Path:
    """Its seal."""
    return directory / f"{number:010}.seal.json"


def log_path(directory: Path, number: int) -> Path:
    """The log while it is open."""
    return directory / f"{number:010}.log"


def load(directory: Path, taker: Taker | None = None) -> Contents:
    """Read all seals and logs; Damaged where a seal was altered. What is wrong with a log is in its `damage`.

    `taker` is given each log's outlines while it is read: who wants them need not read it again.
    """
    if not directory.is_dir():
        raise BadInput(f"there is no journal in {directory}", hint="The part `journal` of the platform makes one.")
    contents = _load(directory, taker)
    # The consumer may close a log while we read: then its seal is there, and the log is not.
    while seal_path(directory, contents.next_number).exists():
        contents = _load(directory, taker)
    return contents


def read_settled(
    directory: Path, use: Callable[[Contents], T], contents: Contents | None = None, taker: Taker | None = None
) -> T:
    """What `use` makes of the contents, first of those given; anew where the consumer closed a log meanwhile."""
    why = ""
    for _ in range(ATTEMPTS_MAX):
        try:
            return use(contents if contents is not None else load(directory, taker))
        except (FileNotFoundError, duckdb.IOException) as error:
            why, contents = str(error), None
    raise Damaged(f"a file of the journal can't be read: {why}")


def _load(directory: Path, taker: Taker | None) -> Contents:
    seals = tuple(_load_seals(directory))
    chain = bytes.fromhex(seals[-1].chain_after) if seals else CHAIN_START
    number = seals[-1].summary.number + 1 if seals else 1
    logs: list[Log] = []
    while (path := log_path(directory, number)).exists():
        try:
            log = load_log(path, number, chain, taker)
        except FileNotFoundError:
            break
        logs.append(log)
        if log.damage is not None:
            # What follows is bound to what is damaged.
            break
        chain, number = log.chain_after, number + 1
    return Contents(directory, seals, tuple(logs))


def _load_seals(directory: Path) -> Iterator[Seal]:
    previous, number, chain = "", 1, CHAIN_START.hex()
    while (path := seal_path(directory, number)).exists():
        seal = _seal_from(path)
        if (seal.summary.number, seal.previous, seal.chain_before) != (number, previous, chain):
            raise Damaged(f"{path.name} is not the seal that follows the one before it (one of the two was altered)")
        yield seal
        previous, number, chain = seal.digest(), number + 1, seal.chain_after
    missing = seal_path(directory, number)
    stray = sorted(path.name for path in directory.glob("*.seal.json") if path.name > missing.name)
    # The consumer may just have written it.
    if stray and not missing.exists():
        raise Damaged(f"{missing.name} is missing, and {stray[0]} is there")


def _seal_from(path: Path) -> Seal:
    try:
        document = json.loads(path.read_bytes())
        if document.pop("format") != FORMAT:
            raise BadInput(
                f"{path.name} has another format than {FORMAT}",
                hint="Use the version of siaga that wrote this journal.",
            )
        own = {name: document.pop(name) for name in ("chain_before", "chain_after", "file_sha256", "previous")}
        document |= {name: parse(document[name]) for name in ("begin", "end", "acknowledged")}
        document["branches"] = tuple(Branch(*branch) for branch in document["branches"])
        return Seal(Summary(**document), **own)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path.name} is not a seal: {error}") from error


def load_log(path: Path, number: int, chain: bytes, taker: Taker | None = None) -> Log:
    """What a log holds up to its last whole frame."""
    summary = draft = Summary(number)
    end = open_end = 0
    whole_chain = chain
    damage = None
    take = taker(number) if taker is not None else None
    try:
        for frame in read(path, chain):
            if draft is summary and not frame.whole:
                draft = replace(summary, events=list(summary.events))
            outline = decode_outline(frame.payload)
            draft.note(outline)
            if take is not None:
                take(outline)
            open_end = frame.end
            if frame.whole:
                summary, end, whole_chain = draft, frame.end, frame.chain
    except Damaged as error:
        damage = error
    return Log(path, summary, chain, whole_chain, end, damage, open_end)


def log_frames(log: Log) -> Iterator[Frame]:
    """The frames of a log up to its last whole one."""
    if log.end:
        for frame in read(log.path, log.chain_before):
            yield frame
            # The one after it may be cut short.
            if frame.end >= log.end:
                return


def log_records(log: Log) -> Iterator[Record]:
    """Their records."""
    for frame in log_frames(log):
        yield from decode(frame.payload)


def stray_logs(contents: Contents) -> list[Path]:
    """Logs beyond the last one that can be read: they are bound to one that is damaged or missing."""
    last = log_path(contents.directory, contents.next_number - 1).name
    return sorted(path for path in contents.directory.glob("*.log") if path.name > last)


Row = tuple[Any, ...]
"""A row of FLAT_FIELDS."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are wanted, said three times: of a whole log, in SQL for closed segments, and of a row."""

    may_hold: Callable[[Summary], bool]
    condition: str
    holds: Callable[[Row], bool]


EVERYTHING = Choice(lambda _: True, "true", lambda _: True)


def from_position(lsn: int) -> Choice:
    """Transactions that commit at `lsn` or beyond."""
    return Choice(lambda summary: summary.end > lsn, f"lsn >= {lsn}", lambda row: row[LSN] >= lsn)


def transactions(contents: Contents, choice: Choice) -> Iterator[tuple[Summary, Row]]:
    """The chosen rows in the order they were written, each with its log's summary."""
    for seal in contents.seals:
        summary = seal.summary
        if choice.may_hold(summary):
            path = segment_path(contents.directory, summary.number)
            if not path.exists():
                raise Damaged(f"{path.name} is missing: {stretch(summary)}")
            rows = columnar.read_transactions(contents.directory, path, choice.condition)
            yield from ((summary, row) for row in rows)
    for log in contents.logs:
        if choice.may_hold(log.summary):
            yield from ((log.summary, row) for row in flat(log_records(log)) if choice.holds(row))


def taken_by(contents: Contents, fork: LogFork) -> Iterator[Row]:
    """What this very fork took out: earlier forks took theirs already."""
    earlier = [other for other in contents.standing.forks if other.number < fork.number]
    for summary, row in transactions(contents, from_position(fork.at)):
        taken = any(f.number > summary.number and f.system == fork.system and row[LSN] >= f.at for f in earlier)
        if summary.number < fork.number and summary.system == fork.system and not taken:
            yield row


def stretch(summary: Summary) -> str:
    """What a log holds, in words."""
    return (
        f"{summary.transactions} transactions with {summary.entries} entries, "
        f"timeline {summary.timeline} from {show(summary.begin)} to {show(summary.end)}"
    )


LSN = FLAT_FIELDS.index("lsn")
XID = FLAT_FIELDS.index("xid")
