"""What a log holds, noted from its frames' outlines: where it stands, how much, which events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from siaga.journal.gaps import Branch, Fork, Gap, Position
from siaga.journal.lsn import parse, show
from siaga.journal.records import EVENTS, Kind, Record


@dataclass(slots=True)
class Summary:
    """Of one log, open or closed."""

    number: int
    system: str = ""
    timeline: int = 0
    branches: tuple[Branch, ...] = ()
    begin: int = 0
    end: int = 0
    """How far it is whole."""
    transactions: int = 0
    entries: int = 0
    xid_max: int = 0
    committed_us: int = 0
    """Of the last transaction."""
    acknowledged: int = 0
    changes: int = 0
    """Updates, deletions and truncations of the ledger's log."""
    events: list[Record] = field(default_factory=list)

    def note(self, outline: Iterable[Record]) -> None:
        """What follows (`records.outline`)."""
        for record in outline:
            kind = record[0]
            if kind == Kind.ENTRIES:
                self.entries += record[1]
            elif kind == Kind.BEGIN:
                self.xid_max = max(self.xid_max, record[1])
                self.committed_us = record[3]
            elif kind == Kind.COMMIT:
                self.transactions += 1
                self.end = record[1]
            elif kind == Kind.AT:
                self.end = record[1]
            elif kind == Kind.ACKNOWLEDGED:
                self.acknowledged = record[1]
            elif kind == Kind.START:
                _, self.system, self.timeline, self.begin, branches = record
                self.branches = tuple(Branch(*branch) for branch in branches)
                self.end = self.begin
            elif kind == Kind.CHANGE:
                self.changes += 1
            elif kind in EVENTS:
                self.events.append(record)

    @property
    def position(self) -> Position:
        """How far the journal is whole with this log."""
        return Position(self.system, self.timeline, self.end)


@dataclass(frozen=True, slots=True)
class Span:
    """Every commit in [`begin`, `end`) is in the journal."""

    system: str
    timeline: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class LogFork:
    """A fork, and the first log after it: entries of earlier logs at or beyond `at` are abandoned."""

    number: int
    system: str
    at: int


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker row of a switch, as read from one side."""

    system: str
    n: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What all logs together say."""

    position: Position | None
    branches: tuple[Branch, ...]
    acknowledged: int
    base_number: int
    """The log that begins with the base in force; 0 before the first."""
    base: dict[str, Any] | None
    forks: tuple[LogFork, ...]
    gaps: tuple[Gap, ...]
    spans: tuple[Span, ...]
    marker: Marker | None
    """The last one."""
    changes: int
    """Updates, deletions and truncations of the ledger's log."""

    @property
    def base_position(self) -> Position | None:
        """Where the base in force stands."""
        if self.base is None:
            return None
        return Position(self.base["system"], self.base["timeline"], parse(self.base["lsn"]))

    def lives(self, number: int, system: str, lsn: int) -> bool:
        """Whether a transaction in log `number` is still part of the database's way."""
        return not any(f.number > number and f.system == system and lsn >= f.at for f in self.forks)


def standing(summaries: Sequence[Summary]) -> Standing:
    """From the summaries of all logs, oldest first."""
    forks: list[LogFork] = []
    gaps: list[Gap] = []
    spans: list[Span] = []
    marker, base, base_number = None, None, 0
    for each in summaries:
        for kind, *rest in each.events:
            if kind == Kind.BASE:
                base, base_number = rest[0], each.number
            elif kind == Kind.FORK:
                forks.append(LogFork(each.number, rest[0]["system"], parse(rest[0]["at"])))
            elif kind == Kind.GAP:
                gaps.append(gap_from(rest[0]))
            elif kind == Kind.MARKER:
                marker = Marker(each.system, rest[0])
        last = spans[-1] if spans else None
        if last is not None and (last.system, last.timeline, last.end) == (each.system, each.timeline, each.begin):
            spans[-1] = Span(last.system, last.timeline, last.begin, each.end)
        else:
            spans.append(Span(each.system, each.timeline, each.begin, each.end))
    head = summaries[-1] if summaries else None
    return Standing(
        position=head.position if head is not None else None,
        branches=head.branches if head is not None else (),
        acknowledged=head.acknowledged if head is not None else 0,
        base_number=base_number,
        base=base,
        forks=tuple(forks),
        gaps=tuple(gaps),
        spans=tuple(spans),
        marker=marker,
        changes=sum(each.changes for each in summaries),
    )


def fork_document(fork: Fork) -> dict[str, Any]:
    """As a record holds it."""
    return {"system": fork.system, "timeline": fork.timeline, "at": show(fork.at)}


def gap_document(gap: Gap) -> dict[str, Any]:
    """As a record and the status hold it."""
    return {
        "system": gap.system,
        "timeline": gap.timeline,
        "begin": show(gap.begin),
        "end": show(gap.end) if gap.end is not None else None,
        "why": gap.why,
    }


def gap_from(document: dict[str, Any]) -> Gap:
    """Back from a record."""
    end = document["end"]
    return Gap(
        document["system"], document["timeline"], parse(document["begin"]), parse(end) if end else None, document["why"]
    )
