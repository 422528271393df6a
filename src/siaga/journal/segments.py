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
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from siaga.errors import BadInput
from siaga.journal import columnar
from siaga.journal.frames import CHAIN_START, Damaged, Torn, read
from siaga.journal.gaps import Branch
from siaga.journal.lsn import parse, show
from siaga.journal.records import FLAT_FIELDS, Record, decode, flat
from siaga.journal.summary import LogFork, Standing, Summary, standing

FORMAT = 1
ATTEMPTS_MAX = 5

T = TypeVar("T")


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


def load(directory: Path) -> Contents:
    """Read all seals and logs; Damaged where a seal was altered. What is wrong with a log is in its `damage`."""
    if not directory.is_dir():
        raise BadInput(f"there is no journal in {directory}", hint="The part `journal` of the platform makes one.")
    contents = _load(directory)
    # The consumer may close a log while we read: then its seal is there, and the log is not.
    while seal_path(directory, contents.next_number).exists():
        contents = _load(directory)
    return contents


def read_settled(directory: Path, use: Callable[[Contents], T]) -> T:
    """What `use` makes of the contents; anew where the consumer closed a log under its eyes."""
    for _ in range(ATTEMPTS_MAX):
        with suppress(FileNotFoundError, duckdb.IOException):
            return use(load(directory))
    return use(load(directory))


def _load(directory: Path) -> Contents:
    seals = tuple(_load_seals(directory))
    chain = bytes.fromhex(seals[-1].chain_after) if seals else CHAIN_START
    number = seals[-1].summary.number + 1 if seals else 1
    logs: list[Log] = []
    while (path := log_path(directory, number)).exists():
        try:
            log = load_log(path, number, chain)
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
    stray = [
        path.name for path in sorted(directory.glob("*.seal.json")) if path.name >= seal_path(directory, number).name
    ]
    if stray:
        raise Damaged(f"{seal_path(directory, number).name} is missing, and {stray[0]} is there")


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


def load_log(path: Path, number: int, chain: bytes) -> Log:
    """What a log holds up to its last whole frame."""
    summary = draft = Summary(number)
    end = open_end = 0
    whole_chain = chain
    damage = None
    try:
        for frame in read(path, chain):
            if draft is summary and not frame.whole:
                draft = replace(summary, events=list(summary.events))
            draft.note(decode(frame.payload))
            open_end = frame.end
            if frame.whole:
                summary, end, whole_chain = draft, frame.end, frame.chain
    except Damaged as error:
        damage = error
    return Log(path, summary, chain, whole_chain, end, damage, open_end)


def log_records(log: Log, after: int = 0) -> Iterator[Record]:
    """The records of a log up to its last whole frame, from byte `after` on."""
    for frame in read(log.path, log.chain_before):
        if frame.end > log.end:
            return
        if frame.end > after:
            yield from decode(frame.payload)


def transactions(
    contents: Contents, first: int, condition: str, holds: Callable[[tuple[Any, ...]], bool]
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Rows of FLAT_FIELDS with their log's number, from log `first` on.

    `condition` (SQL) chooses from closed segments, `holds` (on a row) does the same in logs.
    """
    for seal in contents.seals:
        if seal.summary.number >= first:
            number = seal.summary.number
            path = segment_path(contents.directory, number)
            yield from ((number, row) for row in columnar.read_transactions(contents.directory, [path], condition))
    for log in contents.logs:
        if log.summary.number >= first:
            yield from ((log.summary.number, row) for row in flat(log_records(log)) if holds(row))


def taken_by(contents: Contents, fork: LogFork) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """What this very fork took out, with its log's number: earlier forks took theirs already."""
    earlier = [other for other in contents.standing.forks if other.number < fork.number]
    systems = {each.number: each.system for each in contents.summaries}
    for number, row in transactions(contents, 1, f"lsn >= {fork.at}", lambda row: row[LSN] >= fork.at):
        taken = any(f.number > number and f.system == fork.system and row[LSN] >= f.at for f in earlier)
        if number < fork.number and systems[number] == fork.system and not taken:
            yield number, row


def verify(contents: Contents, advance: Callable[[], None] = lambda: None) -> list[str]:
    """Every file against its seal, every frame against its chain; what is wrong, in words, nothing when all is well."""
    found: list[str] = []
    for seal in contents.seals:
        found += _verify_segment(contents.directory, seal)
        advance()
    found += [str(log.damage.message) for log in contents.logs if log.damage is not None and not _being_written(log)]
    if contents.logs and contents.logs[-1].damage is not None:
        last = contents.logs[-1].summary.number
        found += [
            f"{path.name} follows a damaged log" for path in (log_path(contents.directory, last + 1),) if path.exists()
        ]
    base = contents.standing.base
    if base is not None:
        path = contents.directory / base["file"]
        if not path.exists() or columnar.sha256(path) != base["sha256"]:
            found.append(f"{path.name} is not the base that was read (its digest differs)")
    return found


def _being_written(log: Log) -> bool:
    return isinstance(log.damage, Torn)


def _verify_segment(directory: Path, seal: Seal) -> Sequence[str]:
    path = segment_path(directory, seal.summary.number)
    try:
        if columnar.sha256(path) == seal.file_sha256:
            return ()
    except FileNotFoundError:
        return (f"{path.name} is missing: {_stretch(seal)}",)
    return (f"{path.name} is not what was sealed (its digest differs): {_stretch(seal)}",)


def _stretch(seal: Seal) -> str:
    summary = seal.summary
    return (
        f"{summary.transactions} transactions with {summary.entries} entries, "
        f"timeline {summary.timeline} from {show(summary.begin)} to {show(summary.end)}"
    )


LSN = FLAT_FIELDS.index("lsn")
XID = FLAT_FIELDS.index("xid")
