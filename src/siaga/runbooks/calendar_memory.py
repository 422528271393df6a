"""What the calendar remembers, folded from its own records in the evidence (pure).

The evidence is the only place where it is kept: a file beside it could be lost, copied back or disagree with it, and
two controllers that share their evidence share this too. A record that could not be written is not remembered, so
what it says is decided again in the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from siaga.errors import SiagaError
from siaga.evidence.model import Record
from siaga.runbooks.appointments import Appointment, Occurrence, Tenure, from_document, to_document
from siaga.runbooks.calendar import TERMINAL, WRONG_CLOCK_AHEAD, Hold, Settled, State, Verdict
from siaga.runbooks.freezes import Freeze
from siaga.runbooks.order import CONTROLLER


class Kind(StrEnum):
    """The calendar's kinds of records."""

    APPOINTED = "calendar.appointed"
    DISMISSED = "calendar.dismissed"
    FREEZE = "calendar.freeze"
    ALLOWED = "calendar.allowed"
    HELD = "calendar.held"
    RELEASED = "calendar.released"
    START = "calendar.start"
    TOO_LATE = "calendar.too_late"
    HARD_STOP = "calendar.hard_stop"
    CLOCK = "calendar.clock"
    DONE = "calendar.done"
    UNDONE = "calendar.undone"
    SKIPPED = "calendar.skipped"
    MISSED = "calendar.missed"
    WITHDRAWN = "calendar.withdrawn"


_KIND_OF = {
    State.DONE: Kind.DONE,
    State.UNDONE: Kind.UNDONE,
    State.SKIPPED: Kind.SKIPPED,
    State.MISSED: Kind.MISSED,
    State.TOO_LATE: Kind.TOO_LATE,
    State.DUE: Kind.START,
}
_STATE_OF = {kind: state for state, kind in _KIND_OF.items() if state in TERMINAL}


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that outlives the controller."""

    tenures: tuple[Tenure, ...] = ()
    settled: Mapping[str, Settled] = field(default_factory=dict)
    held: Mapping[str, Hold] = field(default_factory=dict)
    allowed: Mapping[str, str] = field(default_factory=dict)
    """By occurrence id: who allowed it."""
    freezes: Mapping[str, datetime] = field(default_factory=dict)
    """By the key of a freeze: since when it is known."""
    told: frozenset[tuple[str, str]] = frozenset()
    """Kind and occurrence id of what is recorded once."""

    @property
    def appointments(self) -> dict[str, Appointment]:
        """Those in force, by name."""
        return {t.appointment.name: t.appointment for t in self.tenures if t.until is None}

    def expects(self, appointment: Appointment, now: datetime) -> bool:
        """Whether it is in force just like this; one that a clock far ahead has made begins too late."""
        wanted = to_document(appointment)
        in_force = (t for t in self.tenures if t.until is None and t.since <= now + WRONG_CLOCK_AHEAD)
        return any(to_document(tenure.appointment) == wanted for tenure in in_force)


def recall(documents: Iterable[Mapping[str, Any]]) -> Memory:
    """The memory from the evidence's records (`kind`, `actor`, `reason`, `figures`, `run`), oldest first."""
    memory = Memory()
    for document in documents:
        if document["kind"] not in _FOLDS:
            continue
        record = Record(
            kind=document["kind"],
            actor=document["actor"],
            clause=document["clause"],
            reason=document["reason"],
            figures=document["figures"],
            run=document.get("run", ""),
        )
        try:
            memory = remember(memory, record)
        except (KeyError, ValueError, TypeError) as error:
            raise SiagaError(
                f"evidence record {document.get('number', '?')} ({record.kind}) is not understood: {error!r}",
                hint="A newer version may have written it; start that one. The calendar starts nothing until then.",
            ) from error
    return memory


def remember(memory: Memory, record: Record) -> Memory:
    """The memory after one more record."""
    fold = _FOLDS.get(record.kind)
    return memory if fold is None else fold(memory, record)


# What is recorded -----------------------------------------------------------------------------------------


def appointed(appointment: Appointment, now: datetime, *, dismissed: bool = False) -> Record:
    """An appointment begins, with everything that its occurrences follow from; or it ends."""
    verb = "is no longer expected" if dismissed else "is expected"
    return Record(
        Kind.DISMISSED if dismissed else Kind.APPOINTED,
        CONTROLLER,
        appointment.clause,
        f"{appointment.name} {verb} in every window, {appointment.window}",
        {"since": now.isoformat(), "appointment": to_document(appointment)},
    )


def freeze_seen(freeze: Freeze, now: datetime) -> Record:
    """A freeze was read for the first time: from now on it can excuse a window that is not over."""
    figures = {"freeze": freeze.key, "since": now.isoformat()}
    return Record(Kind.FREEZE, CONTROLLER, "PMT", str(freeze), figures)


def allowed(occurrence: Occurrence, actor: str, reason: str) -> Record:
    """A person allows one occurrence."""
    clause = occurrence.appointment.clause
    return Record(Kind.ALLOWED, actor, clause, f"{occurrence.id} allowed: {reason}", {"occurrence": occurrence.id})


