"""Coverage, judged: where the journal goes on when it meets a server, and what is missing. It never guesses.

A position says nothing without its server (system id) and timeline. Each stretch that the journal can't have seen is
a named gap from..to; after one it needs a new base, since what lies in the gap is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from siaga.journal.lsn import show


@dataclass(frozen=True, slots=True)
class Branch:
    """The server left `timeline` at `at`: what was written there beyond is not part of it."""

    timeline: int
    at: int


@dataclass(frozen=True, slots=True)
class Server:
    """Who we are connected to."""

    system: str
    timeline: int
    written: int
    """How far its write-ahead log is flushed."""
    branches: tuple[Branch, ...] = ()
    """Where its timelines forked off, oldest first."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Our slot on that server."""

    confirmed: int
    """Everything before it was acknowledged: the server won't send it again."""
    lost: str = ""
    """Why the server gave it up (`wal_removed`, ...); empty while it is good."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far the journal is whole."""

    system: str
    timeline: int
    at: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Commits that end in (`begin`, `end`] may be missing; `end` None until the new slot stands."""

    system: str
    timeline: int
    begin: int
    end: int | None
    why: str

    def __str__(self) -> str:
        end = show(self.end) if self.end is not None else "the next slot"
        return f"timeline {self.timeline} from {show(self.begin)} to {end}: {self.why}"


@dataclass(frozen=True, slots=True)
class Fork:
    """From here on the database goes another way: what the journal holds beyond `at` is lost there."""

    system: str
    timeline: int
    """The new one."""
    at: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Stream on from `at`."""

    at: int
    fork: Fork | None = None


@dataclass(frozen=True, slots=True)
class Rebase:
    """Make the slot anew and read a base: the first time, or because of a gap."""

    gap: Gap | None
    fork: Fork | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing may be journaled from this server; a person has to look."""

    why: str
    hint: str


Next = Resume | Rebase | Stop


@dataclass(frozen=True, slots=True)
class Journal:
    """What is known of the journal when it meets a server."""

    position: Position | None
    path: tuple[Branch, ...] = ()
    base: Position | None = None
    handed_over: bool = False
    """Whether it was read up to the marker of a switch, and goes on with the other side."""


def next_step(known: Journal, server: Server, slot: Slot | None) -> Next:
    """How the journal goes on with this server."""
    journal = known.position
    if journal is None:
        return Rebase(None)
    if server.system != journal.system:
        return _go_over(known, server, slot, journal)
    if server.timeline < journal.timeline:
        return Stop(
            f"the server is on timeline {server.timeline}, the journal is past it on timeline {journal.timeline}",
            "It is an old primary: fence it. The journal goes on once the right one answers.",
        )
    fork = _fork(journal, known.path, server)
    begin = min(journal.at, fork.at) if fork is not None else journal.at
    if fork is None and server.written < journal.at:
        return Stop(
            f"the server stands at {show(server.written)} on timeline {server.timeline}, "
            f"before {show(journal.at)} that the journal holds: it was taken back without a new timeline",
            "Keep this journal for the cross-check, and start a new one in an empty directory.",
        )
    base = known.base
    if base is not None and base.system == server.system and begin < base.at:
        why = f"the database went back before the journal's base at {show(base.at)}"
    elif (unusable := _unusable(slot)) or slot is None:
        why = unusable
    elif slot.confirmed > begin:
        why = f"the slot stands at {show(slot.confirmed)}: it was made anew, or somebody else read it"
    else:
        return Resume(begin, fork)
    return Rebase(Gap(server.system, server.timeline, begin, None, why), fork)


def _go_over(known: Journal, server: Server, slot: Slot | None, journal: Position) -> Next:
    """To another system: only at the marker of a switch, with a slot that was made before it."""
    if not known.handed_over:
        return Stop(
            f"the server is another system ({server.system}), the journal belongs to {journal.system}",
            "After a switch the journal is handed over at its marker; else start a new journal in an empty directory.",
        )
    if (why := _unusable(slot)) or slot is None:
        return Rebase(Gap(server.system, server.timeline, 0, None, why))
    return Resume(slot.confirmed)


def _unusable(slot: Slot | None) -> str:
    if slot is None:
        return "the slot does not exist on this server"
    return f"the server gave the slot up ({slot.lost})" if slot.lost else ""


def _fork(journal: Position, path: tuple[Branch, ...], server: Server) -> Fork | None:
    """Where the server's way leaves the journal's; None while they are the same."""
    ours = [*((branch.timeline, branch.at) for branch in path), (journal.timeline, None)]
    theirs = [*((branch.timeline, branch.at) for branch in server.branches), (server.timeline, None)]
    together = 0
    for mine, other in zip(ours, theirs, strict=False):
        if mine == other:
            together = mine[1] or together
            continue
        if mine[0] == other[0]:
            together = min(end for end in (mine[1], other[1]) if end is not None)
        return Fork(server.system, server.timeline, together)
    return None
