"""Change freezes: when nothing may be changed, and why (pure).

A freeze that nobody had seen before a window ended does not excuse that window: it would be the easiest way to
make a missed one disappear.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from siaga.errors import BadInput
from siaga.sop.clauses import ClauseId


@dataclass(frozen=True, slots=True)
class Freeze:
    """A stretch of time without changes."""

    begin: datetime
    end: datetime
    reason: str
    source: str
    """Where it is written: the site file, a change calendar's file, or the name of a person."""
    runbooks: frozenset[str] = frozenset()
    clauses: frozenset[ClauseId] = frozenset()
    """With no runbook and no clause named it is for everything."""

    def __post_init__(self) -> None:
        """Refuse what can't be placed in time: no zone, or an end before its begin."""
        if self.begin.tzinfo is None or self.end.tzinfo is None:
            raise BadInput(
                f"a freeze from {self.source} begins {self.begin} without a time zone, expected one",
                hint="Write the offset behind the time, such as 2026-12-24T00:00:00+07:00.",
            )
        if self.end <= self.begin:
            raise BadInput(
                f"a freeze from {self.source} ends {self.end.isoformat()}, expected an end after its begin "
                f"{self.begin.isoformat()}",
                hint="Exchange begin and end, or remove it.",
            )

    @property
    def key(self) -> str:
        """The same for the same freeze, whenever its file is read again."""
        named = ",".join(sorted({*self.runbooks, *self.clauses})) or "everything"
        return f"{_utc(self.begin)}/{_utc(self.end)} {named} {self.source}: {self.reason}"

    def applies(self, runbook: str, clause: ClauseId) -> bool:
        """Whether it is meant for this runbook."""
        everything = not (self.runbooks or self.clauses)
        return everything or runbook in self.runbooks or any(_within(clause, named) for named in self.clauses)

    def covers(self, begin: datetime, end: datetime) -> bool:
        """Whether any of that time is frozen; a window is free only as a whole."""
        return self.begin < end and begin < self.end

    def __str__(self) -> str:
        """For reasons: what for, from when to when, and by whom."""
        return f"frozen from {_utc(self.begin)} to {_utc(self.end)} ({self.source}): {self.reason}"


def first_over(
    freezes: Iterable[Freeze], *, runbook: str, clause: ClauseId, begin: datetime, end: datetime
) -> Freeze | None:
    """The freeze that keeps this runbook from running at that time; the one that begins first, None when free."""
    found = (f for f in freezes if f.applies(runbook, clause) and f.covers(begin, end))
    return min(found, key=lambda f: (f.begin, f.end, f.key), default=None)


def _within(clause: ClauseId, named: ClauseId) -> bool:
    """A section stands for all of its clauses: PMT for PMT-2.1, ZDT-1 for ZDT-1.1a."""
    return clause == named or clause.startswith((f"{named}-", f"{named}."))


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