def held(occurrence: Occurrence, hold: Hold | None) -> Record:
    """A rule keeps an occurrence from starting, or has let go."""
    figures = {"occurrence": occurrence.id}
    clause = occurrence.appointment.clause
    if hold is None:
        return Record(Kind.RELEASED, CONTROLLER, clause, f"{occurrence.id} is no longer held", figures)
    return Record(Kind.HELD, CONTROLLER, clause, hold.reason, {**figures, "rule": hold.rule})


def judged(verdict: Verdict, now: datetime, figures: Mapping[str, Any] | None = None) -> Record:
    """A verdict that is recorded: a start, a refusal to start late, or how an occurrence ended."""
    occurrence, opening = verdict.occurrence, verdict.occurrence.opening
    words = f"{occurrence.id} {verdict.state}" + (f": {verdict.reason}" if verdict.reason else "")
    if verdict.compensating is not None:
        words += f"; next window {verdict.compensating.isoformat()}"
    facts = {
        "occurrence": occurrence.id,
        "reason": verdict.reason,
        "at": now.isoformat(),
        "window_begin": opening.begin.isoformat(),
        "window_end": opening.end.isoformat(),
        "compensating": verdict.compensating.isoformat() if verdict.compensating else None,
    }
    kind = _KIND_OF[verdict.state]
    return Record(kind, CONTROLLER, occurrence.appointment.clause, words, {**facts, **(figures or {})}, verdict.run)


def withdrawn(occurrence: Occurrence, settled: Settled) -> Record:
    """A verdict that a wrong clock gave is taken back: its window is still to come."""
    return Record(
        Kind.WITHDRAWN,
        CONTROLLER,
        occurrence.appointment.clause,
        f"{occurrence.id} {settled.state} is withdrawn: it was recorded by a clock that was ahead",
        {"occurrence": occurrence.id, "recorded_at": settled.at.isoformat()},
    )


def hard_stop(verdict: Verdict, outcome: str) -> Record:
    """A run was told to go back since its window ends."""
    occurrence = verdict.occurrence
    words = f"{occurrence.id} still runs at its hard stop: {outcome}"
    return Record(
        Kind.HARD_STOP, CONTROLLER, occurrence.appointment.clause, words, {"occurrence": occurrence.id}, verdict.run
    )


# What is remembered ---------------------------------------------------------------------------------------


def _appointed(memory: Memory, record: Record) -> Memory:
    appointment = from_document(record.figures["appointment"])
    since = datetime.fromisoformat(record.figures["since"])
    ended = tuple(_ended(t, since) if t.appointment.name == appointment.name else t for t in memory.tenures)
    return replace(memory, tenures=(*ended, Tenure(appointment, since)))


def _dismissed(memory: Memory, record: Record) -> Memory:
    name, until = record.figures["appointment"]["name"], datetime.fromisoformat(record.figures["since"])
    tenures = tuple(_ended(t, until) if t.appointment.name == name else t for t in memory.tenures)
    return replace(memory, tenures=tenures)


def _ended(tenure: Tenure, until: datetime) -> Tenure:
    return tenure if tenure.until is not None else replace(tenure, until=until)


def _freeze(memory: Memory, record: Record) -> Memory:
    since = datetime.fromisoformat(record.figures["since"])
    return replace(memory, freezes={record.figures["freeze"]: since, **memory.freezes})


def _allowed(memory: Memory, record: Record) -> Memory:
    return replace(memory, allowed={**memory.allowed, record.figures["occurrence"]: record.actor})


def _held(memory: Memory, record: Record) -> Memory:
    hold = Hold(record.figures["rule"], record.reason)
    return replace(memory, held={**memory.held, record.figures["occurrence"]: hold})


def _released(memory: Memory, record: Record) -> Memory:
    return replace(memory, held={k: v for k, v in memory.held.items() if k != record.figures["occurrence"]})


def _told(memory: Memory, record: Record) -> Memory:
    return replace(memory, told=memory.told | {(record.kind, record.figures["occurrence"])})


def _settled(memory: Memory, record: Record) -> Memory:
    figures = record.figures
    settled = Settled(
        state=_STATE_OF[Kind(record.kind)],
        reason=figures["reason"],
        at=datetime.fromisoformat(figures["at"]),
        run=record.run,
        compensating=date.fromisoformat(figures["compensating"]) if figures["compensating"] else None,
    )
    return replace(memory, settled={**memory.settled, figures["occurrence"]: settled})


def _withdrawn(memory: Memory, record: Record) -> Memory:
    """As if nothing had been said of it, so that its window finds it untouched."""
    occurrence = record.figures["occurrence"]
    return replace(
        memory,
        settled={k: v for k, v in memory.settled.items() if k != occurrence},
        held={k: v for k, v in memory.held.items() if k != occurrence},
        told=frozenset(entry for entry in memory.told if entry[1] != occurrence),
    )


_FOLDS: Mapping[str, Callable[[Memory, Record], Memory]] = {
    Kind.APPOINTED: _appointed,
    Kind.DISMISSED: _dismissed,
    Kind.FREEZE: _freeze,
    Kind.ALLOWED: _allowed,
    Kind.HELD: _held,
    Kind.RELEASED: _released,
    Kind.START: _told,
    Kind.TOO_LATE: _told,
    Kind.HARD_STOP: _told,
    Kind.DONE: _settled,
    Kind.UNDONE: _settled,
    Kind.SKIPPED: _settled,
    Kind.MISSED: _settled,
    Kind.WITHDRAWN: _withdrawn,
}
